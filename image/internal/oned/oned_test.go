package oned_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"opennebula-kube/image/internal/oned"
	"opennebula-kube/image/internal/xmlrpc"
)

// client calls a server that always answers the same.
func client(t *testing.T, values string, asked *string) oned.Client {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		*asked = string(body)
		_, _ = io.WriteString(w, "<methodResponse><params><param><value><array><data>"+values+"</data></array></value></param></params></methodResponse>")
	}))
	t.Cleanup(server.Close)
	return oned.Client{HTTP: server.Client(), URL: server.URL, Session: "oneadmin:x"}
}

func answer(success, text string) string {
	return "<value><boolean>" + success + "</boolean></value><value><string>" + strings.ReplaceAll(text, "<", "&lt;") + "</string></value>"
}

func TestCall(t *testing.T) {
	var asked string
	if got, err := client(t, answer("1", "7.2.0"), &asked).Call(t.Context(), "one.user.info", xmlrpc.Number(4)); got != "7.2.0" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if want := "<value><string>oneadmin:x</string></value></param><param><value><i4>4</i4></value>"; !strings.Contains(asked, want) {
		t.Errorf("asked %q, want %q in it", asked, want)
	}
	_, err := client(t, answer("0", "no such user"), &asked).Call(t.Context(), "one.user.info")
	if refused, ok := errors.AsType[*oned.RefusedError](err); !ok || refused.Reason != "no such user" {
		t.Errorf("error %v, want that oned refuses", err)
	}
	if _, err := client(t, "", &asked).Call(t.Context(), "one.user.info"); err == nil || !strings.Contains(err.Error(), "0 values") {
		t.Errorf("error %v", err)
	}
}

// recordedStatus is what oned 7.0.1 answers; the values are put in.
const recordedStatus = "<RAFT><SERVER_ID>1</SERVER_ID><STATE>%s</STATE><TERM>%d</TERM><VOTEDFOR>1</VOTEDFOR><COMMIT>%d</COMMIT><LOG_INDEX>%d</LOG_INDEX>" +
	"<LOG_TERM>%d</LOG_TERM><FEDLOG_INDEX>-1</FEDLOG_INDEX></RAFT>"

func TestStatus(t *testing.T) {
	for _, c := range []struct {
		answer string
		want   oned.Status
		// wantErr is what the error says, "" for none.
		wantErr string
	}{
		{fmt.Sprintf(recordedStatus, "0", 0, 0, -1, -1), oned.Status{State: oned.Solo, LastIndex: -1, LastTerm: -1}, ""},
		{fmt.Sprintf(recordedStatus, "1", 4, 0, 0, 0), oned.Status{State: oned.Candidate, Term: 4}, ""},
		{fmt.Sprintf(recordedStatus, "2", 7, 3, 5, 6), oned.Status{State: oned.Follower, Term: 7, Commit: 3, LastIndex: 5, LastTerm: 6}, ""},
		{fmt.Sprintf(recordedStatus, "3", 7, 5, 5, 6), oned.Status{State: oned.Leader, Term: 7, Commit: 5, LastIndex: 5, LastTerm: 6}, ""},
		{fmt.Sprintf(recordedStatus, "4", 7, 5, 5, 6), oned.Status{}, "STATE is 4"},
		{fmt.Sprintf(recordedStatus, "-1", 7, 5, 5, 6), oned.Status{}, "STATE is -1"},
		{fmt.Sprintf(recordedStatus, "", 7, 5, 5, 6), oned.Status{}, `STATE is ""`},
		{strings.Replace(fmt.Sprintf(recordedStatus, "2", 7, 3, 5, 6), "<COMMIT>3</COMMIT>", "", 1), oned.Status{}, `COMMIT is ""`},
		{"<RAFT>", oned.Status{}, "unexpected EOF"},
		{"<ZONE></ZONE>", oned.Status{}, "RAFT"},
	} {
		var asked string
		got, err := client(t, answer("1", c.answer), &asked).Status(t.Context())
		if c.wantErr == "" && (err != nil || got != c.want) {
			t.Errorf("%s: %+v, %v, want %+v", c.answer, got, err, c.want)
		}
		if _, unclear := errors.AsType[*oned.UnclearError](err); c.wantErr != "" && (!unclear || !strings.Contains(err.Error(), c.wantErr)) {
			t.Errorf("%s: error %v, want %q", c.answer, err, c.wantErr)
		}
	}
}

