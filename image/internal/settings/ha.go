package settings

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"opennebula-kube/image/internal/supervisord"
)

// HA is high availability: several front-ends, each with a database of its own, of which one leads. The zero value is a front-end alone.
type HA struct {
	// Self is the place of this front-end in the lists, from 0.
	Self int
	// Servers are the names of the front-ends, by which each reaches the others; Databases are the hosts of their databases.
	Servers, Databases []string
	// Secrets are what all front-ends have in common.
	Secrets HASecrets
	// PodLabel is a label of the front-ends' pods, to be set to leader or follower; "" for none.
	PodLabel string
}

// HASecrets are secrets that a front-end alone makes for itself.
type HASecrets struct {
	// ServerAdmin is the password of OpenNebula's services.
	ServerAdmin string
	// OneKey encrypts attributes in the database, FireEdgeKey signs the sessions of FireEdge.
	OneKey, FireEdgeKey string
}

// Enabled tells whether there are several front-ends.
func (h HA) Enabled() bool { return len(h.Servers) > 0 }

var labelPattern = regexp.MustCompile(`^([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$`)

func (r *reader) ha() HA {
	h := HA{
		Servers: r.names("HA_SERVERS"), Databases: r.names("HA_DB_HOSTS"), PodLabel: r.text("HA_POD_LABEL", ""),
		Secrets: HASecrets{
			ServerAdmin: r.token("HA_SERVERADMIN_PASSWORD"), OneKey: r.token("HA_ONE_KEY"), FireEdgeKey: r.token("HA_FIREEDGE_KEY"),
		},
	}
	self := r.text("HA_SELF", "")
	if !h.Enabled() {
		for _, name := range []string{
			"HA_DB_HOSTS", "HA_POD_LABEL", "HA_SELF", "HA_SERVERADMIN_PASSWORD", "HA_SERVERADMIN_PASSWORD_FILE", "HA_ONE_KEY", "HA_ONE_KEY_FILE",
			"HA_FIREEDGE_KEY", "HA_FIREEDGE_KEY_FILE",
		} {
			if r.env[name] != "" {
				r.errs = append(r.errs, fmt.Errorf("%s%s is set, and %sHA_SERVERS is not: name the front-ends there, or remove the variable",
					Prefix, name, Prefix))
			}
		}
		return HA{}
	}
	if n := len(h.Servers); n < 3 || n%2 == 0 {
		r.wrong("HA_SERVERS", strings.Join(h.Servers, ","), fmt.Sprintf("these are %d: give three or five front-ends; of an even number no more may fail than "+
			"of one less", n))
	}
	if len(h.Databases) != len(h.Servers) {
		r.wrong("HA_DB_HOSTS", strings.Join(h.Databases, ","), fmt.Sprintf("these are %d, and %sHA_SERVERS has %d: each front-end has a database of its own",
			len(h.Databases), Prefix, len(h.Servers)))
	}
	const fireedgeKeyLength = 32
	if n := len(h.Secrets.FireEdgeKey); n > 0 && n != fireedgeKeyLength {
		r.errs = append(r.errs, fmt.Errorf("%sHA_FIREEDGE_KEY has %d bytes: FireEdge encrypts with it, and takes %d", Prefix, n, fireedgeKeyLength))
	}
	var err error
	if h.Self, err = strconv.Atoi(self); err != nil || h.Self < 0 || h.Self >= len(h.Servers) {
		r.wrong("HA_SELF", self, fmt.Sprintf("give the place of this front-end in %sHA_SERVERS, from 0 to %d", Prefix, len(h.Servers)-1))
		h.Self = 0
	}
	if h.PodLabel != "" && !labelPattern.MatchString(h.PodLabel) {
		r.wrong("HA_POD_LABEL", h.PodLabel, "give the key of a label, such as opennebula.io/role")
	}
	return h
}

// names reads different host names with commas between them.
func (r *reader) names(name string) []string {
	var all []string
	seen := make(map[string]bool)
	for entry := range strings.SplitSeq(r.text(name, ""), ",") {
		entry = strings.TrimSpace(entry)
		switch {
		case entry == "":
			continue
		case !isNameOrAddress(entry):
			r.wrong(name, entry, "give names or addresses, without ports, with commas between them")
		case seen[entry]:
			r.wrong(name, entry, "it is there twice: each front-end is another, and has a database of its own")
		}
		seen[entry] = true
		all = append(all, entry)
	}
	return all
}

// token takes a secret without blanks.
func (r *reader) token(name string) string {
	value := r.secret(name)
	if strings.ContainsAny(value, " \t") {
		r.errs = append(r.errs, fmt.Errorf("%s%s has a blank in it: choose another", Prefix, name))
	}
	return value
}

// checkHA wants what front-ends cannot make each for itself.
func (r *reader) checkHA(s Settings) {
	if !s.HA.Enabled() {
		return
	}
	if s.Database.Backend != MySQL {
		r.errs = append(r.errs, fmt.Errorf("%sHA_SERVERS is set, and %sDB_BACKEND is %q: front-ends get their database from each other, which takes "+
			"a server for each: set the backend to %q", Prefix, Prefix, s.Database.Backend, MySQL))
	}
	if !supervisord.HasOned(s.Services) {
		r.errs = append(r.errs, fmt.Errorf("%sHA_SERVERS is set, and %sSERVICES is without oned: the services of one of several front-ends run in one "+
			"container", Prefix, Prefix))
	}
	for _, needed := range []struct{ name, value string }{
		{"ONEADMIN_PASSWORD", s.OneadminPassword}, {"SSH_PRIVATE_KEY", s.SSH.PrivateKey}, {"HA_SERVERADMIN_PASSWORD", s.HA.Secrets.ServerAdmin},
		{"HA_ONE_KEY", s.HA.Secrets.OneKey}, {"HA_FIREEDGE_KEY", s.HA.Secrets.FireEdgeKey},
	} {
		if needed.value == "" && r.env[needed.name+"_FILE"] == "" {
			r.errs = append(r.errs, fmt.Errorf("%sHA_SERVERS is set, and %s%s is not: give it, or %s%s_FILE, the same to all front-ends",
				Prefix, Prefix, needed.name, Prefix, needed.name))
		}
	}
}
