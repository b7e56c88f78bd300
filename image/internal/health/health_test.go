package health_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"opennebula-kube/image/internal/frontends"
	"opennebula-kube/image/internal/health"
	"opennebula-kube/image/internal/host"
)

const (
	onedKnows   = "<value><boolean>1</boolean></value><value><string>&lt;USER/&gt;</string></value><value><i4>0</i4></value>"
	onedRefuses = "<value><boolean>0</boolean></value><value><string>User couldn't be authenticated</string></value><value><i4>256</i4></value>"
	supervised  = "<value><struct><member><name>statecode</name><value><int>1</int></value></member></struct></value>"
	stopping    = "<value><struct><member><name>statecode</name><value><int>-1</int></value></member>" +
		"<member><name>statename</name><value><string>SHUTDOWN</string></value></member></struct></value>"
)

// container is one in which all is well.
type container struct {
	oned, supervisord           string
	fireedge, oneflow, onegate  int // HTTP statuses, or agrees
	withoutAuth, newOneGateForm bool
	down                        string // a service that does not run
	state                       string // what oned says that it is among several
	log                         zoneLog
	start                       *int // when oned has started
}

// zoneLog is what oned says of the zone's log, by default that it has all. It may change.
type zoneLog struct{ commit, index, term *int }

func (l zoneLog) elements() string {
	value := func(n *int) int {
		if n == nil {
			return 0
		}
		return *n
	}
	return fmt.Sprintf("&lt;TERM>1&lt;/TERM>&lt;COMMIT>%d&lt;/COMMIT>&lt;LOG_INDEX>%d&lt;/LOG_INDEX>&lt;LOG_TERM>%d&lt;/LOG_TERM>",
		value(l.commit), value(l.index), value(l.term))
}

// agrees stands for a server that reads a request before it answers.
const agrees = 100

func healthy() container {
	return container{oned: onedKnows, supervisord: supervised, fireedge: 302, oneflow: agrees, onegate: agrees}
}

func (c container) host(t *testing.T) *host.Host {
	t.Helper()
	h := &host.Host{Root: t.TempDir()}
	write := func(path, content string) {
		at := h.Path(path)
		if err := errors.Join(os.MkdirAll(filepath.Dir(at), 0o755), os.WriteFile(at, []byte(content), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	status := func(name string, code int) (address, port string) {
		return c.serve(t, name, func(w http.ResponseWriter, r *http.Request) {
			if code == agrees {
				// A server that logs a request when it is whole.
				if body, err := io.ReadAll(r.Body); err == nil {
					t.Errorf("%s logs a request with the body %q", name, body)
				}
				return
			}
			if name == "FireEdge" && r.URL.Path != "/fireedge/" {
				t.Errorf("FireEdge has to render %s", r.URL.Path)
			}
			w.Header().Set("Location", "/fireedge/sunstone")
			w.WriteHeader(code)
		})
	}
	_, port := c.serveOned(t)
	write("/etc/one/oned.conf", "PORT = "+port+"\nLISTEN_ADDRESS = \"0.0.0.0\"\n")
	address, port := status("FireEdge", c.fireedge)
	write("/etc/one/fireedge-server.conf", "host: "+address+"\nport: "+port+"\n")
	address, port = status("OneFlow", c.oneflow)
	write("/etc/one/oneflow-server.conf", ":host: "+address+"\n:port: "+port+"\n")
	address, port = status("OneGate", c.onegate)
	gate := ":host: " + address + "\n:port: " + port + "\n"
	if c.newOneGateForm {
		gate = ":server:\n  :bind: " + address + "\n  :port: " + port + "\n"
	}
	write("/etc/one/onegate-server.conf", gate)
	if !c.withoutAuth {
		write("/var/lib/one/.one/one_auth", "oneadmin:secret\n")
	}
	if c.down != "supervisord" {
		listener, err := net.Listen("unix", filepath.Join(mkdir(t, h.Path("/run")), "supervisor.sock"))
		if err != nil {
			t.Fatal(err)
		}
		server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			answer := c.supervisord
			if body, _ := io.ReadAll(r.Body); strings.Contains(string(body), "getProcessInfo") {
				answer = "<value><struct><member><name>statename</name><value><string>RUNNING</string></value></member><member><name>pid</name><value><int>7</int>" +
					"</value></member><member><name>start</name><value><int>" + c.started() + "</int></value></member></struct></value>"
			}
			respond(w, answer)
		}))
		server.Listener = listener
		server.Start()
		t.Cleanup(server.Close)
	}
	return h
}

// started is when oned has started.
func (c container) started() string {
	if c.start == nil {
		return "1"
	}
	return fmt.Sprint(*c.start)
}

