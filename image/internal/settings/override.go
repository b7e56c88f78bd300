package settings

import (
	"fmt"
	"path"
	"strings"
)

// Directories that overrides may be for: OpenNebula's configuration, and that of its drivers.
const (
	configDir = "/etc/one"
	driverDir = "/var/lib/one/remotes/etc"
)

// overrides reads the lines of a setting.
func (r *reader) overrides(name string) []Override {
	all, wrong := parseOverrides(r.content(name))
	for _, w := range wrong {
		r.wrong(name, w.line, w.advice)
	}
	return all
}

// ParseOverrides reads lines as OPENNEBULA_CONFIG has them.
func ParseOverrides(text string) ([]Override, error) {
	all, wrong := parseOverrides(text)
	if len(wrong) > 0 {
		return nil, fmt.Errorf("read the line %q: %s", wrong[0].line, wrong[0].advice)
	}
	return all, nil
}

// wrongLine is a line that is not an override, and what to do about it.
type wrongLine struct{ line, advice string }

// parseOverrides reads lines such as
//
//	oned.conf VM_MAD[NAME=kvm]/ARGUMENTS = -t 30 -r 0 kvm -p
//
// A file without a leading slash is in /etc/one. Empty lines and those that begin with # are skipped.
func parseOverrides(text string) (all []Override, wrong []wrongLine) {
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		left, value, found := cutAssignment(line)
		file, key, hasKey := strings.Cut(left, " ")
		if key = strings.TrimSpace(key); !found || !hasKey || key == "" {
			wrong = append(wrong, wrongLine{line, "write lines of the form <file> <key> = <value>, such as oned.conf LOG/DEBUG_LEVEL = 4"})
			continue
		}
		if !path.IsAbs(file) {
			file = path.Join(configDir, file)
		}
		if file = path.Clean(file); !strings.HasPrefix(file, configDir+"/") && !strings.HasPrefix(file, driverDir+"/") {
			wrong = append(wrong, wrongLine{line, "the file must be below " + configDir + " or " + driverDir})
			continue
		}
		all = append(all, Override{file, key, value})
	}
	return all, wrong
}

// cutAssignment cuts at the first = that is not in brackets: keys may have one there.
func cutAssignment(line string) (left, value string, found bool) {
	depth := 0
	for i, c := range line {
		switch {
		case c == '[':
			depth++
		case c == ']':
			depth--
		case c == '=' && depth == 0:
			return strings.TrimSpace(line[:i]), strings.TrimSpace(line[i+1:]), true
		}
	}
	return "", "", false
}
