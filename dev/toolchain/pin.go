package toolchain

import (
	"fmt"
	"os"
	"regexp"

	"github.com/Masterminds/semver/v3"
	"golang.org/x/mod/modfile"
)

// A pin is what a module file says about a tool.
type pin struct {
	// version is the tool's, as the module system writes it: v1.2.3.
	version string
	// goVersion is the oldest Go that can build it: 1.26.0.
	goVersion string
}

func readPin(file, module string) (pin, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return pin{}, err
	}
	mod, err := modfile.Parse(file, data, nil)
	if err != nil {
		return pin{}, err
	}
	for _, require := range mod.Require {
		if require.Mod.Path != module {
			continue
		}
		p := pin{version: require.Mod.Version}
		if mod.Go != nil {
			p.goVersion = mod.Go.Version
		}
		return p, nil
	}
	return pin{}, fmt.Errorf("%s does not require module %s", file, module)
}

var versionPattern = regexp.MustCompile(`\bv?[0-9]+\.[0-9]+\.[0-9]+(?:[-+][0-9A-Za-z.+-]+)?`)

// findVersion returns the first version in what a program says when it is asked for its own; "" when there is none.
func findVersion(output string) string { return versionPattern.FindString(output) }

// sameVersion tells whether a program's version is the pinned one. What follows a "+" only names the commit it was built from.
func sameVersion(found, pinned string) bool {
	a, err := semver.NewVersion(found)
	if err != nil {
		return false
	}
	b, err := semver.NewVersion(pinned)
	return err == nil && a.Equal(b)
}
