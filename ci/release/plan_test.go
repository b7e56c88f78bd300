package release_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"opennebula-kube/ci/release"
)

const (
	oldBase = "sha256:0b0b"
	newBase = "sha256:1c1c"
	image   = "sha256:aaaa" // the published image
	other   = "sha256:bbbb"

	sourcesDigest = "sha256:cccc"
)

var (
	base = release.Base{Name: "docker.io/library/ubuntu:24.04", Digest: newBase}
	// wanted is what is in the image that current has.
	wanted = release.Wanted{Base: base, Sources: sourcesDigest}
	// target is a release of an upstream that also has a lower one.
	target = release.Release{
		Version: "7.0.1", Line: "7.0", Directory: "7.0.1", Date: published, PackageVersion: "7.0.1-1",
		Architectures: []string{"amd64", "arm64"}, Indexes: map[string]string{"amd64": "sha256:11", "arm64": "sha256:22"},
	}
	upstream = append(releases("7.0.0"), target)
)

// current is the state of a registry in which nothing is left to do for target. Each call returns one of its own.
func current() release.State {
	return release.State{
		Tags:    []string{"7.0.1-1", "7.0.1", "7.0", "7", "latest", "buildcache", "sha256-aaaa.sig"},
		Digests: map[string]string{"7.0.1-1": image, "7.0.1": image, "7.0": image, "7": image, "latest": image},
		Published: &release.Published{
			Ref:       "docker.io/acme/opennebula:7.0.1-1",
			Digest:    image,
			Platforms: []string{"linux/amd64", "linux/arm64"},
			Labels:    map[string]string{release.LabelBaseDigest: newBase, release.LabelPackages: "7.0.1-1", release.LabelSources: sourcesDigest, "other": "x"},
		},
	}
}

