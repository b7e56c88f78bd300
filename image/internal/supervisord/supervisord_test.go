package supervisord_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"opennebula-kube/image/internal/host"
	"opennebula-kube/image/internal/supervisord"
)

const (
	rootfs    = "../../rootfs"
	installed = "/etc/supervisor/services"
)

// machine has the configuration that the image has.
func machine(t *testing.T) *host.Host {
	t.Helper()
	h := host.System(t.Logf)
	h.Root = t.TempDir()
	h.Chown = func(string, host.Owner) error { return nil }
	if err := os.CopyFS(h.Path(installed), os.DirFS(rootfs+installed)); err != nil {
		t.Fatal(err)
	}
	return h
}

// all are the services that run when none is chosen.
func all() []string {
	return slices.Sorted(slices.Values(append(supervisord.Services(), supervisord.Logrotate)))
}

// TestServices compares the list with the files.
func TestServices(t *testing.T) {
	files, err := filepath.Glob(rootfs + installed + "/*.conf")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, file := range files {
		names = append(names, strings.TrimSuffix(filepath.Base(file), ".conf"))
	}
	if want := slices.Sorted(slices.Values(append(all(), supervisord.Role))); !slices.Equal(names, want) {
		t.Errorf("there are files for %q, and the list is %q", names, want)
	}
}

func TestChoose(t *testing.T) {
	h := machine(t)
	if chosen, err := supervisord.Chosen(h); len(chosen) > 0 || err != nil {
		t.Errorf("before a choice: %q, %v", chosen, err)
	}
	// Each time over what was chosen before.
	for _, c := range []struct {
		services, want []string
		stop           time.Duration
	}{
		{nil, all(), 120 * time.Second},
		{[]string{"oned", "hem"}, []string{"hem", "logrotate", "oned"}, 84 * time.Second},
		{[]string{"fireedge", "guacd"}, []string{"fireedge", "guacd", "logrotate"}, 24 * time.Second},
		{[]string{"sshd"}, []string{"sshd"}, 15 * time.Second},
	} {
		for range 2 {
			if err := supervisord.Choose(h, c.services, false); err != nil {
				t.Fatal(err)
			}
			if supervisord.StopDeclared(h) {
				t.Error("a stop is declared after a choice: no service would run")
			}
			if err := supervisord.DeclareStop(h); err != nil || !supervisord.StopDeclared(h) {
				t.Errorf("a stop is not declared: %v", err)
			}
		}
		got, err := supervisord.Chosen(h)
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("chosen %q, %v, want %q", got, err, c.want)
		}
		if stop, err := supervisord.StopTime(h); stop != c.stop || err != nil {
			t.Errorf("%q: stopping takes %s, %v, want %s", c.services, stop, err, c.stop)
		}
	}
	checkOneOfSeveral(t, h)
	if err := os.WriteFile(h.Path(installed+"/sshd.conf"), []byte("[program:sshd]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := supervisord.StopTime(h); err == nil || !strings.Contains(err.Error(), "sshd.conf: there is no line stopwaitsecs") {
		t.Errorf("error %v, want one about stopwaitsecs", err)
	}
}

// checkOneOfSeveral chooses services of a front-end that may not lead: what the leader runs waits for it.
func checkOneOfSeveral(t *testing.T, h *host.Host) {
	t.Helper()
	if err := supervisord.Choose(h, []string{"oned", "oneflow", "fireedge"}, true); err != nil {
		t.Fatal(err)
	}
	if got, err := supervisord.Chosen(h); err != nil || !slices.Equal(got, []string{"fireedge", "logrotate", "oned", "oneflow", "role"}) {
		t.Errorf("chosen %q, %v", got, err)
	}
	for service, waits := range map[string]bool{"oneflow": true, "oned": false, "fireedge": false, "role": false} {
		content, err := h.ReadFile("/run/one-container/services/" + service + ".conf")
		if err != nil || strings.Contains(string(content), "\nautostart=false\n") != waits {
			t.Errorf("%s, %v, want autostart=false in it: %t\n%s", service, err, waits, content)
		}
	}
	if err := supervisord.Choose(h, []string{"sshd"}, false); err != nil {
		t.Fatal(err)
	}
}

