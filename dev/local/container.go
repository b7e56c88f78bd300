package local

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/containerd/containerd/v2/pkg/archive"
	"github.com/containerd/platforms"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/moby/buildkit/util/archutil"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"opennebula-kube/ci/ocilayout"
	"opennebula-kube/ci/pipeline"
)

// hostname is the name of every container.
const hostname = "one"

// capabilities are those that the image's documentation asks for.
func capabilities() []string {
	return []string{"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_KILL", "CAP_NET_BIND_SERVICE", "CAP_SETGID", "CAP_SETUID", "CAP_SYS_CHROOT"}
}

// roots are the root file systems of images, unpacked once for each.
type roots struct {
	mu    sync.Mutex
	ready map[string]bool
}

// container runs a program in an image by runc: as root with the capabilities that the image asks for, with a root file system that is
// read-only, and in a network that has nothing but loopback.
func (e *Engine) container(ctx context.Context, program pipeline.Program, given mounts, work string) (pipeline.Result, error) {
	image, err := ocilayout.Image(program.Image.Dir, program.Platform)
	if err != nil {
		return pipeline.Result{}, err
	}
	if err := checkRuns(program.Platform); err != nil {
		return pipeline.Result{}, err
	}
	if err := CanBuild(); err != nil {
		return pipeline.Result{}, err
	}
	if err := e.needRunc(ctx); err != nil {
		return pipeline.Result{}, err
	}
	root, err := e.root(ctx, image)
	if err != nil {
		return pipeline.Result{}, fmt.Errorf("unpack image %s for %s: %w", program.Image.Digest, program.Platform, err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		return pipeline.Result{}, err
	}
	if user := config.Config.User; user != "" {
		return pipeline.Result{}, fmt.Errorf("image %s runs as user %q: only images that run as root can be run here", program.Image.Digest, user)
	}
	spec, err := containerSpec(program, config.Config, given, root, work)
	if err != nil {
		return pipeline.Result{}, err
	}
	data, err := json.Marshal(spec)
	if err != nil {
		return pipeline.Result{}, err
	}
	if err := os.WriteFile(filepath.Join(work, "config.json"), data, 0o600); err != nil {
		return pipeline.Result{}, err
	}
	return runc(ctx, work)
}

// checkRuns returns ErrForeign for a platform whose programs do not run here.
func checkRuns(platform string) error {
	want, err := platforms.Parse(platform)
	if err != nil {
		return fmt.Errorf("platform %q: %w", platform, err)
	}
	var possible []string
	for _, have := range archutil.SupportedPlatforms(true) {
		if platforms.OnlyStrict(platforms.Normalize(want)).Match(platforms.Normalize(have)) {
			return nil
		}
		possible = append(possible, platforms.Format(have))
	}
	slices.Sort(possible)
	return fmt.Errorf("%w: this machine runs programs for %s, and has no emulator for %s (apt-get install qemu-user-static binfmt-support)",
		pipeline.ErrForeign, strings.Join(slices.Compact(possible), ", "), platform)
}

// root returns the directory of an image's root file system.
func (e *Engine) root(ctx context.Context, image v1.Image) (string, error) {
	digest, err := image.Digest()
	if err != nil {
		return "", err
	}
	e.roots.mu.Lock()
	defer e.roots.mu.Unlock()
	root := filepath.Join(e.scratch, "root-"+digest.Hex)
	if e.roots.ready[root] {
		return root, nil
	}
	if err := errors.Join(os.RemoveAll(root), os.Mkdir(root, 0o755)); err != nil {
		return "", err
	}
	layers, err := image.Layers()
	if err != nil {
		return "", err
	}
	for _, layer := range layers {
		if err := apply(ctx, root, layer); err != nil {
			return "", err
		}
	}
	if e.roots.ready == nil {
		e.roots.ready = make(map[string]bool)
	}
	e.roots.ready[root] = true
	return root, nil
}

func apply(ctx context.Context, root string, layer v1.Layer) error {
	content, err := layer.Uncompressed()
	if err != nil {
		return err
	}
	defer func() { _ = content.Close() }()
	_, err = archive.Apply(ctx, root, content)
	return err
}

// containerSpec is how runc runs a program. What is not there to be mounted on is made in the root file system.
func containerSpec(program pipeline.Program, image v1.Config, given mounts, root, work string) (*specs.Spec, error) {
	hosts := "127.0.0.1 localhost\n::1 localhost\n127.0.1.1 " + hostname + "\n"
	files := map[string][]byte{"/etc/hosts": []byte(hosts)} // every runtime brings this file
	for path, data := range program.Files {
		files[path] = data
	}
	mounts := []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc"},
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "mode=755"}},
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"newinstance", "ptmxmode=0666", "mode=0620"}},
		tmpfs("/dev/shm", "1777"),
		{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "nodev", "noexec", "ro"}},
	}
	for _, path := range program.Temp {
		mode, err := modeIn(root, path)
		if err != nil {
			return nil, err
		}
		mounts = append(mounts, tmpfs(path, mode))
	}
	var binds []specs.Mount
	for path, source := range given.in {
		binds = append(binds, bind(path, source, "ro"))
	}
	for path, source := range given.out {
		binds = append(binds, bind(path, source, "rw"))
	}
	for path, data := range files {
		file, err := writeTemp(work, data)
		if err != nil {
			return nil, err
		}
		binds = append(binds, bind(path, file, "ro"))
	}
	// What is in another one comes after it.
	slices.SortFunc(binds, func(a, b specs.Mount) int { return strings.Compare(a.Destination, b.Destination) })
	granted := capabilities()
	return &specs.Spec{
		Version: specs.Version,
		Process: &specs.Process{
			Args: program.Args, Env: slices.Concat(image.Env, program.Env), Cwd: cmp.Or(image.WorkingDir, "/"),
			Capabilities:    &specs.LinuxCapabilities{Bounding: granted, Effective: granted, Permitted: granted},
			NoNewPrivileges: true,
		},
		Root: &specs.Root{Path: root, Readonly: true}, Hostname: hostname, Mounts: append(mounts, binds...),
		Linux: &specs.Linux{
			Namespaces: []specs.LinuxNamespace{
				{Type: specs.PIDNamespace}, {Type: specs.NetworkNamespace}, {Type: specs.IPCNamespace}, {Type: specs.UTSNamespace},
				{Type: specs.MountNamespace}, {Type: specs.CgroupNamespace},
			},
			MaskedPaths: []string{
				"/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/sched_debug", "/proc/scsi",
				"/proc/timer_list", "/sys/firmware",
			},
			ReadonlyPaths: []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"},
		},
	}, nil
}