func TestNewPlan(t *testing.T) {
	for _, test := range []struct {
		name      string
		change    func(*release.State)
		all       []release.Release // upstream by default
		platforms []string
		fixable   []string
		rebuild   bool

		action  release.Action
		tag     string
		reasons []string
		moves   string // tag:from>to ...
		builds  string // platforms, both by default
	}{
		{
			name:   "nothing to do",
			change: func(*release.State) {},
			action: release.Nothing, tag: "7.0.1-1",
			reasons: []string{"7.0.1-1 is published and current, and its tags are in place"},
		}, {
			name:   "an empty registry",
			change: func(s *release.State) { *s = release.State{} },
			action: release.Build, tag: "7.0.1-1",
			reasons: []string{"OpenNebula 7.0.1 is not published yet"},
			moves:   "7.0.1:> 7.0:> 7:> latest:>",
		}, {
			name: "a version beside others",
			change: func(s *release.State) {
				*s = release.State{Tags: []string{"7.0.0-3", "7.0.0", "7.0", "7", "latest"},
					Digests: map[string]string{"7.0": other, "7": other, "latest": other}}
			},
			action: release.Build, tag: "7.0.1-1",
			reasons: []string{"OpenNebula 7.0.1 is not published yet"},
			moves:   "7.0.1:> 7.0:sha256:bbbb> 7:sha256:bbbb> latest:sha256:bbbb>",
		}, {
			name: "tags of others that look much like revisions",
			change: func(s *release.State) {
				*s = release.State{Tags: []string{"7.0.1-rc1", "7.0.1-amd64", "7.0.1-0", "7.0.0-4", "v7.0.1-2", "buildcache"}}
			},
			action: release.Build, tag: "7.0.1-1",
			reasons: []string{"OpenNebula 7.0.1 is not published yet"},
			moves:   "7.0.1:> 7.0:> 7:> latest:>",
		}, {
			name: "a revision that is listed and gone",
			change: func(s *release.State) {
				*s = release.State{Tags: []string{"7.0.1-1", "7.0.1-2"}, Digests: map[string]string{}}
			},
			action: release.Build, tag: "7.0.1-3",
			reasons: []string{"7.0.1-2 is listed in the registry, but there is no whole image under it"},
			moves:   "7.0.1:> 7.0:> 7:> latest:>",
		}, {
			name:   "another base image",
			change: func(s *release.State) { s.Published.Labels[release.LabelBaseDigest] = oldBase },
			action: release.Rebuild, tag: "7.0.1-2",
			reasons: []string{"base image has changed from sha256:0b0b to sha256:1c1c"},
			moves:   "7.0.1:sha256:aaaa> 7.0:sha256:aaaa> 7:sha256:aaaa> latest:sha256:aaaa>",
		}, {
			name:   "an unknown base image",
			change: func(s *release.State) { delete(s.Published.Labels, release.LabelBaseDigest) },
			action: release.Rebuild, tag: "7.0.1-2",
			reasons: []string{"docker.io/acme/opennebula:7.0.1-1 does not say its base image (label org.opencontainers.image.base.digest); now it is sha256:1c1c"},
			moves:   "7.0.1:sha256:aaaa> 7.0:sha256:aaaa> 7:sha256:aaaa> latest:sha256:aaaa>",
		}, {
			name:   "other sources",
			change: func(s *release.State) { s.Published.Labels[release.LabelSources] = "sha256:dddd" },
			action: release.Rebuild, tag: "7.0.1-2",
			reasons: []string{"digest of the image's sources has changed from sha256:dddd to sha256:cccc"},
			moves:   "7.0.1:sha256:aaaa> 7.0:sha256:aaaa> 7:sha256:aaaa> latest:sha256:aaaa>",
		}, {
			name:    "a rebuild that was asked for",
			change:  func(*release.State) {},
			rebuild: true,
			action:  release.Rebuild, tag: "7.0.1-2",
			reasons: []string{"a new revision was asked for (--rebuild)"},
			moves:   "7.0.1:sha256:aaaa> 7.0:sha256:aaaa> 7:sha256:aaaa> latest:sha256:aaaa>",
		}, {
			name:    "a rebuild that was asked for of what is not published",
			change:  func(s *release.State) { *s = release.State{} },
			rebuild: true,
			action:  release.Build, tag: "7.0.1-1",
			reasons: []string{"OpenNebula 7.0.1 is not published yet"},
			moves:   "7.0.1:> 7.0:> 7:> latest:>",
		}, {
			name:   "no labels at all",
			change: func(s *release.State) { s.Published.Labels = nil },
			action: release.Rebuild, tag: "7.0.1-2",
			reasons: []string{
				"docker.io/acme/opennebula:7.0.1-1 does not say its base image (label org.opencontainers.image.base.digest); now it is sha256:1c1c",
				"docker.io/acme/opennebula:7.0.1-1 does not say its package version (label io.opennebula-kube.packages); now it is 7.0.1-1",
				"docker.io/acme/opennebula:7.0.1-1 does not say its digest of the image's sources (label io.opennebula-kube.sources); now it is sha256:cccc",
			},
			moves: "7.0.1:sha256:aaaa> 7.0:sha256:aaaa> 7:sha256:aaaa> latest:sha256:aaaa>",
		}, {
			name:   "a label that would write to the terminal",
			change: func(s *release.State) { s.Published.Labels[release.LabelBaseDigest] = "\x1b[2Jgone" },
			action: release.Rebuild, tag: "7.0.1-2",
			reasons: []string{`base image has changed from "\x1b[2Jgone" to sha256:1c1c`},
			moves:   "7.0.1:sha256:aaaa> 7.0:sha256:aaaa> 7:sha256:aaaa> latest:sha256:aaaa>",
		}, {
			name:   "another packaging",
			change: func(s *release.State) { s.Published.Labels[release.LabelPackages] = "7.0.1-0" },
			action: release.Rebuild, tag: "7.0.1-2",
			reasons: []string{"package version has changed from 7.0.1-0 to 7.0.1-1"},
			moves:   "7.0.1:sha256:aaaa> 7.0:sha256:aaaa> 7:sha256:aaaa> latest:sha256:aaaa>",
		}, {
			name:   "a platform more",
			change: func(s *release.State) { s.Published.Platforms = []string{"linux/amd64"} },
			action: release.Rebuild, tag: "7.0.1-2",
			reasons: []string{"it is published for linux/amd64 and wanted for linux/amd64, linux/arm64"},
			moves:   "7.0.1:sha256:aaaa> 7.0:sha256:aaaa> 7:sha256:aaaa> latest:sha256:aaaa>",
		}, {
			name:      "a platform less",
			change:    func(*release.State) {},
			platforms: []string{"linux/arm64"},
			action:    release.Rebuild, tag: "7.0.1-2",
			reasons: []string{"it is published for linux/amd64, linux/arm64 and wanted for linux/arm64"},
			moves:   "7.0.1:sha256:aaaa> 7.0:sha256:aaaa> 7:sha256:aaaa> latest:sha256:aaaa>",
			builds:  "linux/arm64",
		}, {
			name:      "the same platforms in another order",
			change:    func(s *release.State) { s.Published.Platforms = []string{"linux/arm64", "linux/amd64"} },
			platforms: []string{"linux/arm64", "linux/amd64", "linux/arm64"},
			action:    release.Nothing, tag: "7.0.1-1",
			reasons: []string{"7.0.1-1 is published and current, and its tags are in place"},
		}, {
			name:    "vulnerabilities with a fix",
			change:  func(*release.State) {},
			fixable: []string{"CVE-2025-2", "CVE-2025-1", "CVE-2025-2"},
			action:  release.Rebuild, tag: "7.0.1-2",
			reasons: []string{"a fix exists now for CVE-2025-1, CVE-2025-2"},
			moves:   "7.0.1:sha256:aaaa> 7.0:sha256:aaaa> 7:sha256:aaaa> latest:sha256:aaaa>",
		}, {
			name: "all reasons at once",
			change: func(s *release.State) {
				s.Published.Labels = map[string]string{release.LabelBaseDigest: oldBase, release.LabelPackages: "7.0.1-0", release.LabelSources: "sha256:dddd"}
				s.Published.Platforms = []string{"linux/amd64"}
				s.Digests["latest"] = other
			},
			fixable: []string{"CVE-2025-1"},
			action:  release.Rebuild, tag: "7.0.1-2",
			reasons: []string{
				"base image has changed from sha256:0b0b to sha256:1c1c",
				"package version has changed from 7.0.1-0 to 7.0.1-1",
				"digest of the image's sources has changed from sha256:dddd to sha256:cccc",
				"it is published for linux/amd64 and wanted for linux/amd64, linux/arm64",
				"a fix exists now for CVE-2025-1",
			},
			moves: "7.0.1:sha256:aaaa> 7.0:sha256:aaaa> 7:sha256:aaaa> latest:sha256:bbbb>",
		}, {
			name: "revisions with gaps, beyond ten",
			change: func(s *release.State) {
				s.Tags = append(s.Tags, "7.0.1-3", "7.0.1-11", "7.0.1-9", "7.0.0-40")
				s.Published.Ref = "docker.io/acme/opennebula:7.0.1-11"
			},
			fixable: []string{"CVE-2025-1"},
			action:  release.Rebuild, tag: "7.0.1-12",
			reasons: []string{"a fix exists now for CVE-2025-1"},
			moves:   "7.0.1:sha256:aaaa> 7.0:sha256:aaaa> 7:sha256:aaaa> latest:sha256:aaaa>",
		}, {
			name: "a crash after the push of the first revision",
			change: func(s *release.State) {
				s.Tags, s.Digests = []string{"7.0.1-1"}, map[string]string{"7.0.1-1": image}
			},
			action: release.Promote, tag: "7.0.1-1",
			reasons: []string{
				"tag 7.0.1 does not exist and should be 7.0.1-1",
				"tag 7.0 does not exist and should be 7.0.1-1",
				"tag 7 does not exist and should be 7.0.1-1",
				"tag latest does not exist and should be 7.0.1-1",
			},
			moves: "7.0.1:>sha256:aaaa 7.0:>sha256:aaaa 7:>sha256:aaaa latest:>sha256:aaaa",
		}, {
			name: "a crash in the middle of promoting the second",
			change: func(s *release.State) {
				s.Tags = append(s.Tags, "7.0.1-2")
				s.Digests["7"], s.Digests["latest"] = other, other
			},
			action: release.Promote, tag: "7.0.1-2",
			reasons: []string{
				"tag 7 is sha256:bbbb and should be 7.0.1-2 (sha256:aaaa)",
				"tag latest is sha256:bbbb and should be 7.0.1-2 (sha256:aaaa)",
			},
			moves: "7:sha256:bbbb>sha256:aaaa latest:sha256:bbbb>sha256:aaaa",
		}, {
			name: "the upper tags belong to a higher release",
			change: func(s *release.State) {
				s.Digests["7"], s.Digests["latest"] = other, other
			},
			all:    append(releases("7.2.0"), upstream...),
			action: release.Nothing, tag: "7.0.1-1",
			reasons: []string{"7.0.1-1 is published and current, and its tags are in place"},
		}, {
			name: "a higher release that upstream took back keeps its tags",
			change: func(s *release.State) {
				s.Tags = append(s.Tags, "7.2.0-1")
				s.Digests["7"], s.Digests["latest"] = other, other
			},
			fixable: []string{"CVE-2025-1"},
			action:  release.Rebuild, tag: "7.0.1-2",
			reasons: []string{"a fix exists now for CVE-2025-1"},
			moves:   "7.0.1:sha256:aaaa> 7.0:sha256:aaaa>",
		}, {
			name: "a higher release of the line keeps the line's tag",
			change: func(s *release.State) {
				s.Tags = append(s.Tags, "7.0.2-1", "7.0.2")
				s.Digests["7.0"], s.Digests["7"], s.Digests["latest"] = other, other, other
				s.Digests["7.0.1"] = other
			},
			action: release.Promote, tag: "7.0.1-1",
			reasons: []string{"tag 7.0.1 is sha256:bbbb and should be 7.0.1-1 (sha256:aaaa)"},
			moves:   "7.0.1:sha256:bbbb>sha256:aaaa",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			state, all := current(), upstream
			test.change(&state)
			if test.all != nil {
				all = test.all
			}
			got, err := release.NewPlan(target, all, state, release.Wanted{Base: base, Sources: sourcesDigest, Platforms: test.platforms, Fixable: test.fixable, Rebuild: test.rebuild})
			if err != nil {
				t.Fatal(err)
			}
			if got.Action != test.action || got.RevisionTag() != test.tag {
				t.Errorf("got %s of %s, want %s of %s", got.Action, got.RevisionTag(), test.action, test.tag)
			}
			if diff := cmp.Diff(test.reasons, got.Reasons); diff != "" {
				t.Errorf("reasons (-want +got):\n%s", diff)
			}
			var moves []string
			for _, m := range got.Moves {
				moves = append(moves, m.Tag+":"+m.From+">"+m.To)
			}
			if diff := cmp.Diff(test.moves, strings.Join(moves, " ")); diff != "" {
				t.Errorf("moves (-want +got):\n%s", diff)
			}
			if test.builds == "" {
				test.builds = "linux/amd64 linux/arm64"
			}
			if builds := strings.Join(got.Platforms, " "); builds != test.builds {
				t.Errorf("got platforms %s, want %s", builds, test.builds)
			}
			if diff := cmp.Diff(release.MovingTags(target, all, state.Tags), got.Tags); diff != "" {
				t.Errorf("tags (-want +got):\n%s", diff)
			}
			if got.Base != base || got.Published != state.Published || got.Release.Version != "7.0.1" {
				t.Errorf("got base %v, published %v, release %s, want what the plan was made of", got.Base, got.Published, got.Release.Version)
			}
		})
	}
}

