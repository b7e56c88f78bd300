package container_test

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"pault.ag/go/debian/control"

	"opennebula-kube/ci/gate"
	"opennebula-kube/ci/registry"
)

// machines are the platforms that OpenNebula has packages for, and what their programs are for.
func machines() map[string]elf.Machine {
	return map[string]elf.Machine{"linux/amd64": elf.EM_X86_64, "linux/arm64": elf.EM_AARCH64}
}

// TestPlatforms builds one image for both platforms, with emulation for one of them, and compares what is in it for the two. Then it
// runs the one for arm64.
func TestPlatforms(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skipf("emulates arm64 on amd64, and this machine is %s", runtime.GOARCH)
	}
	emulateARM64(t)
	built := newImages(t, "amd64", "arm64")
	begin := time.Now()
	index, tag := built.publish(t, middle, "linux/amd64", "linux/arm64")
	t.Logf("built for both platforms in %s", time.Since(begin).Round(time.Second))
	pushed, err := registry.Fetch(t.Context(), tag)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := pushed.(v1.ImageIndex); !ok {
		t.Errorf("%s is a %T, want an index", tag, pushed)
	}
	images, err := registry.Images(pushed)
	if err != nil {
		t.Fatal(err)
	}
	if len(images) != len(machines()) {
		t.Errorf("platforms %v, want those of %v", images, machines())
	}
	configs, found := make(map[string]v1.Config), make(map[string]contents)
	for platform, machine := range machines() {
		if images[platform] == nil {
			t.Fatalf("%s lacks %s", tag, platform)
		}
		config, err := images[platform].ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		if got := config.OS + "/" + config.Architecture; got != platform {
			t.Errorf("the configuration for %s says %s", platform, got)
		}
		configs[platform], found[platform] = config.Config, readContents(t, images[platform])
		wantPrograms(t, platform, machine, found[platform])
		wantPackages(t, platform, found[platform])
	}
	amd, arm := found["linux/amd64"], found["linux/arm64"]
	for what, diff := range map[string]string{
		"configuration": cmp.Diff(configs["linux/amd64"], configs["linux/arm64"]),
		"files":         cmp.Diff(amd.files, arm.files),
		"packages":      cmp.Diff(amd.versions(), arm.versions()),
	} {
		if diff != "" {
			t.Errorf("%s (-amd64 +arm64):\n%s", what, diff)
		}
	}
	if configs["linux/arm64"].Labels["org.opencontainers.image.version"] != middle {
		t.Errorf("labels %v, want version %s", configs["linux/arm64"].Labels, middle)
	}

	t.Run("scan", func(t *testing.T) {
		var scans []gate.Scan
		for _, platform := range index.Platforms {
			scan, err := built.scanner().Scan(t.Context(), index, platform)
			if err != nil {
				t.Fatal(err)
			}
			scans = append(scans, scan)
		}
		verdict, err := gate.Evaluate(scans, gate.Policy{Threshold: gate.Severities(), MaxDatabaseAge: 24 * time.Hour}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		if len(verdict.Blocking) == 0 {
			t.Error("nothing was found")
		}
		for _, finding := range verdict.Blocking {
			if diff := cmp.Diff([]string{"linux/amd64", "linux/arm64"}, finding.Platforms); diff != "" {
				t.Errorf("platforms with %s (-want +got):\n%s", finding.ID, diff)
			}
		}
	})
	t.Run("SBOM", func(t *testing.T) {
		for _, platform := range index.Platforms {
			data, err := built.scanner().SBOM(t.Context(), index, platform)
			if err != nil {
				t.Fatal(err)
			}
			var bom struct{ Components []struct{ Name, PURL string } }
			if err := json.Unmarshal(data, &bom); err != nil {
				t.Fatal(err)
			}
			listed := make(map[string]string)
			for _, component := range bom.Components {
				listed[component.Name] = component.PURL
			}
			if want := "arch=" + path.Base(platform); !strings.Contains(listed["opennebula"], want) {
				t.Errorf("the SBOM for %s has opennebula as %q, want %s", platform, listed["opennebula"], want)
			}
			for name := range found[platform].packages {
				if listed[name] == "" {
					t.Errorf("the SBOM for %s lacks package %s", platform, name)
				}
			}
		}
	})
	t.Run("run for arm64", func(t *testing.T) {
		c := run(t, options{image: unpack(t, images["linux/arm64"], filepath.Join(built.dir, "arm64")), volume: t.TempDir()})
		c.ready(5 * startLimit)
		if got := c.mustExec(asRoot, "uname", "-m"); got != "aarch64" {
			t.Errorf("the machine is %q in it, want aarch64", got)
		}
		wantServices(t, c)
		wantStopped(t, c)
	})
}