func (c container) serveOned(t *testing.T) (address, port string) {
	t.Helper()
	return c.serve(t, "oned", func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			w.WriteHeader(http.StatusMethodNotAllowed)
			return
		}
		body, _ := io.ReadAll(r.Body)
		answer := c.oned
		switch {
		case strings.Contains(string(body), "<string></string>"):
			t.Error("oned logs an error about a call without credentials")
		case strings.Contains(string(body), "one.zone.raftstatus"):
			answer = "<value><boolean>1</boolean></value><value><string>&lt;RAFT>&lt;STATE>" + c.state + "&lt;/STATE>" + c.log.elements() + "&lt;/RAFT></string></value>"
		}
		respond(w, "<value><array><data>"+answer+"</data></array></value>")
	})
}

func mkdir(t *testing.T, path string) string {
	t.Helper()
	if err := os.MkdirAll(path, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func respond(w http.ResponseWriter, value string) {
	_, _ = io.WriteString(w, "<methodResponse><params><param>"+value+"</param></params></methodResponse>")
}

func (c container) serve(t *testing.T, name string, handler http.HandlerFunc) (address, port string) {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	if name == c.down {
		server.Close()
	}
	address, port, err := net.SplitHostPort(server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return address, port
}

func TestCheck(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(c *container)
		// want is what the errors of the probes say, "" for none.
		live, startup, ready string
	}{
		{"all well", func(*container) {}, "", "", ""},
		{"7.4's form of OneGate's file", func(c *container) { c.newOneGateForm = true }, "", "", ""},
		{"supervisord down", func(c *container) { c.down = "supervisord" }, "supervisord does not answer", "", "supervisord does not answer"},
		{"supervisord stopping", func(c *container) { c.supervisord = stopping }, "SHUTDOWN", "", "SHUTDOWN"},
		{"oned down", func(c *container) { c.down = "oned" }, "oned does not answer", "oned does not answer", "oned does not answer"},
		{"wrong password", func(c *container) { c.oned = onedRefuses }, "", "couldn't be authenticated", "couldn't be authenticated"},
		{"no password yet", func(c *container) { c.withoutAuth = true }, "", "no credentials", "no credentials"},
		{"oned answers nonsense", func(c *container) { c.oned = "" }, "", "0 values", "0 values"},
		{"FireEdge down", func(c *container) { c.down = "FireEdge" }, "", "", "FireEdge does not answer"},
		{"OneFlow down", func(c *container) { c.down = "OneFlow" }, "", "", "OneFlow does not answer"},
		{"OneGate down", func(c *container) { c.down = "OneGate" }, "", "", "OneGate does not answer"},
		{"FireEdge broken", func(c *container) { c.fireedge = 502 }, "", "", "502 Bad Gateway"},
		{"OneFlow broken", func(c *container) { c.oneflow = 500 }, "", "", "500 Internal Server Error"},
		{"OneFlow refuses", func(c *container) { c.oneflow = 401 }, "", "", ""},
		{"OneGate broken", func(c *container) { c.onegate = 503 }, "", "", "503 Service Unavailable"},
	} {
		t.Run(c.name, func(t *testing.T) {
			container := healthy()
			c.change(&container)
			h := container.host(t)
			for probe, want := range map[health.Probe]string{health.Live: c.live, health.Started: c.startup, health.Ready: c.ready} {
				err := health.Check(t.Context(), h, probe)
				if got := fmt.Sprint(err); want == "" && err != nil || !strings.Contains(got, want) {
					t.Errorf("%s: %v, want %q", probe, err, want)
				}
			}
		})
	}
}

// TestOneOfSeveral has other front-ends: somebody has to lead, and only who does has all services.
func TestOneOfSeveral(t *testing.T) {
	const leads, follows, lost = "3", "2", "lost"
	for _, c := range []struct {
		name, own, other string
		change           func(c *container)
		want             string
	}{
		{"leads", leads, follows, func(*container) {}, ""},
		{"leads without a service", leads, follows, func(c *container) { c.down = "OneFlow" }, "OneFlow does not answer"},
		{"follows", follows, leads, func(c *container) { c.oneflow, c.onegate = 502, 502 }, ""},
		{"follows without FireEdge", follows, leads, func(c *container) { c.down = "FireEdge" }, "FireEdge does not answer"},
		{"nobody leads", follows, "1", func(*container) {}, "no front-end leads"},
		{"the other does not answer", follows, "", func(*container) {}, "no front-end leads"},
		{"leads, the other has lost its node", leads, lost, func(*container) {}, ""},
		{"follows, the other has lost its node", follows, lost, func(*container) {}, "no front-end leads"},
	} {
		t.Run(c.name, func(t *testing.T) {
			one := healthy()
			one.state = c.own
			c.change(&one)
			h := one.host(t)
			other := healthy()
			other.state = c.other
			if c.other == "" {
				other.down = "oned"
			}
			address, port := other.serveOned(t)
			if c.other == lost {
				address, port = silent(t)
			}
			joinZone(t, h, "http://"+net.JoinHostPort(address, port)+"/RPC2")
			// As long as a probe has.
			ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
			defer cancel()
			err := health.Check(ctx, h, health.Ready)
			if got := fmt.Sprint(err); c.want == "" && err != nil || !strings.Contains(got, c.want) || strings.Contains(got, "OneGate does not answer") {
				t.Errorf("error %v, want %q", err, c.want)
			}
			if err := health.Check(t.Context(), h, health.Live); err != nil {
				t.Errorf("live: %v", err)
			}
		})
	}
}

// joinZone has another front-end beside this one, and one that does not run.
func joinZone(t *testing.T, h *host.Host, other string) {
	t.Helper()
	mkdir(t, h.Path("/run/one-container"))
	h.Disk, h.Chown, h.OwnerOf = host.System(t.Logf).Disk, func(string, host.Owner) error { return nil }, host.System(t.Logf).OwnerOf
	if err := frontends.Write(h, frontends.Zone{Endpoints: []string{other, "http://127.0.0.1:1/RPC2"}}); err != nil {
		t.Fatal(err)
	}
}

// TestFollowerHasLog starts a follower, which gets the zone's log little by little, while the leader writes on.
func TestFollowerHasLog(t *testing.T) {
	var start, commit, index, term, leaders, leadersTerm int
	one, other := healthy(), healthy()
	one.state, one.start, one.log = "2", &start, zoneLog{&commit, &index, &term}
	other.state, other.log = "3", zoneLog{&leaders, &leaders, &leadersTerm}
	h := one.host(t)
	address, port := other.serveOned(t)
	joinZone(t, h, "http://"+net.JoinHostPort(address, port)+"/RPC2")
	for _, c := range []struct {
		name string
		// start is when oned has started, index and term are of its last record, leaders and leadersTerm of the leader's.
		start, index, term, leaders, leadersTerm int
		want                                     string
	}{
		{"lacks a third", 1, 200, 3, 300, 3, "record 200 of term 3, and has to have record 300 of term 3"},
		{"lacks the last", 1, 299, 3, 400, 3, "has to have record 300"},
		{"has what there was", 1, 300, 3, 500, 3, ""},
		{"falls behind", 1, 300, 3, 900, 4, ""},
		{"starts again", 2, 300, 3, 900, 4, "has to have record 900 of term 4"},
		{"has records that nobody has acknowledged", 2, 950, 3, 900, 4, "record 950 of term 3"},
		{"has the leader's", 2, 900, 4, 900, 4, ""},
		{"starts with all", 3, 900, 4, 900, 4, ""},
		{"starts behind", 4, 100, 4, 900, 4, "record 100 of term 4"},
		{"has those of the next leader", 4, 901, 5, 901, 5, ""},
	} {
		start, index, term, leaders, leadersTerm = c.start, c.index, c.term, c.leaders, c.leadersTerm
		// How much a follower knows to be acknowledged lags behind: it is not asked for that.
		commit = 0
		for range 2 {
			if err := health.Check(t.Context(), h, health.Ready); c.want == "" && err != nil || !strings.Contains(fmt.Sprint(err), c.want) {
				t.Errorf("%s: error %v, want %q", c.name, err, c.want)
			}
		}
		for _, probe := range []health.Probe{health.Live, health.Started} {
			if err := health.Check(t.Context(), h, probe); err != nil {
				t.Errorf("%s: %s: %v", c.name, probe, err)
			}
		}
	}
}

// TestLeaderHasLog has a leader step down: it has led with this oned, so its log was complete.
func TestLeaderHasLog(t *testing.T) {
	index := 300
	one, other := healthy(), healthy()
	one.state, other.state = "3", "2"
	one.log, other.log = zoneLog{nil, &index, nil}, zoneLog{nil, &index, nil}
	h := one.host(t)
	address, port := other.serveOned(t)
	joinZone(t, h, "http://"+net.JoinHostPort(address, port)+"/RPC2")
	if err := health.Check(t.Context(), h, health.Ready); err != nil {
		t.Fatal(err)
	}
	content, err := h.ReadFile("/run/one-container/zone-log.json")
	if err != nil || !strings.Contains(string(content), `"Reached":true`) {
		t.Errorf("it remembers %s, %v", content, err)
	}
}

// silent takes connections and says nothing.
func silent(t *testing.T) (address, port string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	address, port, err = net.SplitHostPort(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return address, port
}

// TestLiveWithoutDatabase has an oned that does not answer: a restart helps, unless it is its database that does not.
func TestLiveWithoutDatabase(t *testing.T) {
	listen := func(greeting string) string {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = listener.Close() })
		go func() {
			for {
				connection, err := listener.Accept()
				if err != nil {
					return
				}
				_, _ = io.WriteString(connection, greeting)
				t.Cleanup(func() { _ = connection.Close() })
			}
		}()
		return "SERVER = \"127.0.0.1\", PORT = " + strings.TrimPrefix(listener.Addr().String(), "127.0.0.1:")
	}
	for _, c := range []struct {
		name, db string
		// live is what the error says, "" for none.
		live string
	}{
		{"server that refuses", `BACKEND = "mysql", SERVER = "127.0.0.1", PORT = 1`, ""},
		{"server that hangs", `BACKEND = "mysql", ` + listen(""), ""},
		{"server that is well", `BACKEND = "mysql", ` + listen("J\x00\x00\x00"), "oned does not answer"},
		{"SQLite", `BACKEND = "sqlite", ` + listen(""), "oned does not answer"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := healthy().host(t)
			ended := make(chan struct{})
			hanging := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-ended }))
			t.Cleanup(hanging.Close)
			t.Cleanup(func() { close(ended) })
			_, port, err := net.SplitHostPort(hanging.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(h.Path("/etc/one/oned.conf"), []byte("PORT = "+port+"\nDB = [ "+c.db+" ]\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 1200*time.Millisecond)
			defer cancel()
			if err := health.Check(ctx, h, health.Live); (err != nil) != (c.live != "") || !strings.Contains(fmt.Sprint(err), c.live) {
				t.Errorf("error %v, want %q", err, c.live)
			}
		})
	}
}