// A plan that cannot be relied on is none.
func TestNewPlanErrors(t *testing.T) {
	for _, test := range []struct {
		name      string
		change    func(*release.State, *release.Release, *release.Base)
		platforms []string
		says      []string
	}{
		{"a platform that the release lacks", nil, []string{"linux/amd64", "linux/s390x"}, []string{"7.0.1", `"linux/s390x"`, "linux/amd64, linux/arm64"}},
		{"two platforms that the release lacks", nil, []string{"linux/386", "linux/s390x"}, []string{`"linux/386"`, `"linux/s390x"`}},
		{"a platform without its system", nil, []string{"amd64"}, []string{`"amd64"`, "linux/amd64"}},
		{"a release for nothing", func(_ *release.State, r *release.Release, _ *release.Base) { r.Architectures = nil }, nil,
			[]string{"7.0.1", "no architecture"}},
		{"a release of no version", func(_ *release.State, r *release.Release, _ *release.Base) { r.Version = "7.0" }, nil, []string{`"7.0"`, "X.Y.Z"}},
		{"unknown sources", nil, nil, []string{"7.0.1", "sources is not known"}},
		{"an unknown base image", func(_ *release.State, _ *release.Release, b *release.Base) { b.Digest = "" }, nil, []string{"ubuntu:24.04", "not known"}},
		{"a later packaging is published", func(s *release.State, _ *release.Release, _ *release.Base) {
			s.Published.Labels[release.LabelPackages] = "7.0.1-2"
		}, nil, []string{"plan 7.0.1", "upstream has package version 7.0.1-1", "opennebula:7.0.1-1 has 7.0.1-2 already"}},
		{"a published image without digest", func(s *release.State, _ *release.Release, _ *release.Base) { s.Published.Digest = "" }, nil,
			[]string{"acme/opennebula:7.0.1-1", "not known"}},
		{"a published image that no tag is of", func(s *release.State, _ *release.Release, _ *release.Base) { s.Tags = []string{"7.0.1"} }, nil,
			[]string{"acme/opennebula:7.0.1-1", "read the registry again"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			state, r, b := current(), target, base
			if test.change != nil {
				test.change(&state, &r, &b)
			}
			wanted := release.Wanted{Base: b, Sources: sourcesDigest, Platforms: test.platforms}
			if test.name == "unknown sources" {
				wanted.Sources = ""
			}
			got, err := release.NewPlan(r, upstream, state, wanted)
			if err == nil {
				t.Fatalf("got %s, want an error", got.Action)
			}
			for _, part := range test.says {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("got error %q, want %q in it", err, part)
				}
			}
		})
	}
}