// contents is what an image has for one platform.
type contents struct {
	// files are those that the image adds to its base, with all about them that must not depend on the machine.
	files map[string]string
	// machines are the programs and libraries of the whole image, and what they are for.
	machines map[string]elf.Machine
	// packages are those of the whole image that are installed, by name.
	packages map[string]debian
}

// debian is a package as dpkg has it.
type debian struct{ version, architecture string }

// versions are the versions of OpenNebula's packages.
func (c contents) versions() map[string]string {
	versions := make(map[string]string)
	for name, p := range c.packages {
		if strings.HasPrefix(name, "opennebula") {
			versions[name] = p.version
		}
	}
	return versions
}

func readContents(t *testing.T, image v1.Image) contents {
	t.Helper()
	found := contents{files: make(map[string]string), machines: make(map[string]elf.Machine)}
	read := func(archive io.Reader, each func(header *tar.Header, content []byte)) {
		for files := tar.NewReader(archive); ; {
			header, err := files.Next()
			if errors.Is(err, io.EOF) {
				return
			} else if err != nil {
				t.Fatal(err)
			}
			content, err := io.ReadAll(files)
			if err != nil {
				t.Fatal(err)
			}
			header.Name = path.Clean("/" + header.Name)
			each(header, content)
		}
	}
	whole := mutate.Extract(image)
	defer func() { _ = whole.Close() }()
	read(whole, func(header *tar.Header, content []byte) {
		if program, err := elf.NewFile(bytes.NewReader(content)); err == nil {
			found.machines[header.Name] = program.Machine
		}
		if header.Name == "/var/lib/dpkg/status" {
			found.packages = readStatus(t, content)
		}
	})
	layers, err := image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	// The base image has one.
	for _, layer := range layers[1:] {
		archive, err := layer.Uncompressed()
		if err != nil {
			t.Fatal(err)
		}
		read(archive, func(header *tar.Header, content []byte) {
			found.files[header.Name] = describe(header, content, found.machines)
		})
		if err := archive.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return found
}

// describe says all about a file that is the same for each machine: its content too, but for programs, and what dpkg and apt note.
func describe(header *tar.Header, content []byte, programs map[string]elf.Machine) string {
	text := fmt.Sprintf("%c %04o %d:%d %s", header.Typeflag, header.Mode, header.Uid, header.Gid, header.Linkname)
	_, program := programs[header.Name]
	if program || strings.HasPrefix(header.Name, "/var/lib/dpkg/") || header.Name == "/var/lib/apt/extended_states" {
		return text
	}
	return fmt.Sprintf("%s %x", text, sha256.Sum256(content))
}

func readStatus(t *testing.T, status []byte) map[string]debian {
	t.Helper()
	paragraphs, err := control.NewParagraphReader(bytes.NewReader(status), nil)
	if err != nil {
		t.Fatal(err)
	}
	all, err := paragraphs.All()
	if err != nil {
		t.Fatal(err)
	}
	packages := make(map[string]debian)
	for _, p := range all {
		if p.Values["Status"] == "install ok installed" {
			packages[p.Values["Package"]] = debian{p.Values["Version"], p.Values["Architecture"]}
		}
	}
	return packages
}

// wantPrograms checks that all programs and libraries are for the platform, and that those which this repository compiles are among them.
func wantPrograms(t *testing.T, platform string, machine elf.Machine, found contents) {
	t.Helper()
	for name, got := range found.machines {
		if got != machine {
			t.Errorf("%s in the image for %s is for %s, want %s", name, platform, got, machine)
		}
	}
	for _, name := range []string{"/usr/bin/one-container", "/usr/lib/one/standin"} {
		if _, ok := found.machines[name]; !ok {
			t.Errorf("%s in the image for %s is no program", name, platform)
		}
	}
}

// wantPackages checks that all packages are for the platform, and that OpenNebula's server is among them.
func wantPackages(t *testing.T, platform string, found contents) {
	t.Helper()
	architecture := path.Base(platform)
	for name, p := range found.packages {
		if p.architecture != architecture && p.architecture != "all" {
			t.Errorf("package %s in the image for %s is for %s", name, platform, p.architecture)
		}
	}
	if got, want := found.packages["opennebula"], (debian{middle + "-1", architecture}); got != want {
		t.Errorf("package opennebula in the image for %s is %v, want %v", platform, got, want)
	}
}
