//go:build linux

package kube

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestControllers(t *testing.T) {
	for _, c := range []struct {
		name string
		// files are in the directory; those that end in "/" are directories.
		files map[string]string
		want  string
	}{
		{"version 1", map[string]string{"cpu/": "", "cpuacct/": "", "cpuset/": "", "memory/": "", "pids/": ""}, ""},
		{"version 1, with one missing", map[string]string{"cpu/": "", "cpuacct/": "", "cpuset/": "", "pids/": ""}, "/memory cannot be written to: no such file"},
		{"version 2", map[string]string{"cgroup.controllers": "cpuset cpu io memory hugetlb pids rdma\n"}, ""},
		{"version 2, with one missing", map[string]string{"cgroup.controllers": "cpuset cpu pids\n"}, `needs the control group controller memory; `},
		{"none", nil, "/cpu cannot be written to: no such file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := t.TempDir()
			for name, content := range c.files {
				path := filepath.Join(root, name)
				err := os.MkdirAll(filepath.Dir(filepath.Join(root, name+"x")), 0o755)
				if !strings.HasSuffix(name, "/") {
					err = os.WriteFile(path, []byte(content), 0o644)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			err := controllers(root)
			if c.want == "" && err != nil {
				t.Error(err)
			}
			if c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("error %v, want %q in it", err, c.want)
			}
		})
	}
}
