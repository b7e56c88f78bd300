package e2e_test

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"opennebula-kube/dev/cli"
	"opennebula-kube/dev/sandbox/apt"
)

// TestDagger calls the Dagger module's functions on a real engine, and wants from each what the embedded command line prints.
func TestDagger(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: calls a Dagger engine")
	}
	if _, err := exec.LookPath("dagger"); err != nil {
		t.Skip("needs the dagger command on the PATH, and an engine: ", err)
	}
	upstream := reachableUpstream(t)

	for _, c := range [][]string{
		{"releases", "--format", "table", "--upstream", upstream},
		{"releases", "--format", "json", "--upstream", upstream},
		{"detect-version", "--upstream", upstream},
		{"detect-version", "--line", "7.0", "--upstream", upstream},
		{"detect-version", "--constraint", "<7.0.2", "--upstream", upstream},
		{"chart", "lint"},
	} {
		t.Run(strings.Join(c[:len(c)-1], " "), func(t *testing.T) {
			want, got := strings.TrimSpace(typed(t, c...)), strings.TrimSpace(called(t, c...))
			if got != want {
				t.Errorf("Dagger prints\n%s\nthe command line\n%s", got, want)
			}
		})
	}

	t.Run("chart package", func(t *testing.T) {
		dir := t.TempDir()
		path := strings.TrimSpace(typed(t, "chart", "package", "--upstream", upstream, "--line", "7.0", "--output", dir))
		called(t, "-o", filepath.Join(dir, "dagger.tgz"), "chart", "package", "--upstream", upstream, "--line", "7.0", "archive")
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(filepath.Join(dir, "dagger.tgz"))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Error("Dagger packages the chart in other bytes than the command line")
		}
	})

	t.Run("errors", func(t *testing.T) {
		output, err := exec.CommandContext(t.Context(), "dagger", "-m", root, "call", "detect-version", "--upstream", upstream, "--version", "9.9.9").CombinedOutput()
		if err == nil || !strings.Contains(string(output), "9.9.9") || !strings.Contains(string(output), "7.2.0") {
			t.Errorf("a version that is not there: %v\n%s", err, output)
		}
	})
}

// called calls a function of the module.
func called(t *testing.T, args ...string) string {
	t.Helper()
	command := exec.CommandContext(t.Context(), "dagger", append([]string{"-m", root, "--progress", "plain", "call"}, args...)...)
	var stderr bytes.Buffer
	command.Stderr = &stderr
	output, err := command.Output()
	if err != nil {
		t.Fatalf("dagger call %s: %v\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return string(output)
}

// typed runs the embedded command line.
func typed(t *testing.T, args ...string) string {
	t.Helper()
	stdout, err := os.Create(filepath.Join(t.TempDir(), "stdout"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stdout.Close() }()
	env, err := cli.System()
	if err != nil {
		t.Fatal(err)
	}
	env.Stdout = stdout
	command := cli.New(env)
	if args[0] == "chart" {
		args = append(args, "--source", root)
	}
	command.SetArgs(args)
	if err := command.ExecuteContext(t.Context()); err != nil {
		t.Fatalf("pipeline %s: %v", strings.Join(args, " "), err)
	}
	data, err := os.ReadFile(stdout.Name())
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// reachableUpstream serves the sandbox's releases at an address of this machine that containers reach: loopback is their own.
func reachableUpstream(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(program, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	packages, err := apt.Build(t.Context(), apt.Options{
		Dir: t.TempDir(), Versions: apt.DefaultVersions(),
		Standin: func(context.Context, string) (string, error) { return program, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, address := range addresses {
		ip, ok := address.(*net.IPNet)
		if !ok || ip.IP.To4() == nil || !ip.IP.IsGlobalUnicast() {
			continue
		}
		listener, err := net.Listen("tcp4", net.JoinHostPort(ip.IP.String(), "0"))
		if err != nil {
			t.Fatal(err)
		}
		server := &httptest.Server{Listener: listener, Config: &http.Server{Handler: packages.Handler()}}
		server.Start()
		t.Cleanup(server.Close)
		return server.URL
	}
	t.Skip("this machine has no address besides loopback that a container could reach")
	return ""
}
