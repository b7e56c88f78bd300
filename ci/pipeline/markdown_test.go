package pipeline_test

import (
	"errors"
	"strings"
	"testing"

	"opennebula-kube/ci/gate"
	"opennebula-kube/ci/pipeline"
)

func TestMarkdown(t *testing.T) {
	w := newWorld(t, "7.2.0")
	markdown := func(report *pipeline.Report) string {
		t.Helper()
		text, err := pipeline.Reports{report}.Markdown()
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	wants := func(text string, wants ...string) {
		t.Helper()
		for _, want := range wants {
			if !strings.Contains(text, want) {
				t.Errorf("no %q in\n%s", want, text)
			}
		}
	}
	report := w.released(t)
	wants(markdown(report), "## ✅ OpenNebula 7.2.0: build\n", "`"+w.Images.Name()+"@"+report.Image.Digest+"`", "Tags 7.2.0-1, 7.2.0, 7.2, 7, latest",
		"| push | done |", "### ✅ Gate passed")

	w.engine.vulnerabilities[""] = []vulnerability{{"CVE-2026-1", "HIGH", ""}}
	failed, err := w.Scan(t.Context(), w.options)
	if !errors.Is(err, pipeline.ErrGate) {
		t.Fatal(err)
	}
	wants(markdown(failed), "## ❌ OpenNebula 7.2.0: the release failed\n", "```text\nthe gate did not pass", "| gate | failed |", "CVE-2026-1")

	early := &pipeline.Report{Error: "read a | b:\n```<script>", Stages: []pipeline.StageReport{{Name: "detect", State: pipeline.Failed, Detail: "a | b\n`c` <d>"}}}
	text := markdown(early)
	wants(text, "## ❌ OpenNebula: the release failed", `a \| b<br>'c' &lt;d>`)
	if strings.Count(text, "```") != 2 {
		t.Errorf("the error ends its own block:\n%s", text)
	}
	if text := markdown(&pipeline.Report{Error: "nothing yet"}); strings.Contains(text, "| Stage") {
		t.Errorf("a table without rows:\n%s", text)
	}
}

func TestExamine(t *testing.T) {
	w := newWorld(t, "7.2.0")
	w.options.Policy.Threshold = []gate.Severity{gate.High}
	image, picked, err := w.Build(t.Context(), w.options)
	if err != nil || picked.Version != "7.2.0" {
		t.Fatalf("built %q: %v", picked.Version, err)
	}
	builds := len(w.engine.builds)
	report, err := w.Examine(t.Context(), image, w.options)
	if err != nil || !report.Gate.Passed {
		t.Errorf("%v, verdict %+v", err, report.Gate)
	}
	if len(w.engine.builds) != builds {
		t.Error("it was built again")
	}
}

// What is released is the image that was built before, once the gate has let it pass.
func TestPushPrebuilt(t *testing.T) {
	w := newWorld(t, "7.2.0")
	image, _, err := w.Build(t.Context(), w.options)
	if err != nil {
		t.Fatal(err)
	}
	builds := len(w.engine.builds)
	w.Engine = pipeline.Prebuilt(w.Engine, image)
	report, err := w.push(t)
	if err != nil || report.Image.Digest != image.Digest {
		t.Fatalf("%v: pushed %+v, want %s", err, report.Image, image.Digest)
	}
	if len(w.engine.builds) != builds {
		t.Error("it was built again")
	}
}

func TestWithoutRegistry(t *testing.T) {
	w := newWorld(t, "7.2.0")
	w.Images = nil
	if _, err := w.release(t); err == nil || !strings.Contains(err.Error(), "--registry") || len(w.engine.builds) > 0 {
		t.Errorf("error %v after %d builds, want one that names --registry before any", err, len(w.engine.builds))
	}
	w.options.DryRun = true
	report, err := w.release(t)
	if err != nil || report.Gate == nil || report.Chart == nil || report.Image != nil {
		t.Errorf("%v, %+v", err, report)
	}
}
