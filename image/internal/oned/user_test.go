package oned_test

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"opennebula-kube/image/internal/oned"
)

// recordedUsers are rows that oned 7.0.1 has written.
func recordedUsers(t *testing.T) map[string]string {
	t.Helper()
	content, err := os.ReadFile("testdata/user_pool.json")
	if err != nil {
		t.Fatal(err)
	}
	var rows []struct{ Name, Body string }
	if err := json.Unmarshal(content, &rows); err != nil {
		t.Fatal(err)
	}
	users := make(map[string]string)
	for _, row := range rows {
		users[row.Name] = row.Body
	}
	return users
}

func TestReadUser(t *testing.T) {
	recorded := recordedUsers(t)
	for name, want := range map[string]oned.User{
		"oneadmin":    {Driver: "core", Password: "d6f40f136b49ede7ea14965b8df842eaebfe053f41f6938644664dde9986b9f8"},
		"serveradmin": {Driver: "server_cipher", Password: "b42d8ff1766ec15acd5e2776f61e95a770da9d00fe3f97636c5a651b27b4a531"},
	} {
		text := strings.NewReplacer("<![CDATA[", "", "]]>", "")
		indented := strings.NewReplacer("><![", "><![", "]]></", "]]></", "><", ">\n  <")
		for form, document := range map[string]string{
			"as oned writes it": recorded[name],
			"text":              text.Replace(recorded[name]),
			"indented":          indented.Replace(recorded[name]),
			"declared":          "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n" + recorded[name],
			// Attributes are the user's own.
			"attributes": strings.ReplaceAll(recorded[name], "<TEMPLATE>", "<TEMPLATE><PASSWORD>x</PASSWORD><AUTH_DRIVER>y</AUTH_DRIVER>"),
		} {
			got, err := oned.ReadUser(document)
			if got.Driver != want.Driver || got.Password != want.Password || err != nil {
				t.Errorf("%s, %s: read %q, %q, %v, want %q, %q", name, form, got.Driver, got.Password, err, want.Driver, want.Password)
			}
		}
	}
}

func TestReadUserRefuses(t *testing.T) {
	document := recordedUsers(t)["oneadmin"]
	for name, c := range map[string]struct{ document, want string }{
		"nothing":        {"", "0 elements USER"},
		"no XML":         {"NULL", "0 elements USER"},
		"cut off":        {document[:len(document)-2], "unexpected EOF"},
		"another thing":  {strings.ReplaceAll(document, "USER>", "GROUP>"), "0 elements USER"},
		"no password":    {strings.ReplaceAll(document, "PASSWORD>", "PASS>"), "0 elements USER/PASSWORD"},
		"no driver":      {strings.ReplaceAll(document, "AUTH_DRIVER", "DRIVER"), "0 elements USER/AUTH_DRIVER"},
		"two passwords":  {strings.Replace(document, "<TEMPLATE>", "<PASSWORD>x</PASSWORD><TEMPLATE>", 1), "2 elements USER/PASSWORD"},
		"two documents":  {document + document, "2 elements USER"},
		"not a text":     {strings.Replace(document, "<PASSWORD>", "<PASSWORD><A/>", 1), "an element A"},
		"deeper":         {"<POOL>" + document + "</POOL>", "0 elements USER"},
		"another letter": {strings.ReplaceAll(document, "PASSWORD>", "password>"), "0 elements USER/PASSWORD"},
	} {
		t.Run(name, func(t *testing.T) {
			if user, err := oned.ReadUser(c.document); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("read %q, %q, %v, want an error with %q", user.Driver, user.Password, err, c.want)
			}
		})
	}
}

func TestReplacePassword(t *testing.T) {
	document := recordedUsers(t)["oneadmin"]
	user, err := oned.ReadUser(document)
	if err != nil {
		t.Fatal(err)
	}
	before, after := user.ReplacePassword("1234")
	want := strings.Replace(document, user.Password, "1234", 1)
	if rest, ok := strings.CutPrefix(document, before); !ok || after+rest != want {
		t.Errorf("replaces %q by %q, want the document to become %q", before, after, want)
	}
}