// Machines read a plan as JSON: names and shape are a promise.
func TestPlanJSON(t *testing.T) {
	state := current()
	state.Digests = map[string]string{"7.0.1": image, "7.0": image, "7": other}
	plan, err := release.NewPlan(target, upstream, state, wanted)
	if err != nil {
		t.Fatal(err)
	}
	got, err := json.MarshalIndent(plan, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	const want = `{
  "action": "promote",
  "release": {
    "version": "7.0.1",
    "line": "7.0",
    "directory": "7.0.1",
    "date": "2025-10-22T09:30:00Z",
    "architectures": [
      "amd64",
      "arm64"
    ],
    "indexes": {
      "amd64": "sha256:11",
      "arm64": "sha256:22"
    },
    "packageVersion": "7.0.1-1"
  },
  "revision": 1,
  "reasons": [
    "tag 7 is sha256:bbbb and should be 7.0.1-1 (sha256:aaaa)",
    "tag latest does not exist and should be 7.0.1-1"
  ],
  "platforms": [
    "linux/amd64",
    "linux/arm64"
  ],
  "base": {
    "name": "docker.io/library/ubuntu:24.04",
    "digest": "sha256:1c1c"
  },
  "sources": "sha256:cccc",
  "tags": [
    "7.0.1",
    "7.0",
    "7",
    "latest"
  ],
  "moves": [
    {
      "tag": "7",
      "from": "sha256:bbbb",
      "to": "sha256:aaaa"
    },
    {
      "tag": "latest",
      "from": "",
      "to": "sha256:aaaa"
    }
  ],
  "published": {
    "ref": "docker.io/acme/opennebula:7.0.1-1",
    "digest": "sha256:aaaa",
    "platforms": [
      "linux/amd64",
      "linux/arm64"
    ],
    "labels": {
      "io.opennebula-kube.packages": "7.0.1-1",
      "io.opennebula-kube.sources": "sha256:cccc",
      "org.opencontainers.image.base.digest": "sha256:1c1c",
      "other": "x"
    }
  }
}`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("JSON (-want +got):\n%s", diff)
	}
	var back release.Plan
	if err := json.Unmarshal(got, &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(plan, back); diff != "" {
		t.Errorf("plan read back (-written +read):\n%s", diff)
	}
}

// Lists that are empty are lists all the same.
func TestPlanJSONHasNoNullLists(t *testing.T) {
	plan, err := release.NewPlan(target, upstream, current(), wanted)
	if err != nil {
		t.Fatal(err)
	}
	got, err := json.Marshal(plan)
	if err != nil || bytes.Contains(got, []byte("null")) || !bytes.Contains(got, []byte(`"moves":[]`)) {
		t.Errorf("got %s, %v, want no null in it, and an empty list of moves", got, err)
	}
}

func TestPlanText(t *testing.T) {
	state := current()
	state.Published.Labels[release.LabelBaseDigest] = oldBase
	delete(state.Digests, "latest")
	rebuild, err := release.NewPlan(target, upstream, state, release.Wanted{Base: base, Sources: sourcesDigest, Fixable: []string{"CVE-2025-1"}})
	if err != nil {
		t.Fatal(err)
	}
	nothing, err := release.NewPlan(target, upstream, current(), release.Wanted{Base: base, Sources: sourcesDigest, Platforms: []string{"linux/amd64", "linux/arm64"}})
	if err != nil {
		t.Fatal(err)
	}
	build, err := release.NewPlan(target, append(releases("7.0.2"), upstream...), release.State{}, wanted)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		plan release.Plan
		want string
	}{{rebuild, `
action     rebuild
because    base image has changed from sha256:0b0b to sha256:1c1c
           a fix exists now for CVE-2025-1
release    OpenNebula 7.0.1 of 2025-10-22, package version 7.0.1-1
image      7.0.1-2 for linux/amd64, linux/arm64
base       docker.io/library/ubuntu:24.04 (sha256:1c1c)
published  docker.io/acme/opennebula:7.0.1-1 (sha256:aaaa)
tags       7.0.1: sha256:aaaa -> the new image
           7.0: sha256:aaaa -> the new image
           7: sha256:aaaa -> the new image
           latest: new -> the new image
`}, {nothing, `
action     nothing
because    7.0.1-1 is published and current, and its tags are in place
release    OpenNebula 7.0.1 of 2025-10-22, package version 7.0.1-1
image      7.0.1-1 for linux/amd64, linux/arm64
base       docker.io/library/ubuntu:24.04 (sha256:1c1c)
published  docker.io/acme/opennebula:7.0.1-1 (sha256:aaaa)
`}, {build, `
action   build
because  OpenNebula 7.0.1 is not published yet
release  OpenNebula 7.0.1 of 2025-10-22, package version 7.0.1-1
image    7.0.1-1 for linux/amd64, linux/arm64
base     docker.io/library/ubuntu:24.04 (sha256:1c1c)
tags     7.0.1: new -> the new image
`}} {
		var got bytes.Buffer
		if err := test.plan.Text(&got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(strings.TrimPrefix(test.want, "\n"), got.String()); diff != "" {
			t.Errorf("text of %s (-want +got):\n%s", test.plan.Action, diff)
		}
	}
	full := errors.New("no space left")
	if err := nothing.Text(brokenWriter{full}); !errors.Is(err, full) {
		t.Errorf("got error %v, want that of the writer", err)
	}
}

type brokenWriter struct{ err error }

func (b brokenWriter) Write([]byte) (int, error) { return 0, b.err }
