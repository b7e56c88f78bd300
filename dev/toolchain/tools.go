package toolchain

import (
	"maps"
	"slices"
	"strings"
)

// A tool is a Go program that the repository pins. Its version stands in moduleFile and nowhere else.
type tool struct {
	// module is the Go module whose version is the tool's version; pkg is the program in it.
	module, pkg string
	// moduleFile is where the version is pinned, relative to the repository's root.
	moduleFile string
	// source is set for a program of the repository's own that is made of the module: the directory of it, and of its moduleFile.
	source string
	// versionArgs make the program print its version.
	versionArgs []string
	// versionVars are the variables that the linker sets to the version, with "%s" for the version as the module system
	// writes it ("v1.2.3"), "%t" for the same without the "v", and "%M" and "%m" for its first and second number.
	versionVars []string
	// env is added to the environment of the compiler.
	env []string
}

func tools() map[string]tool {
	return map[string]tool{
		"actionlint": {
			module:      "github.com/rhysd/actionlint",
			pkg:         "github.com/rhysd/actionlint/cmd/actionlint",
			moduleFile:  "dev/tools/actionlint.mod",
			versionArgs: []string{"-version"},
			versionVars: []string{"github.com/rhysd/actionlint.version=%t"},
		},
		"buildctl": {
			module:      "github.com/moby/buildkit",
			pkg:         "github.com/moby/buildkit/cmd/buildctl",
			moduleFile:  "go.mod",
			versionArgs: []string{"--version"},
			versionVars: []string{"github.com/moby/buildkit/version.Version=%s"},
		},
		"buildkitd": {
			module:      "github.com/moby/buildkit",
			pkg:         "github.com/moby/buildkit/cmd/buildkitd",
			moduleFile:  "go.mod",
			versionArgs: []string{"--version"},
			versionVars: []string{"github.com/moby/buildkit/version.Version=%s"},
		},
		"crane": {
			module:      "github.com/google/go-containerregistry",
			pkg:         "github.com/google/go-containerregistry/cmd/crane",
			moduleFile:  "go.mod",
			versionArgs: []string{"version"},
			versionVars: []string{"github.com/google/go-containerregistry/cmd/crane/cmd.Version=%s"},
		},
		"golangci-lint": {
			module:      "github.com/golangci/golangci-lint/v2",
			pkg:         "github.com/golangci/golangci-lint/v2/cmd/golangci-lint",
			moduleFile:  "dev/tools/golangci-lint.mod",
			versionArgs: []string{"version"},
			// Without a date it takes the version of the main module, which is the module file's own.
			versionVars: []string{"main.version=%t", "main.date=unknown"},
		},
		"helm": {
			module:      "helm.sh/helm/v4",
			pkg:         "helm.sh/helm/v4/cmd/helm",
			moduleFile:  "go.mod",
			versionArgs: []string{"version", "--short"},
			versionVars: []string{"helm.sh/helm/v4/internal/version.version=%s"},
		},
		"helm3": {
			module:      "helm.sh/helm/v3",
			pkg:         "helm.sh/helm/v3/cmd/helm",
			moduleFile:  "dev/tools/helm3.mod",
			versionArgs: []string{"version", "--short"},
			versionVars: []string{"helm.sh/helm/v3/internal/version.version=%s"},
		},
		"helm-docs": {
			module:      "github.com/norwoodj/helm-docs",
			pkg:         "github.com/norwoodj/helm-docs/cmd/helm-docs",
			moduleFile:  "dev/tools/helm-docs.mod",
			versionArgs: []string{"--version"},
			versionVars: []string{"main.version=%t"},
		},
		"helm-unittest": {
			module:     "github.com/helm-unittest/helm-unittest",
			pkg:        "github.com/helm-unittest/helm-unittest/cmd/helm-unittest",
			moduleFile: "dev/tools/helm-unittest.mod",
			// It cannot tell its version, so one on the PATH is never taken.
			versionArgs: []string{"--version"},
		},
		"kubernetes-node": {
			module:     "k8s.io/kubernetes",
			pkg:        ".",
			moduleFile: "dev/kube/node/go.mod",
			source:     "dev/kube/node",
			// Without them the server tells version 0.0.0, which no chart takes.
			versionVars: []string{
				"k8s.io/component-base/version.gitVersion=%s", "k8s.io/component-base/version.gitMajor=%M",
				"k8s.io/component-base/version.gitMinor=%m", "k8s.io/component-base/version.gitTreeState=clean",
			},
		},
		"trivy": {
			module:      "github.com/aquasecurity/trivy",
			pkg:         "github.com/aquasecurity/trivy/cmd/trivy",
			moduleFile:  "dev/tools/trivy.mod",
			versionArgs: []string{"--version"},
			versionVars: []string{"github.com/aquasecurity/trivy/pkg/version/app.ver=%t"},
			env:         []string{"GOEXPERIMENT=jsonv2"},
		},
	}
}

func toolNames() []string { return slices.Sorted(maps.Keys(tools())) }

// buildArgs are the arguments of go that build the tool in the given version as the file output.
func (t tool) buildArgs(version, output string) []string {
	ldflags := []string{"-s", "-w"}
	bare := strings.TrimPrefix(version, "v")
	major, rest, _ := strings.Cut(bare, ".")
	minor, _, _ := strings.Cut(rest, ".")
	replacer := strings.NewReplacer("%s", version, "%t", bare, "%M", major, "%m", minor)
	for _, v := range t.versionVars {
		ldflags = append(ldflags, "-X", replacer.Replace(v))
	}
	return append(t.goArgs("build"), "-v", "-buildvcs=false", "-ldflags", strings.Join(ldflags, " "), "-o", output, t.pkg)
}

// listArgs are the arguments of go that print every package that the tool consists of, one a line.
func (t tool) listArgs() []string { return append(t.goArgs("list"), "-deps", t.pkg) }

func (t tool) goArgs(verb string) []string {
	if t.moduleFile == "go.mod" || t.source != "" {
		return []string{verb, "-mod=readonly"}
	}
	return []string{verb, "-mod=readonly", "-modfile=" + t.moduleFile}
}
