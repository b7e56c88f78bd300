package standin

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// maxMessage bounds one XML-RPC message, in bytes.
const maxMessage = 1 << 20

// value is one XML-RPC value. A value without a type element is a string.
type value struct {
	Text    string   `xml:",chardata"`
	String  *string  `xml:"string"`
	Int     *int     `xml:"int"`
	I4      *int     `xml:"i4"`
	Boolean *int     `xml:"boolean"`
	Array   *[]value `xml:"array>data>value"`
}

func stringValue(s string) value { return value{String: &s} }
func intValue(n int) value       { return value{I4: &n} }
func boolValue(b bool) value {
	n := 0
	if b {
		n = 1
	}
	return value{Boolean: &n}
}

func (v value) string() string {
	if v.String != nil {
		return *v.String
	}
	return v.Text
}

// scalar is a string, or an integer in digits.
func (v value) scalar() string {
	if n, err := v.int(); err == nil {
		return strconv.Itoa(n)
	}
	return v.string()
}

func (v value) int() (int, error) {
	switch {
	case v.I4 != nil:
		return *v.I4, nil
	case v.Int != nil:
		return *v.Int, nil
	}
	return 0, fmt.Errorf("%q is no integer", v.string())
}

type methodCall struct {
	XMLName xml.Name `xml:"methodCall"`
	Method  string   `xml:"methodName"`
	Params  []value  `xml:"params>param>value"`
}

type methodResponse struct {
	XMLName xml.Name `xml:"methodResponse"`
	Params  []value  `xml:"params>param>value,omitempty"`
	Fault   *fault   `xml:"fault"`
}

type fault struct {
	Members []member `xml:"value>struct>member"`
}

type member struct {
	Name  string `xml:"name"`
	Value value  `xml:"value"`
}

// readMessage decodes one XML-RPC message.
func readMessage(from io.Reader, message any) error {
	data, err := io.ReadAll(io.LimitReader(from, maxMessage+1))
	if err != nil {
		return err
	}
	if len(data) > maxMessage {
		return fmt.Errorf("message of more than %d bytes", maxMessage)
	}
	return xml.Unmarshal(data, message)
}

// writeMessage encodes one XML-RPC message.
func writeMessage(to io.Writer, message any) error {
	data, err := xml.Marshal(message)
	if err != nil {
		return err
	}
	_, err = to.Write(append([]byte(xml.Header), data...))
	return err
}

// call sends one call to oned at endpoint and returns the text that it answers with. An answer that says that the call failed is
// an error with oned's own words.
func call(ctx context.Context, endpoint, method string, params ...value) (string, error) {
	var body bytes.Buffer
	if err := writeMessage(&body, methodCall{Method: method, Params: params}); err != nil {
		return "", err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, &body)
	if err != nil {
		return "", err
	}
	request.Header.Set("Content-Type", "text/xml")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s: %s answers %s", method, endpoint, response.Status)
	}
	var answer methodResponse
	if err := readMessage(response.Body, &answer); err != nil {
		return "", fmt.Errorf("%s: read the answer of %s: %w", method, endpoint, err)
	}
	if answer.Fault != nil {
		var parts []string
		for _, m := range answer.Fault.Members {
			if m.Name == "faultString" {
				parts = append(parts, m.Value.string())
			}
		}
		return "", errors.New(strings.Join(parts, " "))
	}
	if len(answer.Params) != 1 || answer.Params[0].Array == nil || len(*answer.Params[0].Array) < 2 {
		return "", fmt.Errorf("%s: %s answers with something else than a result", method, endpoint)
	}
	result := *answer.Params[0].Array
	if result[0].Boolean == nil || *result[0].Boolean != 1 {
		return "", errors.New(result[1].string())
	}
	return result[1].scalar(), nil
}