// TestServicesThatHang has services that take connections, as the kernel does for them, and never answer.
func TestServicesThatHang(t *testing.T) {
	h := healthy().host(t)
	for file, format := range map[string]string{
		"fireedge-server.conf": "host: %s\nport: %s\n", "oneflow-server.conf": ":host: %s\n:port: %s\n", "onegate-server.conf": ":host: %s\n:port: %s\n",
	} {
		address, port := silent(t)
		if err := os.WriteFile(h.Path("/etc/one/"+file), fmt.Appendf(nil, format, address, port), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	err := health.Check(ctx, h, health.Ready)
	for _, name := range []string{"FireEdge", "OneFlow", "OneGate"} {
		if err == nil || !strings.Contains(err.Error(), name+" does not answer: context deadline exceeded") && !strings.Contains(err.Error(), name+" does not answer: Get") {
			t.Errorf("error %v, want one about %s", err, name)
		}
	}
}

// TestCheckOfSomeServices asks a container for what it has, and no more.
func TestCheckOfSomeServices(t *testing.T) {
	container := healthy()
	container.fireedge, container.onegate = 502, 502
	h := container.host(t)
	chosen := mkdir(t, h.Path("/run/one-container/services"))
	for _, service := range []string{"oneflow", "guacd"} {
		if err := os.WriteFile(filepath.Join(chosen, service+".conf"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, probe := range health.Probes() {
		if err := health.Check(t.Context(), h, probe); err != nil {
			t.Errorf("%s: %v", probe, err)
		}
	}
	if err := os.WriteFile(filepath.Join(chosen, "onegate.conf"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := health.Check(t.Context(), h, health.Ready); err == nil || !strings.Contains(err.Error(), "OneGate answers") {
		t.Errorf("error %v, want one about OneGate", err)
	}
}

func TestCheckNamesAllThatIsDown(t *testing.T) {
	h := &host.Host{Root: t.TempDir()}
	for _, dir := range []string{"/etc/one", "/var/lib/one/.one"} {
		mkdir(t, h.Path(dir))
	}
	for file, content := range map[string]string{
		"/etc/one/oned.conf": "PORT = 1\n", "/etc/one/fireedge-server.conf": "port: 1\n", "/etc/one/oneflow-server.conf": ":port: 1\n",
		"/etc/one/onegate-server.conf": ":host: '::'\n", "/var/lib/one/.one/one_auth": "oneadmin:x",
	} {
		if err := os.WriteFile(h.Path(file), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	err := health.Check(t.Context(), h, health.Ready)
	for _, want := range []string{"oned does not answer", "FireEdge does not answer", "OneFlow does not answer", "onegate-server.conf has no :port"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q in it", err, want)
		}
	}
}

func TestCheckEndsWithContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := health.Check(ctx, healthy().host(t), health.Started); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context.Canceled", err)
	}
	if err := health.Check(t.Context(), healthy().host(t), "well"); err == nil || !strings.Contains(err.Error(), "live startup ready") {
		t.Errorf("error %v, want one with the probes that there are", err)
	}
}
