package e2e_test

import (
	"path/filepath"
	"strings"
	"testing"

	"opennebula-kube/ci/gate"
	"opennebula-kube/ci/registry"
)

// testImage builds an image and does with it what can be chained after that.
func (d *daggerWorld) testImage(t *testing.T) {
	build := append([]string{"build", "--version", "7.0.1"}, d.imageArgs()...)
	then := func(args ...string) []string { return append(append([]string{}, build...), args...) }
	scan := func(args ...string) []string {
		return then(append([]string{"scan", "--db-repository", d.DatabaseRepository}, args...)...)
	}
	digest := strings.TrimSpace(d.call(t, then("digest")...))

	t.Run("as-oci", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "layout")
		d.call(t, then("as-oci", "export", "--path", dir)...)
		wantLayout(t, dir, digest)
	})
	t.Run("container", func(t *testing.T) {
		if said := d.call(t, then("container", "with-exec", "--args", "cat,/etc/apt/sources.list.d/opennebula.list", "stdout")...); !strings.Contains(said, "7.0.1") {
			t.Errorf("the container has the sources %q", said)
		}
	})
	t.Run("scan", func(t *testing.T) {
		if table := d.call(t, scan("gate")...); !strings.Contains(table, "passed") {
			t.Errorf("the gate says\n%s", table)
		}
		verdict := decode[gate.Verdict](t, []byte(d.call(t, scan("json")...)))
		if !verdict.Passed || len(verdict.Blocking) != 0 {
			t.Errorf("verdict %+v", verdict)
		}
		if sarif := d.call(t, scan("sarif")...); !strings.Contains(sarif, `"version": "2.1.0"`) {
			t.Errorf("SARIF is\n%.500s", sarif)
		}
		output, err := d.tryCall(t, scan("--severity", "MEDIUM", "gate")...)
		if err == nil || !strings.Contains(output, "the gate did not pass") || !strings.Contains(output, "CVE-2099-") {
			t.Errorf("a threshold that the image does not pass: %v\n%s", err, output)
		}
		if passed := strings.TrimSpace(d.call(t, scan("--severity", "MEDIUM", "passed")...)); passed != "false" {
			t.Errorf("passed is %s", passed)
		}
	})
	t.Run("sbom", func(t *testing.T) {
		bom := decode[struct{ BOMFormat string }](t, []byte(d.call(t, then("sbom")...)))
		if bom.BOMFormat != "CycloneDX" {
			t.Errorf("format %q", bom.BOMFormat)
		}
	})
	t.Run("push", func(t *testing.T) {
		image, _ := d.repository("dagger-push")
		push := then("push", "--db-repository", d.DatabaseRepository, "--registry", image)
		for _, want := range []string{"action     build", "action     nothing"} {
			if summary := d.call(t, append(push, "summary")...); !strings.Contains(summary, want) || !strings.Contains(summary, image+"@"+digest) {
				t.Errorf("want %q and the digest %s in\n%s", want, digest, summary)
			}
		}
		repository, err := registry.Open(image)
		if err != nil {
			t.Fatal(err)
		}
		for _, tag := range []string{"7.0.1-1", "7.0.1"} {
			if at, err := repository.Digest(t.Context(), tag); err != nil || at != digest {
				t.Errorf("tag %s is at %s, %v, want %s", tag, at, err, digest)
			}
		}
	})
}
