package chart

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

// Cluster is what `helm template` is told of the cluster.
type Cluster struct {
	// KubeVersion is the Kubernetes release, as in 1.29.14.
	KubeVersion string
	// Extensions are the group/version/Kind that it has beside Kubernetes' own.
	Extensions []string
}

// Template returns the manifests that the program helm makes of the chart in dir, with the values of a file if one is given.
func Template(ctx context.Context, helm, dir, valuesFile string, cluster Cluster) (string, error) {
	args := []string{"template", "one", dir, "--namespace", "cloud", "--kube-version", cluster.KubeVersion}
	if valuesFile != "" {
		args = append(args, "--values", valuesFile)
	}
	var versions []string
	for _, extension := range cluster.Extensions {
		versions = append(versions, extension, extension[:strings.LastIndex(extension, "/")])
	}
	if len(versions) > 0 {
		args = append(args, "--api-versions", strings.Join(versions, ","))
	}
	command := exec.CommandContext(ctx, helm, args...)
	var stderr bytes.Buffer
	command.Stderr = &stderr
	out, err := command.Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", helm, strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return string(out), nil
}

// Difference compares the manifests that two programs make of the same, one of which has made them twice: where its own two differ, there
// is something random, such as a new password, and only the key is compared. It returns "" when there is no difference.
func Difference(first, again, other string) (string, error) {
	var lines [3][]string
	for i, manifests := range []string{first, again, other} {
		var err error
		if lines[i], err = manifestLines(manifests); err != nil {
			return "", err
		}
	}
	a, b, c := lines[0], lines[1], lines[2]
	if len(a) != len(b) {
		return "", fmt.Errorf("one program made %d lines at first and %d when it was run again: what is random must stay within a value", len(a), len(b))
	}
	for i := range a {
		if a[i] == b[i] {
			continue
		}
		key, _, _ := strings.Cut(a[i], ": ")
		a[i] = key + ": (random)"
		if i < len(c) && strings.HasPrefix(c[i], key+": ") {
			c[i] = a[i]
		}
	}
	return cmp.Diff(a, c), nil
}

// manifest is a document of several, as text and as what it says.
type manifest struct {
	text  string
	value any
}

// split leaves out what is empty.
func split(manifests string) ([]manifest, error) {
	var all []manifest
	for _, text := range documents.Split(manifests, -1) {
		m := manifest{text: text}
		if err := yaml.Unmarshal([]byte(text), &m.value); err != nil {
			return nil, err
		}
		if m.value != nil {
			all = append(all, m)
		}
	}
	return all, nil
}

// manifestLines writes manifests in the one way that JSON has for each, a line a value. Comments and styles are gone, order stays.
func manifestLines(manifests string) ([]string, error) {
	var lines []string
	all, err := split(manifests)
	if err != nil {
		return nil, err
	}
	for _, m := range all {
		data, err := json.MarshalIndent(m.value, "", " ")
		if err != nil {
			return nil, err
		}
		lines = append(lines, strings.Split(string(data), "\n")...)
	}
	return lines, nil
}
