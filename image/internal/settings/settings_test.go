package settings_test

import (
	"encoding/pem"
	"io/fs"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"opennebula-kube/image/internal/settings"
)

func defaults() settings.Settings {
	return settings.Settings{
		Database: settings.Database{
			Backend: "sqlite", Port: 3306, User: "oneadmin", Name: "opennebula", Connections: 25, Wait: 5 * time.Minute, Backups: 3,
		},
		MonitorAddress: "auto",
		LogLevel:       2,
		Backup:         settings.Backup{Keep: 7},
		S3:             settings.S3{Endpoint: "https://s3.amazonaws.com"},
	}
}

// certificate returns a certificate in PEM.
func certificate(t *testing.T) string {
	t.Helper()
	server := httptest.NewTLSServer(nil)
	defer server.Close()
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
}

func TestLoad(t *testing.T) {
	authority := certificate(t)
	for _, c := range []struct {
		name string
		env  []string
		want func(s *settings.Settings)
	}{
		{"nothing set", []string{"PATH=/bin"}, func(*settings.Settings) {}},
		{"empty counts as not set", []string{"OPENNEBULA_LOG_LEVEL=", "OPENNEBULA_TPROXY=", "OPENNEBULA_DB_HOST="}, func(*settings.Settings) {}},
		{"what Kubernetes injects", []string{
			"OPENNEBULA_SERVICE_HOST=10.0.0.1", "OPENNEBULA_SERVICE_PORT_ONED_RPC=2633", "OPENNEBULA_PORT=tcp://10.0.0.1:2633",
			"OPENNEBULA_PORT_2633_TCP=tcp://10.0.0.1:2633", "OPENNEBULA_PORT_2633_TCP_ADDR=10.0.0.1",
			"OPENNEBULA_DB_PORT=tcp://10.0.0.2:3306", "OPENNEBULA_DB_SERVICE_HOST=10.0.0.2", "OPENNEBULA_DB_PORT_3306_TCP_PORT=3306",
		}, func(*settings.Settings) {}},
		{"mysql", []string{
			"OPENNEBULA_DB_BACKEND=mysql", "OPENNEBULA_DB_HOST=fd00::1", "OPENNEBULA_DB_PORT_NUMBER=3307", "OPENNEBULA_DB_USER=one",
			"OPENNEBULA_DB_PASSWORD=p$ä ss", "OPENNEBULA_DB_NAME=one-db", "OPENNEBULA_DB_CONNECTIONS=50", "OPENNEBULA_DB_WAIT=90s",
			"OPENNEBULA_DB_BACKUPS=5",
		}, func(s *settings.Settings) {
			s.Database = settings.Database{"mysql", "fd00::1", "one", "p$ä ss", "one-db", 3307, 50, 90 * time.Second, 5}
		}},
		{"hosts", []string{
			"OPENNEBULA_HOSTNAME=one-0.one.svc", "OPENNEBULA_MONITOR_ADDRESS=192.0.2.1", "OPENNEBULA_ONEGATE_ENDPOINT=http://gate:5030",
		}, func(s *settings.Settings) {
			s.Hostname, s.MonitorAddress, s.OneGateEndpoint = "one-0.one.svc", "192.0.2.1", "http://gate:5030"
		}},
		{"tproxy", []string{"OPENNEBULA_TPROXY=5030=gate.example.org:5031,\n 80=[fd00::1]:8080\n"}, func(s *settings.Settings) {
			s.TProxy = []settings.TProxy{{5030, "gate.example.org", 5031}, {80, "fd00::1", 8080}}
		}},
		{"listen", []string{
			"OPENNEBULA_FIREEDGE_LISTEN=[::]:80", "OPENNEBULA_ONEFLOW_LISTEN=::1", "OPENNEBULA_ONEGATE_LISTEN=:5031",
		}, func(s *settings.Settings) {
			s.FireEdge, s.OneFlow, s.OneGate = settings.Listen{"::", 80}, settings.Listen{Address: "::1"}, settings.Listen{Port: 5031}
		}},
		{"services", []string{"OPENNEBULA_SERVICES=oned, ssh-agent,,oned,"}, func(s *settings.Settings) { s.Services = []string{"oned", "ssh-agent"} }},
		{"log level by name", []string{"OPENNEBULA_LOG_LEVEL=Debug"}, func(s *settings.Settings) { s.LogLevel = 3 }},
		{"log level by number", []string{"OPENNEBULA_LOG_LEVEL=5"}, func(s *settings.Settings) { s.LogLevel = 5 }},
		{"backup", []string{"OPENNEBULA_BACKUP_TO=/backup", "OPENNEBULA_BACKUP_KEEP=30"}, func(s *settings.Settings) {
			s.Backup = settings.Backup{To: "/backup", Keep: 30}
		}},
		{"restore from object storage", []string{
			"OPENNEBULA_RESTORE_FROM=s3://bucket/one", "OPENNEBULA_S3_ENDPOINT=http://minio:9000", "OPENNEBULA_S3_REGION=eu", "OPENNEBULA_S3_ACCESS_KEY=key",
			"OPENNEBULA_S3_SECRET_KEY=hush",
		}, func(s *settings.Settings) {
			s.RestoreFrom, s.S3 = "s3://bucket/one", settings.S3{Endpoint: "http://minio:9000", Region: "eu", AccessKey: "key", SecretKey: "hush"}
		}},
		{"several front-ends", severalFrontEnds(), func(s *settings.Settings) {
			s.Database.Backend, s.Database.Host, s.Database.Password = "mysql", "db-1", "x"
			s.OneadminPassword, s.SSH.PrivateKey = "secret", "-----BEGIN KEY"
			s.HA = settings.HA{
				Self: 1, Servers: []string{"one-0.one", "one-1.one", "fd00::3"}, Databases: []string{"db-0", "db-1", "db-2"},
				Secrets: settings.HASecrets{ServerAdmin: "admin", OneKey: "key", FireEdgeKey: "01234567890123456789012345678901"}, PodLabel: "opennebula.io/role",
			}
		}},
		{"own certificate authority", []string{"OPENNEBULA_S3_CA=" + authority}, func(s *settings.Settings) { s.S3.CA = authority }},
		{"overrides", []string{
			"OPENNEBULA_CONFIG=# faster\noned.conf VM_MAD[NAME=kvm]/ARGUMENTS = -t 30 -o a=b\n\n/var/lib/one/remotes/etc/vnm/x.conf  :a/:b =\n",
		}, func(s *settings.Settings) {
			s.Overrides = []settings.Override{
				{"/etc/one/oned.conf", "VM_MAD[NAME=kvm]/ARGUMENTS", "-t 30 -o a=b"}, {"/var/lib/one/remotes/etc/vnm/x.conf", ":a/:b", ""},
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			want := defaults()
			c.want(&want)
			got, err := settings.Load(c.env, os.ReadFile)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("settings (-want +got):\n%s", diff)
			}
		})
	}
}

