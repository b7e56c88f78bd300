//go:build dagger

package engine_test

import (
	"encoding/json"
	"net/http"
	"os"
	"testing"

	"opennebula-kube/ci/engine"
	"opennebula-kube/ci/internal/dagger"
	"opennebula-kube/ci/pipeline"
	"opennebula-kube/ci/pipeline/enginetest"
)

// The tag keeps this test apart: outside of a session, Dagger's client panics.

// worldVariable holds, as JSON, the world of the test. The tests in dev/e2e make it, and run this one in a session of Dagger: they
// cannot run it in their own process, for BuildKit and Dagger's client ask for versions of OpenTelemetry that exclude each other.
const worldVariable = "OPENNEBULA_KUBE_TEST_WORLD"

type world struct {
	Upstream, UpstreamFingerprint, BaseImage, Repository string
	// Database exists, NoDatabase does not.
	Database, NoDatabase string
	// Scanner is an image with Trivy, Golang one with Go; Sources is the directory of the image's sources.
	Scanner, Golang, Sources string
	// Stall is where a request stalls the upstream and is answered when a request to that hangs; Resume is where one ends that.
	Stall, Resume string
}

// TestConformance has the engine pass the suite that the embedded one passes.
func TestConformance(t *testing.T) {
	var w world
	if err := json.Unmarshal([]byte(os.Getenv(worldVariable)), &w); err != nil {
		t.Fatal(err)
	}
	session := dagger.Connect()
	harness := enginetest.InSandbox(w.Upstream, w.UpstreamFingerprint, w.BaseImage, w.Repository)
	harness.Database, harness.NoDatabase = w.Database, w.NoDatabase
	harness.New = func(t *testing.T) pipeline.Engine {
		return engine.New(session, engine.Config{
			Context: session.Address(w.Sources).Directory(),
			GoImage: w.Golang,
			Scanner: session.Container().From(w.Scanner),
			Dir:     t.TempDir(),
		})
	}
	harness.Dir = func(t *testing.T) string { return t.TempDir() }
	harness.Stall = func(t *testing.T) (<-chan struct{}, func()) {
		hanging := make(chan struct{})
		resume := func() { get(t, w.Resume) }
		t.Cleanup(resume)
		get(t, w.Stall)
		go func() {
			defer close(hanging)
			get(t, w.Stall+"/wait")
		}()
		return hanging, resume
	}
	enginetest.Run(t, harness)
}

func get(t *testing.T, url string) {
	response, err := http.Get(url)
	if err != nil {
		t.Error(err)
		return
	}
	_ = response.Body.Close()
}
