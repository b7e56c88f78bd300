package xmlrpc_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"opennebula-kube/image/internal/xmlrpc"
)

func TestCall(t *testing.T) {
	var got string
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		got = string(body)
		_, _ = io.WriteString(w, `<?xml version="1.0"?><methodResponse><params><param><value><array><data>
			<value><boolean>1</boolean></value><value><string>&lt;USER/&gt;</string></value><value>bare</value><value><i4>0</i4></value>
			<value><struct><member><name>statecode</name><value><int>1</int></value></member></struct></value>
			</data></array></value></param></params></methodResponse>`)
	})
	result, err := xmlrpc.Call(t.Context(), server.Client(), server.URL, "one.user.info", xmlrpc.Text("oneadmin:<&>"), xmlrpc.Number(0))
	if err != nil {
		t.Fatal(err)
	}
	const want = `<?xml version="1.0" encoding="UTF-8"?>` + "\n" + `<methodCall><methodName>one.user.info</methodName><params>` +
		`<param><value><string>oneadmin:&lt;&amp;&gt;</string></value></param><param><value><i4>0</i4></value></param></params></methodCall>`
	if got != want {
		t.Errorf("call\n%s\nwant\n%s", got, want)
	}
	var texts []string
	for _, value := range result.Values() {
		texts = append(texts, value.Text())
	}
	if fmt.Sprintf("%q", texts) != `["1" "<USER/>" "bare" "0" ""]` || result.Values()[4].Member("statecode").Text() != "1" {
		t.Errorf("answer %q, %+v", texts, result.Values()[4])
	}
	if got := result.Values()[4].Member("none").Text(); got != "" {
		t.Errorf("member that is not there: %q", got)
	}
}

func TestCallErrors(t *testing.T) {
	for name, c := range map[string]struct {
		answer string
		status int
		want   string
	}{
		"fault": {`<methodResponse><fault><value><struct><member><name>faultCode</name><value><int>-506</int></value></member>
			<member><name>faultString</name><value><string>no such method</string></value></member></struct></value></fault></methodResponse>`, 200, "fault -506: no such method"},
		"no XML":    {"busy", 200, "read the answer"},
		"no value":  {"<methodResponse></methodResponse>", 200, "0 values instead of 1"},
		"HTTP only": {"", 503, "503 Service Unavailable"},
	} {
		t.Run(name, func(t *testing.T) {
			server := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, c.answer)
			})
			_, err := xmlrpc.Call(t.Context(), server.Client(), server.URL, "a.b")
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "call a.b at "+server.URL) {
				t.Errorf("error %v, want one about a.b with %q", err, c.want)
			}
			if _, isFault := errors.AsType[*xmlrpc.Fault](err); isFault != (name == "fault") {
				t.Errorf("error %v is a fault: %v", err, isFault)
			}
		})
	}
	if _, err := xmlrpc.Call(t.Context(), http.DefaultClient, "http://127.0.0.1:1", "a.b"); err == nil || !strings.Contains(err.Error(), "a.b") {
		t.Errorf("error %v, want one about a.b", err)
	}
}

func serve(t *testing.T, handler http.HandlerFunc) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server
}
