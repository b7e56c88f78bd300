package settings

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"opennebula-kube/image/internal/supervisord"
)

// Load reads and checks the settings. environ is the environment as os.Environ returns it.
func Load(environ []string, readFile func(path string) ([]byte, error)) (Settings, error) {
	r := newReader(environ, readFile)
	ha := r.ha()
	s := Settings{
		Services:         r.services("SERVICES"),
		Database:         r.database(ha),
		HA:               ha,
		OneadminPassword: r.oneadminPassword(),
		Hostname:         r.hostname("HOSTNAME"),
		MonitorAddress:   r.monitorAddress(),
		OneGateEndpoint:  r.endpoint("ONEGATE_ENDPOINT"),
		TProxy:           r.tproxy("TPROXY"),
		FireEdge:         r.listen("FIREEDGE_LISTEN"),
		OneFlow:          r.listen("ONEFLOW_LISTEN"),
		OneGate:          r.listen("ONEGATE_LISTEN"),
		LogLevel:         r.logLevel("LOG_LEVEL"),
		SSH:              SSH{PrivateKey: r.privateKey("SSH_PRIVATE_KEY"), KnownHosts: r.content("SSH_KNOWN_HOSTS")},
		Backup:           Backup{To: r.place("BACKUP_TO"), Keep: r.number("BACKUP_KEEP", 7, 10000)},
		RestoreFrom:      r.place("RESTORE_FROM"),
		S3:               r.s3(),
		Overrides:        r.overrides("CONFIG"),
	}
	r.checkS3(s)
	r.checkHA(s)
	r.unknown()
	if err := errors.Join(r.errs...); err != nil {
		return Settings{}, err
	}
	return s, nil
}

// services reads names with commas between them.
func (r *reader) services(name string) []string {
	var chosen []string
	for service := range strings.SplitSeq(r.text(name, ""), ",") {
		service = strings.TrimSpace(service)
		switch {
		case service == "" || slices.Contains(chosen, service):
		case !slices.Contains(supervisord.Services(), service):
			r.wrong(name, service, "there is no such service: give some of "+strings.Join(supervisord.Services(), ", ")+
				", with commas between them, or none to run all")
		default:
			chosen = append(chosen, service)
		}
	}
	return chosen
}

// shellSafe are values that onedb passes to a shell without quotes.
var shellSafe = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]*$`)

// only MySQL has these.
func mysqlOnly() []string { return []string{"DB_HOST", "DB_PASSWORD", "DB_PASSWORD_FILE"} }

func (r *reader) database(ha HA) Database {
	d := Database{
		Backend:     r.text("DB_BACKEND", SQLite),
		Host:        r.text("DB_HOST", ""),
		Port:        r.number("DB_PORT_NUMBER", 3306, 65535),
		User:        r.text("DB_USER", "oneadmin"),
		Name:        r.text("DB_NAME", "opennebula"),
		Password:    r.secret("DB_PASSWORD"),
		Connections: r.number("DB_CONNECTIONS", 25, 10000),
		Wait:        r.duration("DB_WAIT", 5*time.Minute),
		Backups:     r.number("DB_BACKUPS", 3, 1000),
	}
	if ha.Enabled() && d.Host != "" {
		r.wrong("DB_HOST", d.Host, fmt.Sprintf("%sHA_SERVERS is set, so the hosts of all databases are in %sHA_DB_HOSTS: remove the variable", Prefix, Prefix))
	} else if ha.Self < len(ha.Databases) {
		d.Host = ha.Databases[ha.Self]
	}
	for name, value := range map[string]string{"DB_USER": d.User, "DB_NAME": d.Name} {
		if !shellSafe.MatchString(value) {
			r.wrong(name, value, "use letters, digits, and - _ . only: OpenNebula's tools pass it through a shell")
		}
	}
	switch d.Backend {
	case SQLite:
		for _, name := range mysqlOnly() {
			if r.env[name] != "" {
				r.errs = append(r.errs, fmt.Errorf("%s%s is set, but %sDB_BACKEND is %q: set the backend to %q, or remove the variable",
					Prefix, name, Prefix, d.Backend, MySQL))
			}
		}
	case MySQL:
		r.checkServer(d)
	default:
		r.wrong("DB_BACKEND", d.Backend, "give sqlite, or mysql for MySQL or MariaDB")
	}
	return d
}

func (r *reader) checkServer(d Database) {
	switch _, err := netip.ParseAddr(d.Host); {
	case d.Host == "":
		r.errs = append(r.errs, fmt.Errorf("%sDB_HOST is not set: give the name or address of the database server", Prefix))
	case err != nil && !isName(d.Host):
		r.wrong("DB_HOST", d.Host, "give a name or an address, without a port: that is "+Prefix+"DB_PORT_NUMBER")
	}
	const forbidden = `'"\`
	switch {
	case d.Password == "" && r.env["DB_PASSWORD_FILE"] == "":
		r.errs = append(r.errs, fmt.Errorf("%sDB_PASSWORD is not set: give it, or %sDB_PASSWORD_FILE, the password of %s on %s",
			Prefix, Prefix, d.User, d.Host))
	case strings.ContainsAny(d.Password, forbidden):
		r.errs = append(r.errs, fmt.Errorf("%sDB_PASSWORD has one of the characters %s in it, which OpenNebula's tools cannot pass to the "+
			"database: choose a password without them", Prefix, forbidden))
	}
}

