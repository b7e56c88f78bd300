package yamlconf_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"opennebula-kube/image/internal/yamlconf"
)

// sample has every form that occurs in the files of OpenNebula 7.0 to 7.4.
const sample = `---
# OneGate – server

:one_xmlrpc: http://localhost:2633/RPC2

# Host and port
:server:
  :bind: 127.0.0.1   # loopback
  :port: 5030

host: '0.0.0.0'
quoted: "a # \"b\""
:log:
  :level: 2
  # where to
  :system: 'file'
:permissions:
  :vm:
    :show: true
:restricted_attrs:
  - SCHED_REQUIREMENTS
  - SERVICE_ID
  # - ROLE_NAME
:restricted_actions:
# - deploy
api_timeout: 120_000
:tproxy:
- :service_port: 5030
  :remote_addr: 10.11.12.13 # VIP
  :remote_port: 5030
:flow: [1, 2] # short
:text: |
  a
  b
# the end
`

type proxy struct {
	ServicePort int    `yaml:":service_port"`
	RemoteAddr  string `yaml:":remote_addr"`
}

func TestSet(t *testing.T) {
	for _, c := range []struct {
		name     string
		path     string
		value    any
		old, new string
	}{
		{"plain with comment", ":server/:bind", "0.0.0.0", "127.0.0.1   # loop", `"0.0.0.0"   # loop`},
		{"looks like a symbol", ":server/:bind", "::", "127.0.0.1   # loop", `"::"   # loop`},
		{"number", ":server/:port", 5031, ":port: 5030", ":port: 5031"},
		{"single quotes", "host", "::1", "'0.0.0.0'", `"::1"`},
		{"double quotes", "quoted", "x", `"a # \"b\""`, `"x"`},
		{"same value in other quotes", "host", "0.0.0.0", "", ""},
		{"boolean", ":permissions/:vm/:show", false, ":show: true", ":show: false"},
		{"new key in a mapping", ":log/:file", "x", ":system: 'file'\n", ":system: 'file'\n  :file: \"x\"\n"},
		{"new key in an inner mapping", ":permissions/:vm/:update", true, ":show: true\n", ":show: true\n    :update: true\n"},
		{"new key", "port", 2616, "# the end\n", "# the end\nport: 2616\n"},
		{"new mapping", "guacd/host", "localhost", "# the end\n", "# the end\nguacd:\n  host: \"localhost\"\n"},
		{"empty to scalar", ":restricted_actions", "x", ":restricted_actions:", `:restricted_actions: "x"`},
		{"empty to list", ":restricted_actions", []string{"x"}, ":restricted_actions:\n", ":restricted_actions:\n  - \"x\"\n"},
		{"empty to mapping", ":restricted_actions/a/b", 1, ":restricted_actions:\n", ":restricted_actions:\n  a:\n    b: 1\n"},
		{"list to list", ":restricted_attrs", []string{"A"}, "  - SCHED_REQUIREMENTS\n  - SERVICE_ID\n", "  - \"A\"\n"},
		{"list to scalar", ":restricted_attrs", 1, ":restricted_attrs:\n  - SCHED_REQUIREMENTS\n  - SERVICE_ID\n", ":restricted_attrs: 1\n"},
		{
			"list of mappings", ":tproxy", []proxy{{5030, "gate"}, {80, "web"}},
			"- :service_port: 5030\n  :remote_addr: 10.11.12.13 # VIP\n  :remote_port: 5030\n",
			"  - :service_port: 5030\n    :remote_addr: \"gate\"\n  - :service_port: 80\n    :remote_addr: \"web\"\n",
		},
		{"flow to flow", ":flow", 3, "[1, 2] # short", "3 # short"},
		{"flow to block", ":flow", []int{3}, ":flow: [1, 2] # short\n", ":flow: # short\n  - 3\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.old != "" && strings.Count(sample, c.old) != 1 {
				t.Fatalf("%q is not once in the sample", c.old)
			}
			text := []byte(sample)
			// Twice: the second time there is nothing to change.
			for range 2 {
				var err error
				if text, err = yamlconf.Set("x.conf", text, strings.Split(c.path, "/"), c.value); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(strings.Replace(sample, c.old, c.new, 1), string(text)); diff != "" {
					t.Errorf("file (-want +got):\n%s", diff)
				}
			}
		})
	}
}

