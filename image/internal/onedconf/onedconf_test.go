package onedconf_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"opennebula-kube/image/internal/onedconf"
)

// sample has every form that occurs in the files of OpenNebula 7.0 to 7.4.
const sample = `# oned
LOG = [
  SYSTEM      = "file",
  DEBUG_LEVEL = 3,
  USE_VMS_LOCATION = "NO"
]

#MANAGER_TIMER = 15
SCRIPTS_REMOTE_DIR=/var/tmp/one

DB = [ BACKEND = "sqlite",
       TIMEOUT = 2500 ]

# DB = [ BACKEND = "mysql",
#        PASSWD  = "oneadmin" ]

VNC_PORTS = [
    START    = 5900,
    RESERVED = "32768:65536"
    # RESERVED = "6800, 6801, 6810:6820, 9869"
]
PORT = 2633  # XML-RPC
EMPTY =
VM_MAD = [
    NAME      = "kvm",
    # how it is called
    ARGUMENTS = "-t 15 -r 0 kvm -p" ]
VM_MAD = [
    NAME      = "lxc",
    ARGUMENTS = "-t 15 -r 0 lxc" ]
IM_MAD = [ EXECUTABLE = "one\"im" ]
SCHED_MAD = []
network = [ address = "::" ]
`

func TestSet(t *testing.T) {
	for _, c := range []struct {
		key, value string
		old, new   string // the text that is replaced, and what by
	}{
		{"PORT", "2700", "PORT = 2633  # XML-RPC", "PORT = 2700  # XML-RPC"},
		{"LOG/DEBUG_LEVEL", "5", "DEBUG_LEVEL = 3", "DEBUG_LEVEL = 5"},
		{"LOG/SYSTEM", "std", `"file"`, `"std"`},
		{"LOG/system", "std", `"file"`, `"std"`},
		{"SCRIPTS_REMOTE_DIR", "/var/tmp/two", "DIR=/var/tmp/one", "DIR=/var/tmp/two"},
		{"SCRIPTS_REMOTE_DIR", "/var/tmp/a b", "DIR=/var/tmp/one", `DIR="/var/tmp/a b"`},
		{"EMPTY", "x", "EMPTY =\n", "EMPTY =\"x\"\n"},
		{"DB/ERRORS_LIMIT", "10", "TIMEOUT = 2500 ]", "TIMEOUT = 2500,\n       ERRORS_LIMIT = 10 ]"},
		{"VNC_PORTS/NEW", "a", "\"32768:65536\"\n", "\"32768:65536\",\n    NEW = \"a\"\n"},
		{"VM_MAD[NAME=lxc]/ARGUMENTS", "-t 30", `"-t 15 -r 0 lxc"`, `"-t 30"`},
		{"IM_MAD/EXECUTABLE", `a"b`, `"one\"im"`, `"a\"b"`},
		{"IM_MAD/THREADS", "8", `"one\"im" ]`, `"one\"im", THREADS = 8 ]`},
		{"SCHED_MAD/EXECUTABLE", "one_sched", "SCHED_MAD = []", `SCHED_MAD = [ EXECUTABLE = "one_sched" ]`},
		{"NETWORK/ADDRESS", "0.0.0.0", `address = "::"`, `address = "0.0.0.0"`},
		{"HOSTNAME", "one.example.org", "\"::\" ]\n", "\"::\" ]\nHOSTNAME = \"one.example.org\"\n"},
		{"RAFT/LIMIT", "3", "\"::\" ]\n", "\"::\" ]\nRAFT = [\n    LIMIT = 3\n]\n"},
		{"VM_MAD[NAME=dummy]/TYPE", "xml", "\"::\" ]\n", "\"::\" ]\nVM_MAD = [\n    NAME = \"dummy\",\n    TYPE = \"xml\"\n]\n"},
		{"VM_MAD[NAME=dummy]/name", "dummy", "\"::\" ]\n", "\"::\" ]\nVM_MAD = [\n    NAME = \"dummy\"\n]\n"},
		{"TM_MAD_CONF[NAME=mine]/SHARED", "YES", "\"::\" ]\n", "\"::\" ]\nTM_MAD_CONF = [\n    NAME = \"mine\",\n    SHARED = \"YES\"\n]\n"},
	} {
		t.Run(c.key+"="+c.value, func(t *testing.T) {
			if strings.Count(sample, c.old) != 1 {
				t.Fatalf("%q is not once in the sample", c.old)
			}
			f := parse(t, sample)
			key := parseKey(t, c.key)
			// Twice: the second time there is nothing to change.
			for range 2 {
				if err := f.Set(key, c.value); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(strings.Replace(sample, c.old, c.new, 1), f.String()); diff != "" {
					t.Errorf("file (-want +got):\n%s", diff)
				}
			}
			got, ok, err := parse(t, f.String()).Get(key)
			if got != c.value || !ok || err != nil {
				t.Errorf("Get = %q, %v, %v, want %q", got, ok, err, c.value)
			}
		})
	}
}

