package oned

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
)

// User is how a user logs in, out of the document that describes the user in the database.
type User struct {
	// Driver is the authentication driver, Password what the driver compares: the hash of the password for OpenNebula's own.
	Driver, Password string

	document string
	// from and to delimit the element with the password in the document.
	from, to int
}

// ReadUser reads a user's document. One without a driver or a password is an error.
func ReadUser(document string) (User, error) {
	u := User{document: document}
	found := make(map[string]int)
	decoder := xml.NewDecoder(strings.NewReader(document))
	for path := []string(nil); ; {
		from := int(decoder.InputOffset())
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return User{}, fmt.Errorf("read the document of a user: %w", err)
		}
		switch token := token.(type) {
		case xml.StartElement:
			path = append(path, token.Name.Local)
			place := strings.Join(path, "/")
			found[place]++
			if place != "USER/AUTH_DRIVER" && place != "USER/PASSWORD" {
				continue
			}
			text, err := textOf(decoder)
			if err != nil {
				return User{}, fmt.Errorf("read %s in the document of a user: %w", place, err)
			}
			if path = path[:1]; token.Name.Local == "AUTH_DRIVER" {
				u.Driver = text
			} else {
				u.Password, u.from, u.to = text, from, int(decoder.InputOffset())
			}
		case xml.EndElement:
			path = path[:len(path)-1]
		}
	}
	for _, place := range []string{"USER", "USER/AUTH_DRIVER", "USER/PASSWORD"} {
		if found[place] != 1 {
			return User{}, fmt.Errorf("read the document of a user: it has %d elements %s, one was expected", found[place], place)
		}
	}
	return u, nil
}

// textOf reads the text in an element that has begun, up to its end.
func textOf(decoder *xml.Decoder) (string, error) {
	var text strings.Builder
	for {
		token, err := decoder.Token()
		if err != nil {
			return "", err
		}
		switch token := token.(type) {
		case xml.CharData:
			text.Write(token)
		case xml.StartElement:
			return "", fmt.Errorf("it has an element %s in it, only text was expected", token.Name.Local)
		case xml.EndElement:
			return text.String(), nil
		}
	}
}

// ReplacePassword returns the beginning of the document, up to the password, and what is to be there for another password: in the form that
// oned writes. The hash is of hexadecimal digits.
func (u User) ReplacePassword(hash string) (before, after string) {
	return u.document[:u.to], u.document[:u.from] + "<PASSWORD><![CDATA[" + hash + "]]></PASSWORD>"
}
