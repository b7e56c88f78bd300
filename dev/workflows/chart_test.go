package workflows

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// What the chart says of the image is so: which services there are, how long they may take to end, what the container may do.
func TestChartFitsImage(t *testing.T) {
	read := func(file string) string {
		t.Helper()
		data, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	var values struct {
		Services                      map[string]any
		TerminationGracePeriodSeconds int                                           `yaml:"terminationGracePeriodSeconds"`
		SecurityContext               struct{ Capabilities struct{ Add []string } } `yaml:"securityContext"`
	}
	if err := yaml.Unmarshal([]byte(read("chart/opennebula/values.yaml")), &values); err != nil {
		t.Fatal(err)
	}

	files, err := filepath.Glob(filepath.Join(root, "image/rootfs/etc/supervisor/services/*.conf"))
	if err != nil || len(files) == 0 {
		t.Fatalf("services of the image: %q, %v", files, err)
	}
	// What the image gives supervisord itself.
	stop := 10
	var services []string
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".conf")
		match := regexp.MustCompile(`(?m)^stopwaitsecs=(\d+)$`).FindStringSubmatch(read("image/rootfs/etc/supervisor/services/" + filepath.Base(file)))
		if match == nil {
			t.Fatalf("%s has no stopwaitsecs", file)
		}
		seconds, err := strconv.Atoi(match[1])
		if err != nil {
			t.Fatal(err)
		}
		stop += seconds
		// oned is no choice.
		if name != "oned" {
			services = append(services, name)
		}
	}
	if values.TerminationGracePeriodSeconds <= stop {
		t.Errorf("terminationGracePeriodSeconds is %d, and the image's services may take %d seconds to end", values.TerminationGracePeriodSeconds, stop)
	}

	dict := regexp.MustCompile(`:= dict ("[^}]+") }}`).FindStringSubmatch(read("chart/opennebula/templates/_services.tpl"))
	if dict == nil {
		t.Fatal("_services.tpl has no dict of services")
	}
	var keys, names []string
	for i, word := range strings.Fields(dict[1]) {
		if word = strings.Trim(word, `"`); i%2 == 0 {
			keys = append(keys, word)
		} else {
			names = append(names, word)
		}
	}
	slices.Sort(names)
	// These come unasked, with all that writes logs and with several front-ends.
	services = slices.DeleteFunc(services, func(service string) bool { return service == "logrotate" || service == "role" })
	if !slices.Equal(names, services) {
		t.Errorf("the chart has services %q, the image %q", names, services)
	}
	for _, key := range keys {
		if values.Services[key] == nil {
			t.Errorf("values.yaml has no services.%s", key)
		}
	}
	if len(values.Services) != len(keys) {
		t.Errorf("values.yaml has services %v, _services.tpl %q", values.Services, keys)
	}

	line := regexp.MustCompile("(?m)^- The capabilities (.+), and the user root").FindStringSubmatch(read("image/README.md"))
	if line == nil {
		t.Fatal("README of the image tells no capabilities")
	}
	if want := strings.Split(strings.ReplaceAll(line[1], "`", ""), ", "); !slices.Equal(values.SecurityContext.Capabilities.Add, want) {
		t.Errorf("the chart adds capabilities %q, the image needs %q", values.SecurityContext.Capabilities.Add, want)
	}
}
