package kubeschema

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
)

// The Kubernetes releases that the chart is checked for: the oldest that Chart.yaml lets in, and the newest there is.
const (
	Oldest = "k8s.io/kubernetes@v1.29.14"
	Newest = "k8s.io/kubernetes@v1.37.2"
)

// Modules that have custom resource definitions which the chart uses.
const (
	gatewayAPI         = "sigs.k8s.io/gateway-api@v1.6.3"
	prometheusOperator = "github.com/prometheus-operator/prometheus-operator@v0.85.0"
)

// extensions are these modules, and where in them the definitions are.
var extensions = map[string]string{
	gatewayAPI:         "config/crd/standard/*.yaml",
	prometheusOperator: "example/prometheus-operator-crd/*.yaml",
}

// HTTPRoute returns the path of the file with the custom resource definition of HTTPRoute.
func HTTPRoute(ctx context.Context) (string, error) {
	return moduleFile(ctx, gatewayAPI, "config/crd/standard/*_httproutes.yaml")
}

// ServiceMonitor returns the path of the file with the custom resource definition of ServiceMonitor.
func ServiceMonitor(ctx context.Context) (string, error) {
	return moduleFile(ctx, prometheusOperator, "example/prometheus-operator-crd/*_servicemonitors.yaml")
}

func moduleFile(ctx context.Context, module, pattern string) (string, error) {
	files, err := moduleFiles(ctx, module, pattern)
	if err != nil {
		return "", err
	}
	if len(files) != 1 {
		return "", fmt.Errorf("module %s has %d files %s, want one", module, len(files), pattern)
	}
	return files[0], nil
}

func moduleFiles(ctx context.Context, module, pattern string) ([]string, error) {
	dir, err := moduleDir(ctx, module)
	if err != nil {
		return nil, err
	}
	return filepath.Glob(filepath.Join(dir, pattern))
}

// moduleDir returns the directory of a Go module, module@version, which go downloads, once, and verifies by the checksum database.
func moduleDir(ctx context.Context, module string) (string, error) {
	command := exec.CommandContext(ctx, "go", "mod", "download", "-json", module)
	var stderr bytes.Buffer
	command.Stderr = &stderr
	out, err := command.Output()
	var found struct{ Dir, Error string }
	if jsonErr := json.Unmarshal(out, &found); jsonErr == nil && found.Error != "" {
		return "", fmt.Errorf("download module %s: %s", module, found.Error)
	}
	if err != nil {
		return "", fmt.Errorf("download module %s: %w: %s", module, err, stderr.Bytes())
	}
	if found.Dir == "" {
		return "", fmt.Errorf("download module %s: go tells no directory", module)
	}
	return found.Dir, nil
}