func TestSetInUnusualFiles(t *testing.T) {
	for _, c := range []struct{ text, path, want string }{
		{"", "a", "a: 1\n"},
		{"# nothing\n", "a/b", "# nothing\na:\n  b: 1\n"},
		{"---\n", "a", "---\na: 1\n"},
		{"b: 2", "a", "b: 2\na: 1\n"},
		{"a:", "a", "a: 1"},
		{"a:\n  b: 2", "a/c", "a:\n  b: 2\n  c: 1\n"},
		{"\"a\" : 2\n", "a", "\"a\" : 1\n"},
		{"ä: ü # ö\n", "ä", "ä: 1 # ö\n"},
	} {
		got, err := yamlconf.Set("x.conf", []byte(c.text), strings.Split(c.path, "/"), 1)
		if string(got) != c.want || err != nil {
			t.Errorf("Set %s in %q = %q, %v, want %q", c.path, c.text, got, err, c.want)
		}
	}
}

func TestSetRefuses(t *testing.T) {
	for _, c := range []struct{ text, path, want string }{
		{"a: 1\n", "a/b", "no keys below"},
		{"- a\n", "a", "keys and values were expected"},
		{"a: b: c\n", "a", "x.conf"},
		{"a: &x 1\nb: *x\n", "b", "anchor"},
		{"a: &x 1\nb: *x\n", "a", "anchor"},
		{"a: {b: 1}\n", "a/c", "braces"},
		{"a: b\n  c\n", "a", "form that cannot be edited"},
		{"a: 1\n---\na: 2\n", "a", "more than one document"},
	} {
		got, err := yamlconf.Set("x.conf", []byte(c.text), strings.Split(c.path, "/"), 2)
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "x.conf") {
			t.Errorf("Set %s in %q = %q, %v, want an error about x.conf with %q", c.path, c.text, got, err, c.want)
		}
	}
}

func TestGet(t *testing.T) {
	var port int
	if ok, err := yamlconf.Get("x.conf", []byte(sample), []string{":server", ":port"}, &port); port != 5030 || !ok || err != nil {
		t.Errorf("port %d, %v, %v, want 5030", port, ok, err)
	}
	for _, path := range []string{":host", ":server/:bind/x", "a/b"} {
		if ok, err := yamlconf.Get("x.conf", []byte(sample), strings.Split(path, "/"), new(any)); ok || err != nil {
			t.Errorf("Get %s = %v, %v, want nothing", path, ok, err)
		}
	}
	if _, err := yamlconf.Get("x.conf", []byte(sample), []string{"host"}, &port); err == nil || !strings.Contains(err.Error(), "x.conf: host") {
		t.Errorf("error %v, want one about x.conf: host", err)
	}
}

// FuzzSet has nothing to compare with but Set's own check of its result: it looks for crashes and for values that cannot be read back.
func FuzzSet(f *testing.F) {
	f.Add(sample, "host", "::")
	f.Add("a:\n  b: [1,\n 2]\n", "a", "x")
	f.Fuzz(func(t *testing.T, text, key, value string) {
		edited, err := yamlconf.Set("x.conf", []byte(text), []string{key}, value)
		if err != nil {
			return
		}
		var got string
		if ok, err := yamlconf.Get("x.conf", edited, []string{key}, &got); got != value || !ok || err != nil {
			t.Errorf("Get = %q, %v, %v, want %q", got, ok, err, value)
		}
	})
}