func (r *reader) oneadminPassword() string {
	password := r.secret("ONEADMIN_PASSWORD")
	switch {
	case strings.ContainsAny(password, " \t"):
		r.errs = append(r.errs, fmt.Errorf("%sONEADMIN_PASSWORD has a blank in it, which OpenNebula forbids: choose another", Prefix))
	case len(password) > 256:
		r.errs = append(r.errs, fmt.Errorf("%sONEADMIN_PASSWORD has %d bytes, and OpenNebula takes 256: choose a shorter one", Prefix, len(password)))
	case password == "opennebula":
		r.errs = append(r.errs, fmt.Errorf("%sONEADMIN_PASSWORD is the one that is in all manuals: choose another, or none to have one made",
			Prefix))
	}
	return password
}

var namePattern = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)*$`)

func isName(text string) bool { return len(text) <= 253 && namePattern.MatchString(text) }

func isNameOrAddress(text string) bool {
	_, err := netip.ParseAddr(text)
	return err == nil || isName(text)
}

func (r *reader) hostname(name string) string {
	value := r.text(name, "")
	if value != "" && !isNameOrAddress(value) {
		r.wrong(name, value, "give a host name or an address that hypervisors can reach")
	}
	return value
}

func (r *reader) monitorAddress() string {
	const name = "MONITOR_ADDRESS"
	value := r.text(name, "auto")
	if !isNameOrAddress(value) {
		r.wrong(name, value, "give the name or address that hypervisors send monitoring data to, or auto")
	}
	return value
}

func (r *reader) endpoint(name string) string {
	value := r.text(name, "")
	if value == "" {
		return ""
	}
	if u, err := url.Parse(value); err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		r.wrong(name, value, "give a URL that guests can reach, such as http://one.example.org:5030")
	}
	return value
}

// tproxy reads entries such as 5030=gate.example.org:5030, with commas or line ends between them.
func (r *reader) tproxy(name string) []TProxy {
	const advice = "give entries <port for guests>=<address>:<port>, such as 5030=gate.example.org:5030, with commas between them"
	value := r.text(name, "")
	var entries []TProxy
	for _, text := range strings.FieldsFunc(value, func(c rune) bool { return c == ',' || c == '\n' }) {
		text = strings.TrimSpace(text)
		if text == "" {
			continue
		}
		port, remote, _ := strings.Cut(text, "=")
		listen, ok := parseListen(remote)
		service := parsePort(port)
		if !ok || service == 0 || listen.Address == "" || listen.Port == 0 {
			r.wrong(name, text, advice)
			continue
		}
		entries = append(entries, TProxy{service, listen.Address, listen.Port})
	}
	return entries
}

func (r *reader) listen(name string) Listen {
	value := r.text(name, "")
	if value == "" {
		return Listen{}
	}
	listen, ok := parseListen(value)
	if _, err := netip.ParseAddr(listen.Address); !ok || listen.Address != "" && err != nil {
		r.wrong(name, value, "give an address, a port or both: 0.0.0.0, :2616, 0.0.0.0:2616, ::, [::]:2616")
	}
	return listen
}

// parseListen reads an address, a port or both.
func parseListen(text string) (Listen, bool) {
	if isNameOrAddress(text) {
		return Listen{Address: text}, true
	}
	address, port, err := net.SplitHostPort(text)
	if err != nil || address != "" && !isNameOrAddress(address) || parsePort(port) == 0 {
		return Listen{}, false
	}
	return Listen{address, parsePort(port)}, true
}

// parsePort returns 0 for what is no port.
func parsePort(text string) int {
	port, err := strconv.ParseUint(strings.TrimSpace(text), 10, 16)
	if err != nil {
		return 0
	}
	return int(port)
}

func (r *reader) logLevel(name string) int {
	value := r.text(name, "info")
	level, ok := map[string]int{
		"error": 0, "warning": 1, "info": 2, "debug": 3, "0": 0, "1": 1, "2": 2, "3": 3, "4": 4, "5": 5,
	}[strings.ToLower(value)]
	if !ok {
		r.wrong(name, value, "give error, warning, info or debug, or a number from 0 to 5")
	}
	return level
}

func (r *reader) privateKey(name string) string {
	value := r.content(name)
	if value != "" && !strings.HasPrefix(strings.TrimSpace(value), "-----BEGIN ") {
		r.errs = append(r.errs, fmt.Errorf("%s%s is no private key: give one as ssh-keygen writes it, beginning with -----BEGIN", Prefix, name))
	}
	return value
}