// severalFrontEnds are the settings of the second of three; more of them replace what it has.
func severalFrontEnds(more ...string) []string {
	return append([]string{
		"OPENNEBULA_DB_BACKEND=mysql", "OPENNEBULA_DB_PASSWORD=x", "OPENNEBULA_ONEADMIN_PASSWORD=secret", "OPENNEBULA_SSH_PRIVATE_KEY=-----BEGIN KEY",
		"OPENNEBULA_HA_SERVERS=one-0.one, one-1.one,fd00::3", "OPENNEBULA_HA_DB_HOSTS=db-0,db-1,db-2", "OPENNEBULA_HA_SELF=1",
		"OPENNEBULA_HA_SERVERADMIN_PASSWORD=admin", "OPENNEBULA_HA_ONE_KEY=key", "OPENNEBULA_HA_FIREEDGE_KEY=01234567890123456789012345678901",
		"OPENNEBULA_HA_POD_LABEL=opennebula.io/role",
	}, more...)
}

func TestLoadFiles(t *testing.T) {
	dir := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	const key = "-----BEGIN OPENSSH PRIVATE KEY-----\nx\n-----END OPENSSH PRIVATE KEY-----\n"
	got, err := settings.Load([]string{
		"OPENNEBULA_DB_BACKEND=mysql", "OPENNEBULA_DB_HOST=db",
		"OPENNEBULA_DB_PASSWORD_FILE=" + file("db", "db secret\r\n"),
		"OPENNEBULA_ONEADMIN_PASSWORD_FILE=" + file("one", "one-secret"),
		"OPENNEBULA_SSH_PRIVATE_KEY_FILE=" + file("key", key),
		"OPENNEBULA_SSH_KNOWN_HOSTS_FILE=" + file("hosts", "kvm1 ssh-ed25519 x\n"),
		"OPENNEBULA_CONFIG_FILE=" + file("config", "monitord.conf LOG/DEBUG_LEVEL = 4\n"),
	}, os.ReadFile)
	if err != nil {
		t.Fatal(err)
	}
	want := defaults()
	want.Database.Backend, want.Database.Host, want.Database.Password = "mysql", "db", "db secret"
	want.OneadminPassword = "one-secret"
	want.SSH = settings.SSH{PrivateKey: key, KnownHosts: "kvm1 ssh-ed25519 x\n"}
	want.Overrides = []settings.Override{{"/etc/one/monitord.conf", "LOG/DEBUG_LEVEL", "4"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("settings (-want +got):\n%s", diff)
	}
}

func TestLoadRefuses(t *testing.T) {
	mysql := []string{"OPENNEBULA_DB_BACKEND=mysql", "OPENNEBULA_DB_HOST=db", "OPENNEBULA_DB_PASSWORD=x"}
	for _, c := range []struct {
		name string
		env  []string
		want []string
	}{
		{"backend", []string{"OPENNEBULA_DB_BACKEND=postgres"}, []string{"OPENNEBULA_DB_BACKEND", `"postgres"`, "mysql"}},
		{"server without mysql", []string{"OPENNEBULA_DB_HOST=db"}, []string{"OPENNEBULA_DB_HOST", `"sqlite"`, `set the backend to "mysql"`}},
		{"mysql without server", []string{"OPENNEBULA_DB_BACKEND=mysql"}, []string{"OPENNEBULA_DB_HOST is not set", "OPENNEBULA_DB_PASSWORD is not set"}},
		{"server with port", append(mysql, "OPENNEBULA_DB_HOST=db:3306"), []string{"OPENNEBULA_DB_HOST", `"db:3306"`, "OPENNEBULA_DB_PORT_NUMBER"}},
		{"database port", append(mysql, "OPENNEBULA_DB_PORT_NUMBER=tcp://10.0.0.1:3306"), []string{"OPENNEBULA_DB_PORT_NUMBER", "from 1 to 65535"}},
		{"database name", append(mysql, "OPENNEBULA_DB_NAME=a;b"), []string{"OPENNEBULA_DB_NAME", `"a;b"`}},
		{"database wait", []string{"OPENNEBULA_DB_WAIT=90"}, []string{"OPENNEBULA_DB_WAIT", `"90"`, "5m"}},
		{"manual's password", []string{"OPENNEBULA_ONEADMIN_PASSWORD=opennebula"}, []string{"OPENNEBULA_ONEADMIN_PASSWORD", "choose another"}},
		{"long password", []string{"OPENNEBULA_ONEADMIN_PASSWORD=" + strings.Repeat("x", 257)}, []string{"OPENNEBULA_ONEADMIN_PASSWORD", "257 bytes"}},
		{"both", []string{"OPENNEBULA_ONEADMIN_PASSWORD=a", "OPENNEBULA_ONEADMIN_PASSWORD_FILE=/b"}, []string{"both set"}},
		{"file missing", []string{"OPENNEBULA_ONEADMIN_PASSWORD_FILE=/no/such"}, []string{"OPENNEBULA_ONEADMIN_PASSWORD_FILE", `"/no/such"`, "mounted"}},
		{"file empty", []string{"OPENNEBULA_ONEADMIN_PASSWORD_FILE=/dev/null"}, []string{"OPENNEBULA_ONEADMIN_PASSWORD_FILE", "empty"}},
		{"hostname", []string{"OPENNEBULA_HOSTNAME=-x_"}, []string{"OPENNEBULA_HOSTNAME", `"-x_"`}},
		{"monitor address", []string{"OPENNEBULA_MONITOR_ADDRESS=a b"}, []string{"OPENNEBULA_MONITOR_ADDRESS", `"a b"`, "auto"}},
		{"endpoint", []string{"OPENNEBULA_ONEGATE_ENDPOINT=gate:5030"}, []string{"OPENNEBULA_ONEGATE_ENDPOINT", `"gate:5030"`, "http://"}},
		{"tproxy", []string{"OPENNEBULA_TPROXY=80=web:80,5030=gate"}, []string{"OPENNEBULA_TPROXY", `"5030=gate"`}},
		{"tproxy port", []string{"OPENNEBULA_TPROXY=99999=gate:1"}, []string{"OPENNEBULA_TPROXY", `"99999=gate:1"`}},
		{"services", []string{"OPENNEBULA_SERVICES=oned,sunstone"}, []string{"OPENNEBULA_SERVICES", `"sunstone"`, "fireedge, guacd, hem, oned, "}},
		{"listen", []string{"OPENNEBULA_FIREEDGE_LISTEN=localhost:80"}, []string{"OPENNEBULA_FIREEDGE_LISTEN", `"localhost:80"`}},
		{"log level", []string{"OPENNEBULA_LOG_LEVEL=loud"}, []string{"OPENNEBULA_LOG_LEVEL", `"loud"`, "debug"}},
		{"override", []string{"OPENNEBULA_CONFIG=oned.conf"}, []string{"OPENNEBULA_CONFIG", `"oned.conf"`, "<key> = <value>"}},
		{"override elsewhere", []string{"OPENNEBULA_CONFIG=../passwd a = b"}, []string{"OPENNEBULA_CONFIG", "must be below /etc/one"}},
		{"misspelt", []string{"OPENNEBULA_DB_PASWORD=x"}, []string{"OPENNEBULA_DB_PASWORD", "OPENNEBULA_DB_PASSWORD,"}},
		{"backup place", []string{"OPENNEBULA_BACKUP_TO=backup"}, []string{"OPENNEBULA_BACKUP_TO", `"backup"`, "s3://bucket/opennebula"}},
		{"bucket", []string{"OPENNEBULA_RESTORE_FROM=s3:///one"}, []string{"OPENNEBULA_RESTORE_FROM", `"s3:///one"`, "bucket"}},
		{"bucket without keys", []string{"OPENNEBULA_BACKUP_TO=s3://bucket"}, []string{
			"OPENNEBULA_BACKUP_TO", "OPENNEBULA_S3_ACCESS_KEY is not set", "OPENNEBULA_S3_SECRET_KEY_FILE",
		}},
		{"object storage", []string{"OPENNEBULA_S3_ENDPOINT=minio:9000"}, []string{"OPENNEBULA_S3_ENDPOINT", `"minio:9000"`, "https://"}},
		{"certificate authority", []string{"OPENNEBULA_S3_CA=-----BEGIN PRIVATE KEY-----"}, []string{"OPENNEBULA_S3_CA", "in PEM"}},
		{"backups", []string{"OPENNEBULA_BACKUP_KEEP=0"}, []string{"OPENNEBULA_BACKUP_KEEP", "from 1"}},
		{"two front-ends", severalFrontEnds("OPENNEBULA_HA_SERVERS=one-0,one-1"), []string{
			"OPENNEBULA_HA_SERVERS", `"one-0,one-1"`, "these are 2: give three or five", "OPENNEBULA_HA_SERVERS has 2",
		}},
		{"one front-end in the list", severalFrontEnds("OPENNEBULA_HA_SERVERS=one-0"), []string{"these are 1: give three or five"}},
		{"shared database", severalFrontEnds("OPENNEBULA_HA_DB_HOSTS=db,db,db"), []string{"OPENNEBULA_HA_DB_HOSTS", `"db"`, "a database of its own"}},
		{"front-end with a port", severalFrontEnds("OPENNEBULA_HA_SERVERS=one-0:2633,one-1,one-2"), []string{`"one-0:2633"`, "without ports"}},
		{"place among the front-ends", severalFrontEnds("OPENNEBULA_HA_SELF=3"), []string{"OPENNEBULA_HA_SELF", `"3"`, "from 0 to 2"}},
		{"no place among the front-ends", severalFrontEnds("OPENNEBULA_HA_SELF="), []string{"OPENNEBULA_HA_SELF", `""`, "from 0 to 2"}},
		{"front-ends and one database", severalFrontEnds("OPENNEBULA_DB_HOST=db"), []string{"OPENNEBULA_DB_HOST", `"db"`, "OPENNEBULA_HA_DB_HOSTS"}},
		{"front-ends with SQLite", severalFrontEnds("OPENNEBULA_DB_BACKEND=sqlite", "OPENNEBULA_DB_PASSWORD="), []string{`OPENNEBULA_DB_BACKEND is "sqlite"`, "front-ends get their database from each other"}},
		{"front-ends without keys", severalFrontEnds("OPENNEBULA_SSH_PRIVATE_KEY=", "OPENNEBULA_HA_ONE_KEY="), []string{
			"OPENNEBULA_SSH_PRIVATE_KEY is not", "OPENNEBULA_HA_ONE_KEY_FILE, the same to all",
		}},
		{"front-ends without oned", severalFrontEnds("OPENNEBULA_SERVICES=fireedge"), []string{"OPENNEBULA_SERVICES is without oned"}},
		{"key of the front-ends", severalFrontEnds("OPENNEBULA_HA_ONE_KEY=a b"), []string{"OPENNEBULA_HA_ONE_KEY has a blank"}},
		{"length of FireEdge's key", severalFrontEnds("OPENNEBULA_HA_FIREEDGE_KEY=short"), []string{"OPENNEBULA_HA_FIREEDGE_KEY has 5 bytes", "takes 32"}},
		{"label of pods", severalFrontEnds("OPENNEBULA_HA_POD_LABEL=a b"), []string{"OPENNEBULA_HA_POD_LABEL", `"a b"`, "opennebula.io/role"}},
		{"settings of several for one", []string{"OPENNEBULA_HA_SELF=0"}, []string{"OPENNEBULA_HA_SELF is set, and OPENNEBULA_HA_SERVERS is not"}},
		{"several", []string{"OPENNEBULA_LOG_LEVEL=x", "OPENNEBULA_HOSTNAME=:"}, []string{"OPENNEBULA_LOG_LEVEL", "OPENNEBULA_HOSTNAME"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := settings.Load(c.env, os.ReadFile)
			if err == nil {
				t.Fatalf("no error, but %+v", got)
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q, want %q in it", err, want)
				}
			}
		})
	}
}

func TestErrorsShowNoSecrets(t *testing.T) {
	for _, env := range [][]string{
		{"OPENNEBULA_DB_BACKEND=mysql", "OPENNEBULA_DB_HOST=db", "OPENNEBULA_DB_PASSWORD=hush'hush"},
		{"OPENNEBULA_ONEADMIN_PASSWORD=hush hush"},
		{"OPENNEBULA_ONEADMIN_PASSWORD=hush\nhush"},
		{"OPENNEBULA_SSH_PRIVATE_KEY=hush"},
		{"OPENNEBULA_DB_PASSWORD=hush"},
		{"OPENNEBULA_BACKUP_TO=s3://bucket", "OPENNEBULA_S3_SECRET_KEY=hush"},
	} {
		readFile := func(string) ([]byte, error) { return nil, fs.ErrNotExist }
		if _, err := settings.Load(env, readFile); err == nil || strings.Contains(err.Error(), "hush") {
			t.Errorf("%q: error %v, want one without the secret", env, err)
		}
	}
}