func tmpfs(path, mode string) specs.Mount {
	return specs.Mount{Destination: path, Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "nodev", "mode=" + mode}}
}

func bind(path, source, access string) specs.Mount {
	return specs.Mount{Destination: path, Type: "bind", Source: source, Options: []string{"bind", "nosuid", "nodev", access}}
}

// modeIn is the mode of a directory in a root file system.
func modeIn(root, path string) (string, error) {
	inside, err := os.OpenRoot(root)
	if err != nil {
		return "", err
	}
	defer func() { _ = inside.Close() }()
	info, err := inside.Stat(strings.TrimPrefix(path, "/"))
	if errors.Is(err, os.ErrNotExist) {
		return "755", nil
	} else if err != nil {
		return "", err
	}
	mode := info.Mode().Perm()
	if info.Mode()&os.ModeSticky != 0 {
		mode |= 0o1000
	}
	return fmt.Sprintf("%o", mode), nil
}

func writeTemp(dir string, data []byte) (string, error) {
	file, err := os.CreateTemp(dir, "file-")
	if err != nil {
		return "", err
	}
	_, err = file.Write(data)
	return file.Name(), errors.Join(err, file.Chmod(0o644), file.Close())
}

// runc runs the container whose bundle is the directory work.
func runc(ctx context.Context, work string) (pipeline.Result, error) {
	id, state, log := filepath.Base(work), filepath.Join(work, "runc"), filepath.Join(work, "runc.log")
	cmd := exec.CommandContext(ctx, "runc", "--root", state, "--log", log, "--log-format", "json", "run", "--bundle", work, id)
	stop := func(command ...string) error {
		// It is for when the context is done.
		out, err := exec.CommandContext(context.WithoutCancel(ctx), "runc", append([]string{"--root", state}, command...)...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("runc %s: %w: %s", strings.Join(command, " "), err, bytes.TrimSpace(out))
		}
		return nil
	}
	cmd.Cancel = func() error {
		if stop("kill", id, "KILL") == nil {
			return nil
		}
		return cmd.Process.Kill() // it is not made yet
	}
	result, err := ended(cmd)
	if err != nil || ctx.Err() != nil {
		return pipeline.Result{}, errors.Join(context.Cause(ctx), err, stop("delete", "--force", id))
	}
	if result.Status == 0 {
		return result, nil
	}
	return result, runcError(log)
}

// runcError is what runc wrote to its log when it could not start a program; nil when the program itself has ended so.
func runcError(log string) error {
	data, err := os.ReadFile(log)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for line := range bytes.Lines(data) {
		var entry struct{ Level, Msg string }
		if json.Unmarshal(line, &entry) == nil && entry.Level == "error" {
			return fmt.Errorf("run the program by runc: %s", entry.Msg)
		}
	}
	return nil
}