func TestSetRefuses(t *testing.T) {
	for _, c := range []struct{ key, value, want string }{
		{"VM_MAD/ARGUMENTS", "x", "2 attributes have that name"},
		{"VM_MAD/ARGUMENTS", "x", "VM_MAD[NAME=value]/MEMBER"},
		{"ATTR", "x", "write ATTR[]"},
		{"SAME[A=1]/B", "x", "selects 2 lists"},
		{"VM_MAD[NAME=vcenter]", "x", "VM_MAD[NAME=vcenter]/MEMBER"},
		{"VM_MAD[NAME=kvm]/NAME", "qemu", "cannot get another value"},
		{"VM_MAD[NAME=vcenter]/name", "qemu", "cannot get another value"},
		{`VM_MAD[NAME=a\b]/TYPE`, "x", "character '\\\\'"},
		{"VM_MAD[]", "x", "VM_MAD[NAME=value]/MEMBER"},
		{"DB", "x", "is a list"},
		{"PORT/NUMBER", "1", "is not a list"},
		{"HOSTNAME", "a\nPORT = 1", "character '\\n'"},
		{"HOSTNAME", `a\`, "character '\\\\'"},
		{"HOSTNAME", "a]]>b", "]]>"},
	} {
		t.Run(c.key+"="+c.value, func(t *testing.T) {
			const text = sample + "SAME = [ A = 1 ]\nSAME = [ A = 1 ]\nATTR = a\nATTR = b\n"
			f := parse(t, text)
			err := f.Set(parseKey(t, c.key), c.value)
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "oned.conf") {
				t.Errorf("error %v, want one about oned.conf with %q", err, c.want)
			}
			if f.String() != text {
				t.Error("the file was changed")
			}
		})
	}
}

// Lines about one new list go into it, and those about the list beside it do not.
func TestSetAddsOneList(t *testing.T) {
	const want = sample + `VM_MAD = [
    NAME = "dummy",
    EXECUTABLE = "one_vmm_dummy",
    TYPE = "xml",
    THREADS = 0
]
VM_MAD = [
    NAME = "other",
    EXECUTABLE = "one_vmm_other"
]
`
	f := parse(t, sample)
	for range 2 {
		for _, c := range [][2]string{
			{"VM_MAD[NAME=dummy]/EXECUTABLE", "one_vmm_dummy"},
			{"VM_MAD[NAME=other]/EXECUTABLE", "one_vmm_other"},
			{"VM_MAD[NAME=dummy]/TYPE", "xml"},
			{"VM_MAD[NAME=dummy]/THREADS", "0"},
		} {
			if err := f.Set(parseKey(t, c[0]), c[1]); err != nil {
				t.Fatal(err)
			}
		}
		if diff := cmp.Diff(want, f.String()); diff != "" {
			t.Errorf("file (-want +got):\n%s", diff)
		}
	}
}

func TestSetFurther(t *testing.T) {
	const before = "VM_RESTRICTED_ATTR = \"NIC/MAC\"\nvm_restricted_attr = \"NIC/FILTER\"\n"
	f := parse(t, before)
	for range 2 {
		for _, value := range []string{"NIC/MAC", "NIC/FILTER", "CONTEXT/FILES"} {
			if err := f.Set(parseKey(t, "VM_RESTRICTED_ATTR[]"), value); err != nil {
				t.Fatal(err)
			}
		}
		if diff := cmp.Diff(before+"VM_RESTRICTED_ATTR = \"CONTEXT/FILES\"\n", f.String()); diff != "" {
			t.Errorf("file (-want +got):\n%s", diff)
		}
	}
}

func TestSetList(t *testing.T) {
	mysql := []onedconf.Pair{{Name: "BACKEND", Value: "mysql"}, {Name: "PORT", Value: "3306"}, {Name: "PASSWD", Value: `a'b #,]`}}
	const block = "DB = [\n    BACKEND = \"mysql\",\n    PORT = 3306,\n    PASSWD = \"a'b #,]\"\n]"
	f := parse(t, sample)
	for range 2 {
		if err := f.SetList("DB", mysql); err != nil {
			t.Fatal(err)
		}
		want := strings.Replace(sample, "DB = [ BACKEND = \"sqlite\",\n       TIMEOUT = 2500 ]", block, 1)
		if diff := cmp.Diff(want, f.String()); diff != "" {
			t.Errorf("file (-want +got):\n%s", diff)
		}
	}
	if err := f.SetList("FEDERATION", []onedconf.Pair{{Name: "MODE", Value: "STANDALONE"}}); err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(f.String(), "FEDERATION = [\n    MODE = \"STANDALONE\"\n]\n") {
		t.Errorf("the new list is not at the end of\n%s", f)
	}
}

func TestGet(t *testing.T) {
	f := parse(t, sample)
	for key, want := range map[string]string{
		"PORT": "2633", "DB/BACKEND": "sqlite", "EMPTY": "", "VM_MAD[NAME=kvm]/ARGUMENTS": "-t 15 -r 0 kvm -p", "IM_MAD/EXECUTABLE": `one"im`,
	} {
		if got, ok, err := f.Get(parseKey(t, key)); got != want || !ok || err != nil {
			t.Errorf("Get %s = %q, %v, %v, want %q", key, got, ok, err, want)
		}
	}
	for _, key := range []string{"MANAGER_TIMER", "DB/PASSWD", "VM_MAD[NAME=x]/NAME"} {
		if got, ok, err := f.Get(parseKey(t, key)); ok || err != nil {
			t.Errorf("Get %s = %q, %v, %v, want nothing", key, got, ok, err)
		}
	}
}

func TestParseErrors(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"PORT = 1\n= 2\n", "oned.conf:2: the name of an attribute was expected"},
		{"PORT 1\n", "oned.conf:1: PORT: = was expected"},
		{"\nDB = [ A = 1\nPORT = 2\n", "oned.conf:2: DB: the list has no closing ]"},
		{"A = \"b\n", "oned.conf:1: A: the closing quote is missing"},
		{"A = [ B = [ C = 1 ] ]\n", "oned.conf:1: B: a list inside of a list"},
	} {
		if _, err := onedconf.Parse("oned.conf", c.text); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("Parse(%q): error %v, want %q", c.text, err, c.want)
		}
	}
	for _, text := range []string{"", "A/B/C", "A B", "A[B]/C", "/A", "A[]/B", "A[B= c]/D", "A[B=c ]/D", "A[B=]/C"} {
		if key, err := onedconf.ParseKey(text); err == nil {
			t.Errorf("ParseKey(%q) = %v, want an error", text, key)
		}
	}
}

func FuzzSet(f *testing.F) {
	f.Add(sample, "value")
	f.Add("A = [ B = 1 ]", `"`)
	f.Fuzz(func(t *testing.T, text, value string) {
		file, err := onedconf.Parse("oned.conf", text)
		if err != nil || file.Set(onedconf.Key{Name: "HOSTNAME"}, value) != nil {
			return
		}
		again, err := onedconf.Parse("oned.conf", file.String())
		if err != nil {
			t.Fatalf("the edited file cannot be read: %v\n%s", err, file)
		}
		if got, ok, err := again.Get(onedconf.Key{Name: "HOSTNAME"}); got != value || !ok || err != nil {
			t.Errorf("Get = %q, %v, %v, want %q", got, ok, err, value)
		}
	})
}

func parse(t *testing.T, text string) *onedconf.File {
	t.Helper()
	f, err := onedconf.Parse("oned.conf", text)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func parseKey(t *testing.T, text string) onedconf.Key {
	t.Helper()
	key, err := onedconf.ParseKey(text)
	if err != nil {
		t.Fatal(err)
	}
	return key
}
