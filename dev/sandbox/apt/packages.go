package apt

import (
	"cmp"
	"slices"
	"strconv"

	"github.com/Masterminds/semver/v3"
)

// maintainer is in the control file of every package.
const maintainer = "OpenNebula Team <contact@opennebula.io>"

// standinPath is where the stand-in program is installed; the commands are links to it.
const standinPath = "/usr/lib/one/standin"

// anyArchitecture marks a package that is built for each architecture; the others are built once, for all.
const anyArchitecture = "any"

// definition is one of OpenNebula's packages. Its files are those of the listing, with the content of those below packages/<name>, where its maintainer
// scripts are too.
type definition struct {
	name, architecture string
	// revision is its Debian revision when it is another than that of the rest.
	revision string
	// since is the first version that has it; empty means all.
	since       string
	description string
	// depends are packages of the same version. Nothing outside of the repository is needed but what every Debian system has, so
	// that an image can be built without any other repository.
	depends []string
	// directories are those that nothing is in yet, and that the listing does not have.
	directories []string
	// commands are the programs in /usr/bin that the stand-in answers for, programs those elsewhere, by their paths.
	commands, programs []string
	// standin tells that the package has the stand-in program in it.
	standin bool
}

// definitions are the packages that OpenNebula has, with their dependencies on each other. Ruby and Node.js, which the real ones get
// from the distribution, are in those that need them.
func definitions() []definition {
	return []definition{
		{name: "opennebula", architecture: anyArchitecture, description: "controller (stand-in)",
			depends:  []string{"opennebula-common", "opennebula-libs", "opennebula-rubygems", "opennebula-tools"},
			commands: []string{"oned", "onedb"}},
		{name: "opennebula-common", architecture: "all", description: "user and directories (stand-in)",
			directories: []string{"/etc/one", "/var/lib/one", "/var/log/one"}},
		{name: "opennebula-common-onecfg", architecture: "all", description: "configuration tools (stand-in)",
			depends: []string{"opennebula-common"}},
		{name: "opennebula-fireedge", architecture: anyArchitecture, description: "web interface (stand-in)",
			depends: []string{"opennebula-common", "opennebula-guacd"}, commands: []string{"node"}},
		{name: "opennebula-flow", architecture: "all", description: "OneFlow server (stand-in)",
			depends: []string{"opennebula-common", "opennebula-libs"}},
		{name: "opennebula-form", architecture: "all", since: "7.2.0", description: "OneForm server (stand-in)",
			depends: []string{"opennebula-common", "opennebula-libs"}},
		{name: "opennebula-gate", architecture: "all", description: "OneGate server (stand-in)",
			depends: []string{"opennebula-common", "opennebula-libs"}},
		{name: "opennebula-guacd", architecture: anyArchitecture, revision: "1.2.0+1", description: "remote desktop proxy (stand-in)",
			depends: []string{"opennebula-common"}, programs: []string{"/usr/share/one/guacd/sbin/guacd"}},
		{name: "opennebula-ks", architecture: "all", since: "7.4.0", description: "OneKS server (stand-in)",
			depends: []string{"opennebula-common", "opennebula-libs"}},
		{name: "opennebula-libs", architecture: "all", description: "libraries (stand-in)",
			depends: []string{"opennebula-common", "opennebula-rubygems"}},
		{name: "opennebula-migration", architecture: "all", description: "database migrators (stand-in)",
			depends: []string{"opennebula-libs"}},
		{name: "opennebula-prometheus", architecture: anyArchitecture, description: "Prometheus exporters (stand-in)",
			depends: []string{"opennebula-common"}},
		{name: "opennebula-rubygems", architecture: anyArchitecture, description: "what the programs run on (stand-in)", standin: true,
			commands: []string{"ruby"}},
		{name: "opennebula-tools", architecture: "all", description: "command line tools (stand-in)",
			depends: []string{"opennebula-common", "opennebula-libs"}, commands: []string{"onehook", "oneshowback", "oneuser"}},
		{name: "python3-pyone", architecture: "all", description: "Python bindings (stand-in)"},
	}
}

// in tells whether a version has the package.
func (d definition) in(version *semver.Version) bool {
	return d.since == "" || !version.LessThan(semver.MustParse(d.since))
}

// release is the Debian revision of the package in a version.
func (d definition) release(v Version) string { return cmp.Or(d.revision, strconv.Itoa(v.Revision)) }

// definitionOf is the definition of a package by its name.
func definitionOf(name string) definition {
	all := definitions()
	return all[slices.IndexFunc(all, func(d definition) bool { return d.name == name })]
}
