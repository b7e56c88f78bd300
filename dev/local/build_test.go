package local

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/buildkit/client"
	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"opennebula-kube/ci/pipeline"
)

const baseDigest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

func validSpec() pipeline.BuildSpec {
	return pipeline.BuildSpec{
		Version:             "7.0.1",
		PackageVersion:      "7.0.1-1",
		Upstream:            "https://downloads.example.com/",
		UpstreamFingerprint: "0123456789abcdef0123456789abcdef01234567",
		BaseImage:           "docker.io/library/ubuntu:24.04@" + baseDigest,
		Platforms:           []string{"linux/arm64", "linux/amd64", "linux/arm64/v8"},
		Epoch:               time.Unix(1761134400, 0),
		Labels:              map[string]string{"a.b": `quoted "c"`},
	}
}

func TestFrontendAttrs(t *testing.T) {
	want := map[string]string{
		"filename":                       "Dockerfile",
		"platform":                       "linux/amd64,linux/arm64",
		"build-arg:PROGRAM":              "given",
		"build-arg:BASE_IMAGE":           "docker.io/library/ubuntu:24.04@" + baseDigest,
		"build-arg:UPSTREAM":             "https://downloads.example.com",
		"build-arg:UPSTREAM_FINGERPRINT": "0123456789ABCDEF0123456789ABCDEF01234567",
		"build-arg:VERSION":              "7.0.1",
		"build-arg:DIRECTORY":            "7.0.1",
		"build-arg:PACKAGE_VERSION":      "7.0.1-1",
		"build-arg:SOURCE_DATE_EPOCH":    "1761134400",
		"label:a.b":                      `quoted "c"`,
	}
	for _, c := range []struct {
		name   string
		change func(*pipeline.BuildSpec)
	}{
		{"", func(*pipeline.BuildSpec) {}},
		{"NoCache", func(s *pipeline.BuildSpec) {
			s.NoCache = true
			want["no-cache"] = ""
		}},
		{"no PackageVersion", func(s *pipeline.BuildSpec) {
			s.PackageVersion = ""
			delete(want, "build-arg:PACKAGE_VERSION")
			delete(want, "no-cache")
		}},
		{"no UpstreamFingerprint", func(s *pipeline.BuildSpec) {
			s.UpstreamFingerprint, s.PackageVersion = "", ""
			delete(want, "build-arg:UPSTREAM_FINGERPRINT")
		}},
	} {
		spec := validSpec()
		c.change(&spec)
		wanted, err := checkSpec(spec)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, frontendAttrs(spec, wanted)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

func TestCheckSpec(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(*pipeline.BuildSpec)
		want  string
	}{
		{"no version", func(s *pipeline.BuildSpec) { s.Version = "" }, "no version"},
		{"no upstream", func(s *pipeline.BuildSpec) { s.Upstream = "" }, "no upstream"},
		{"key by its ID", func(s *pipeline.BuildSpec) { s.UpstreamFingerprint = "05A05927906DC27C" }, `--upstream-fingerprint "05A05927906DC27C"`},
		{"key with spaces", func(s *pipeline.BuildSpec) {
			s.UpstreamFingerprint = "0B2D 385C 7C93 04B1 1A03  67B9 05A0 5927 906D C27C"
		}, "without spaces"},
		{"key that is none", func(s *pipeline.BuildSpec) { s.UpstreamFingerprint = strings.Repeat("x", 40) }, "40 hexadecimal digits"},
		{"packages of another version", func(s *pipeline.BuildSpec) { s.PackageVersion = "7.0.10-1" }, `"7.0.10-1" is not a packaging of OpenNebula 7.0.1`},
		{"packages by a pattern", func(s *pipeline.BuildSpec) { s.PackageVersion = "7.0.1-*" }, `"7.0.1-*" is not a packaging`},
		{"packages with spaces", func(s *pipeline.BuildSpec) { s.PackageVersion = "7.0.1-1 x" }, `"7.0.1-1 x" is not a packaging`},
		{"no epoch", func(s *pipeline.BuildSpec) { s.Epoch = time.Time{} }, "no epoch"},
		{"no platform", func(s *pipeline.BuildSpec) { s.Platforms = nil }, "no platform"},
		{"bad platform", func(s *pipeline.BuildSpec) { s.Platforms = []string{"linux/&"} }, `platform "linux/&"`},
		{"base by tag", func(s *pipeline.BuildSpec) { s.BaseImage = "ubuntu:24.04" }, `base image "ubuntu:24.04" is not pinned by digest`},
	} {
		t.Run(c.name, func(t *testing.T) {
			spec := validSpec()
			c.spoil(&spec)
			if _, err := checkSpec(spec); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q in it", err, c.want)
			}
		})
	}
}

