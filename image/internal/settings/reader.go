package settings

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Prefix is what all variables begin with.
const Prefix = "OPENNEBULA_"

// reader takes variables out of the environment and collects what is wrong with them.
type reader struct {
	env      map[string]string
	readFile func(path string) ([]byte, error)
	known    []string
	errs     []error
}

func newReader(environ []string, readFile func(string) ([]byte, error)) *reader {
	r := &reader{env: make(map[string]string), readFile: readFile}
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		if name, ok := strings.CutPrefix(name, Prefix); ok {
			r.env[name] = value
		}
	}
	return r
}

// wrong notes that a variable has a value that is no good.
func (r *reader) wrong(name, value, advice string) {
	r.errs = append(r.errs, fmt.Errorf("%s%s is %q: %s", Prefix, name, value, advice))
}

// text takes a variable; one that is empty counts as not set.
func (r *reader) text(name, fallback string) string {
	r.known = append(r.known, name)
	if value := strings.TrimSpace(r.env[name]); value != "" {
		return value
	}
	return fallback
}

func (r *reader) number(name string, fallback, highest int) int {
	value := r.text(name, strconv.Itoa(fallback))
	n, err := strconv.Atoi(value)
	if err != nil || n < 1 || n > highest {
		r.wrong(name, value, fmt.Sprintf("give a whole number from 1 to %d", highest))
		return fallback
	}
	return n
}

func (r *reader) duration(name string, fallback time.Duration) time.Duration {
	value := r.text(name, fallback.String())
	d, err := time.ParseDuration(value)
	if err != nil || d <= 0 {
		r.wrong(name, value, "give a time with its unit, such as 90s or 5m")
		return fallback
	}
	return d
}

// content takes a variable NAME, or what is in the file that NAME_FILE names. The value may be a secret, so no error shows it.
func (r *reader) content(name string) string {
	value := r.env[name]
	r.known = append(r.known, name)
	path := r.text(name+"_FILE", "")
	switch {
	case path == "":
		return value
	case value != "":
		r.errs = append(r.errs, fmt.Errorf("%s%s and %s%s_FILE are both set: remove one of them", Prefix, name, Prefix, name))
		return ""
	}
	data, err := r.readFile(path)
	if err != nil {
		cause := err
		if failed, ok := errors.AsType[*os.PathError](err); ok {
			cause = failed.Err
		}
		r.wrong(name+"_FILE", path, fmt.Sprintf("the file cannot be read (%v): name a file that is mounted and readable", cause))
		return ""
	}
	if len(strings.TrimSpace(string(data))) == 0 {
		r.wrong(name+"_FILE", path, "the file is empty: put the value into it")
	}
	return string(data)
}

// secret takes a secret of one line.
func (r *reader) secret(name string) string {
	value := strings.TrimRight(r.content(name), "\r\n")
	if i := strings.IndexFunc(value, func(c rune) bool { return c < ' ' || c == 0x7f }); i >= 0 {
		r.errs = append(r.errs, fmt.Errorf("%s%s: character %d of the value is a line end or a control character: give one line of text",
			Prefix, name, i+1))
		return ""
	}
	return value
}

// injected are the variables that Kubernetes sets for each Service in a namespace: one called opennebula-db gives OPENNEBULA_DB_PORT. No
// name of a setting may be of this form.
var injected = regexp.MustCompile(`_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT(_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$`)

// unknown notes variables that nothing has asked for: a misspelt setting must not be ignored.
func (r *reader) unknown() {
	var names []string
	for name := range r.env {
		if !slices.Contains(r.known, name) && !injected.MatchString("_"+name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	slices.Sort(r.known)
	for _, name := range names {
		r.errs = append(r.errs, fmt.Errorf("%s%s is no setting: remove it, or correct it to one of %s%s", Prefix, name, Prefix,
			strings.Join(r.known, ", "+Prefix)))
	}
}
