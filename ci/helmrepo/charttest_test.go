package helmrepo_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The script of `helm test` runs here as it is, with other programs and another FireEdge.
func TestChartTestsControlPlane(t *testing.T) {
	script, err := os.ReadFile(filepath.Join(chartDir, "files/test.sh"))
	if err != nil {
		t.Fatal(err)
	}
	const password = `a"b\c$d'e`
	fireedge := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var login struct{ User, Token string }
		if err := json.NewDecoder(r.Body).Decode(&login); err != nil || r.Method+r.URL.Path != "POST/fireedge/api/auth" {
			http.Error(w, fmt.Sprintf("%s %s: %v", r.Method, r.URL, err), http.StatusBadRequest)
			return
		}
		if login.User != "oneadmin" || login.Token != password {
			http.Error(w, `{"id":401,"message":"Unauthorized"}`, http.StatusUnauthorized)
			return
		}
		_, _ = fmt.Fprint(w, `{"id":200,"message":"OK","data":{"token":"x","id":"0"}}`)
	}))
	t.Cleanup(fireedge.Close)
	address := strings.TrimPrefix(fireedge.URL, "http://")
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = fmt.Fprint(w, "<html>")
	}))
	t.Cleanup(other.Close)
	const ran, waiting = "<HOOKLOG><HOOK_EXECUTION_RECORD><CODE>0</CODE></HOOK_EXECUTION_RECORD></HOOKLOG>", "<HOOKLOG/>"
	for _, c := range []struct {
		name                                     string
		password, fireedge, hooks, oneuser, show string
		ok                                       bool
		output                                   string
	}{
		{"all works", password, address, "prod-test", "", "echo '" + ran + "'", true, "lets oneadmin in\nthe hook manager runs hooks\ndeleted 7\n"},
		{"nothing but the API", password, "", "", "", "", true, "the API at one:2633 knows oneadmin\n"},
		{"the API does not", password, "", "", "echo refused; exit 255", "", false, "does not know oneadmin, or does not answer: refused"},
		{"the API comes late", password, "", "", `echo x >> "$HOME/t"; [ "$(wc -l < "$HOME/t")" -gt 3 ]`, "", true, "knows oneadmin\n"},
		{"FireEdge has another password", "other", address, "", "", "", false, "does not let oneadmin in; it answers: HTTP/1.0 401"},
		{"another server than FireEdge", password, strings.TrimPrefix(other.URL, "http://"), "", "", "", false, "does not let oneadmin in; it answers: HTTP/1.0 200"},
		{"FireEdge is not there", password, "127.0.0.1:1", "", "", "", false, "Connection refused"},
		{
			"the hook comes late", password, "", "prod-test", "", `echo x >> "$HOME/n"; [ "$(wc -l < "$HOME/n")" -gt 3 ] && echo '` + ran + `' || echo '` + waiting + "'",
			true, "the hook manager runs hooks\ndeleted 7\n",
		},
		{"no hook runs", password, "", "prod-test", "", "echo '" + waiting + "'", false, "hook 7 has not run within 30 calls"},
		{"the hook fails", password, "", "prod-test", "", "echo '" + strings.Replace(ran, ">0<", ">1<", 1) + "'", false, "deleted 7\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			home := t.TempDir()
			write(t, home, map[string]string{"password": c.password})
			path := programs(t, map[string]string{
				"oneuser": `[ "$*" = "show 0" ] && [ "$ONE_XMLRPC" = http://one:2633/RPC2 ] && [ "$(cat "$ONE_AUTH")" = "oneadmin:$(cat "$PASSWORD_FILE")" ] || exit 1; ` +
					c.oneuser,
				"sleep": "exit 0",
				"onehook": `case "$*" in create*) grep -q 'CALL = "one.hook.unlock"' "$2" && echo "ID: 7";; "unlock 7") ;; "show 7 --xml") ` +
					c.show + "\n;; \"delete 7\") echo \"deleted $2\";; *) exit 1;; esac",
			})
			command := exec.CommandContext(t.Context(), "/bin/bash", "-euc", string(script))
			command.Env = []string{
				path, "HOME=" + home, "PASSWORD_FILE=" + filepath.Join(home, "password"),
				"API=one:2633", "FIREEDGE=" + c.fireedge, "HOOKS=" + c.hooks,
			}
			output, err := command.CombinedOutput()
			if (err == nil) != c.ok || !strings.Contains(string(output), c.output) {
				t.Errorf("%v\n%s\nwant %q", err, output, c.output)
			}
			if strings.Contains(string(output), c.password) {
				t.Errorf("the password is in the output:\n%s", output)
			}
		})
	}
}