func TestCheckPlatforms(t *testing.T) {
	amd64 := ocispecs.Platform{OS: "linux", Architecture: "amd64"}
	arm64 := ocispecs.Platform{OS: "linux", Architecture: "arm64"}
	v3 := ocispecs.Platform{OS: "linux", Architecture: "amd64", Variant: "v3"}
	native := []*client.WorkerInfo{{Platforms: []ocispecs.Platform{v3, amd64}}}
	emulating := []*client.WorkerInfo{{Platforms: []ocispecs.Platform{amd64, {OS: "linux", Architecture: "arm64", Variant: "v8"}}}}
	for _, c := range []struct {
		name    string
		wanted  []ocispecs.Platform
		workers []*client.WorkerInfo
		want    string
	}{
		{"native", []ocispecs.Platform{amd64}, native, ""},
		{"emulated", []ocispecs.Platform{amd64, arm64}, emulating, ""},
		{"no emulation", []ocispecs.Platform{amd64, arm64}, native,
			"cannot run programs for linux/arm64 (it can for linux/amd64, linux/amd64/v3): install an emulator"},
		{"no worker", []ocispecs.Platform{amd64}, nil, "cannot run programs for linux/amd64"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := checkPlatforms(c.wanted, c.workers)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("error %v, want %q in it", err, c.want)
			}
		})
	}
}

func TestStepLogs(t *testing.T) {
	good, bad := digest.FromString("good"), digest.FromString("bad")
	logs := make(stepLogs)
	logs.add(&client.SolveStatus{Logs: []*client.VertexLog{
		{Vertex: good, Data: []byte("all is well\n")},
		{Vertex: bad, Data: []byte(strings.Repeat("noise\n", 2000))},
		{Vertex: bad, Data: []byte("E: Version '9.9.9-*' for 'opennebula' was not found\n")},
	}})
	if got := logs.failed(); got != "" {
		t.Errorf("nothing failed, and it says %q", got)
	}
	logs.add(&client.SolveStatus{Vertexes: []*client.Vertex{{Digest: good}, {Digest: bad, Error: "exit code: 100"}}})
	got := logs.failed()
	if !strings.HasSuffix(got, "was not found") || strings.Contains(got, "all is well") {
		t.Errorf("output of the failed step %q", got)
	}
	if n := strings.Count(got, "\n") + 1; n > 12 {
		t.Errorf("%d lines of output", n)
	}
}

func TestStepError(t *testing.T) {
	cause := errors.New(`failed to solve: process "/bin/sh -c echo \"a\" \\ && false" did not complete successfully: exit code: 100`)
	err := error(&stepError{err: cause, output: "E: no"})
	if want := "failed to solve: a step of the Dockerfile did not complete successfully: exit code: 100; its last output:\nE: no"; err.Error() != want {
		t.Errorf("error %q, want %q", err, want)
	}
	if !errors.Is(err, cause) {
		t.Error("the cause is lost")
	}
}

func TestDaemonConfig(t *testing.T) {
	got := daemonConfig(`/state/with "quote"`, "/tmp/x/buildkitd.sock")
	for _, want := range []string{
		`root = "/state/with \"quote\""`,
		`address = ["unix:///tmp/x/buildkitd.sock"]`,
		`networkMode = "host"`,
		`maxUsedSpace = "10GB"`,
	} {
		if !strings.Contains(got, want+"\n") {
			t.Errorf("configuration lacks %s:\n%s", want, got)
		}
	}
}
