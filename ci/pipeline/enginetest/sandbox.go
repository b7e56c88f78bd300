package enginetest

import (
	"runtime"
	"time"

	"opennebula-kube/ci/pipeline"
)

// InSandbox returns what a Harness says of a world that is a sandbox: what can be built in it, and what is to be found.
func InSandbox(upstream, upstreamFingerprint, baseImage, repository string) Harness {
	return Harness{
		Spec: pipeline.BuildSpec{
			Version:             "7.0.1",
			PackageVersion:      "7.0.1-1",
			Upstream:            upstream,
			UpstreamFingerprint: upstreamFingerprint,
			BaseImage:           baseImage,
			Platforms:           []string{"linux/" + runtime.GOARCH},
			Epoch:               time.Date(2025, 10, 22, 12, 0, 0, 0, time.UTC),
			Labels:              map[string]string{"org.opencontainers.image.version": "7.0.1", "org.example.quoted": `a "b" $c`},
		},
		AbsentVersion: "7.0.77",
		Vulnerability: "CVE-2099-1001",
		Repository:    repository,
	}
}