func TestZoneServers(t *testing.T) {
	const document = `<ZONE><ID>0</ID><NAME>OpenNebula</NAME><TEMPLATE><ENDPOINT><![CDATA[http://localhost:2633/RPC2]]></ENDPOINT></TEMPLATE><SERVER_POOL>
		<SERVER><ENDPOINT><![CDATA[http://one-0:2633/RPC2]]></ENDPOINT><ID><![CDATA[0]]></ID><NAME><![CDATA[one-0]]></NAME></SERVER>
		<SERVER><ENDPOINT><![CDATA[http://one-1:2633/RPC2]]></ENDPOINT><ENDPOINT_GRPC><![CDATA[one-1:2634]]></ENDPOINT_GRPC><ID><![CDATA[3]]></ID><NAME><![CDATA[one-1]]></NAME></SERVER></SERVER_POOL></ZONE>`
	got, err := oned.ZoneServers(document)
	want := []oned.Server{{0, "http://one-0:2633/RPC2", ""}, {3, "http://one-1:2633/RPC2", "one-1:2634"}}
	if err != nil || !cmp.Equal(got, want) {
		t.Errorf("%v, %v, want %v", got, err, want)
	}
	if got, err := oned.ZoneServers("<ZONE><SERVER_POOL/></ZONE>"); len(got) != 0 || err != nil {
		t.Errorf("without servers: %v, %v", got, err)
	}
	for name, c := range map[string]struct{ document, want string }{
		"half of it":     {document[:len(document)-3], "unexpected EOF"},
		"nothing":        {"", "0 elements ZONE"},
		"another thing":  {"<USER/>", "0 elements ZONE"},
		"without an ID":  {strings.ReplaceAll(document, "ID>", "OID>"), `the ID ""`},
		"not a number":   {strings.ReplaceAll(document, "[3]", "[x]"), `the ID "x"`},
		"deeper element": {strings.ReplaceAll(document, "<ID>", "<ID><A/>"), "an element A"},
	} {
		if got, err := oned.ZoneServers(c.document); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, error %v, want %q", name, got, err, c.want)
		}
	}
}

func TestAddGRPC(t *testing.T) {
	server := func(name, grpc string) string {
		return "<SERVER><ENDPOINT><![CDATA[http://" + name + ":2633/RPC2]]></ENDPOINT>" + grpc + "<ID><![CDATA[0]]></ID><NAME><![CDATA[" + name + "]]></NAME></SERVER>"
	}
	zone := func(servers ...string) string {
		return "<ZONE><ID>0</ID><NAME>OpenNebula</NAME><STATE>0</STATE><TEMPLATE><ENDPOINT><![CDATA[http://a:2633/RPC2]]></ENDPOINT></TEMPLATE><SERVER_POOL>" +
			strings.Join(servers, "") + "</SERVER_POOL></ZONE>"
	}
	grpc := func(endpoint string) string { return "<ENDPOINT_GRPC><![CDATA[" + endpoint + "]]></ENDPOINT_GRPC>" }
	known := map[string]string{"http://a:2633/RPC2": "a:2634", "http://b:2633/RPC2": "b:2634", "http://c:2633/RPC2": "c:2634"}
	before := zone(server("a", ""), server("b", grpc("elsewhere:1")), server("other", ""), server("c", grpc("")))
	want := zone(server("a", grpc("a:2634")), server("b", grpc("elsewhere:1")), server("other", ""), server("c", grpc("c:2634")))
	for range 2 {
		got, err := oned.AddGRPC(before, known)
		if err != nil || got != want {
			t.Errorf("%v, got  %s\nwant %s", err, got, want)
		}
		before = got
	}
	for _, document := range []string{zone(), zone(server("other", ""))} {
		if got, err := oned.AddGRPC(document, known); err != nil || got != document {
			t.Errorf("%v, got  %s\nwant %s", err, got, document)
		}
	}
	if got, err := oned.AddGRPC(before, nil); err != nil || got != before {
		t.Errorf("without gRPC: %v, %s", err, got)
	}
	if _, err := oned.AddGRPC("<ZONE>", known); err == nil {
		t.Error("half a document is not an error")
	}
}

func TestEndpoint(t *testing.T) {
	for name, want := range map[string]string{"one-0.one": "http://one-0.one:2633/RPC2", "fd00::1": "http://[fd00::1]:2633/RPC2"} {
		if got := oned.Endpoint(name); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}