// TestStopTime compares what all services may take with what people are told to grant.
func TestStopTime(t *testing.T) {
	h := machine(t)
	if err := supervisord.Choose(h, nil, false); err != nil {
		t.Fatal(err)
	}
	stop, err := supervisord.StopTime(h)
	if err != nil {
		t.Fatal(err)
	}
	if stop > 2*time.Minute {
		t.Errorf("stopping takes up to %s, want two minutes at most", stop)
	}
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("%.0f seconds for all", stop.Seconds()); !strings.Contains(string(readme), want) {
		t.Errorf("README.md does not say %q", want)
	}
}

func TestFindGivenUp(t *testing.T) {
	process := func(name, state, spawnerr string) string {
		return "<value><struct><member><name>name</name><value><string>" + name + "</string></value></member>" +
			"<member><name>state</name><value><int>" + state + "</int></value></member>" +
			"<member><name>spawnerr</name><value><string>" + spawnerr + "</string></value></member></struct></value>"
	}
	running, retried, fatal := process("oned", "20", ""), process("hem", "30", "Exited"), process("fireedge", "200", "Exited too quickly")
	for _, c := range []struct {
		name, processes string
		want            *supervisord.GivenUp
	}{
		{"none", "", nil},
		{"all well, or tried again", running + retried, nil},
		{"given up", running + fatal + retried, &supervisord.GivenUp{Service: "fireedge", Reason: "Exited too quickly"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := machine(t)
			serve(t, h, "<methodResponse><params><param><value><array><data>"+c.processes+"</data></array></value></param></params></methodResponse>")
			got, err := supervisord.FindGivenUp(t.Context(), h)
			if err != nil {
				t.Fatal(err)
			}
			if (got == nil) != (c.want == nil) || got != nil && *got != *c.want {
				t.Errorf("found %+v, want %+v", got, c.want)
			}
		})
	}
	if _, err := supervisord.FindGivenUp(t.Context(), machine(t)); err == nil {
		t.Error("no error from a supervisord that does not run")
	}
}

func TestInstance(t *testing.T) {
	instance := func(state, pid, start string) (string, error) {
		h := machine(t)
		serve(t, h, "<methodResponse><params><param><value><struct><member><name>statename</name><value><string>"+state+"</string></value></member>"+
			"<member><name>pid</name><value><int>"+pid+"</int></value></member><member><name>start</name><value><int>"+start+"</int></value></member>"+
			"</struct></value></param></params></methodResponse>")
		return supervisord.Instance(t.Context(), h, supervisord.Oned)
	}
	first, err := instance("RUNNING", "7", "1764340000")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		pid, start string
		same       bool
	}{{"7", "1764340000", true}, {"8", "1764340000", false}, {"7", "1764340001", false}} {
		if got, err := instance("RUNNING", c.pid, c.start); err != nil || (got == first) != c.same {
			t.Errorf("pid %s since %s: %q, %v, want the same as %q: %t", c.pid, c.start, got, err, first, c.same)
		}
	}
	if got, err := instance("BACKOFF", "0", "1764340000"); err == nil || !strings.Contains(err.Error(), "oned is BACKOFF") {
		t.Errorf("%q, error %v, want that oned is BACKOFF", got, err)
	}
}

func serve(t *testing.T, h *host.Host, answer string) {
	t.Helper()
	if err := os.MkdirAll(h.Path("/run"), 0o755); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("unix", h.Path("/run/supervisor.sock"))
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, answer) }))
	server.Listener = listener
	server.Start()
	t.Cleanup(server.Close)
}
