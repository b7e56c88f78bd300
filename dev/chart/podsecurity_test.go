package chart

import (
	"strings"
	"testing"

	"k8s.io/pod-security-admission/api"
)

func TestPodLevels(t *testing.T) {
	const (
		service    = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\n---\n# nothing\n---\napiVersion: example.org/v1\nkind: Pod\nmetadata: {name: a}\n---\n"
		restricted = "{allowPrivilegeEscalation: false, runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}, capabilities: {drop: [ALL]}}"
	)
	pod := func(security string) string {
		return service + "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: a, securityContext: " + security + "}]}\n"
	}
	set := func(fields string) string {
		return service + "apiVersion: apps/v1\nkind: StatefulSet\nmetadata: {name: a}\nspec: {template: {spec: {" + fields + "}}}\n"
	}
	for _, c := range []struct {
		manifests, name string
		want            api.Level
		refused         string
	}{
		{pod(restricted), "Pod a", api.LevelRestricted, ""},
		{pod("{capabilities: {add: [CHOWN]}}"), "Pod a", api.LevelBaseline, "restricted: allowPrivilegeEscalation != false"},
		{pod("{capabilities: {add: [SYS_ADMIN]}}"), "Pod a", api.LevelPrivileged, "baseline: non-default capabilities"},
		{set("containers: [{name: a, securityContext: " + restricted + "}]"), "StatefulSet a", api.LevelRestricted, ""},
		{set("initContainers: [{name: b}], containers: [{name: a, securityContext: " + restricted + "}]"), "StatefulSet a", api.LevelBaseline, "runAsNonRoot"},
		{set("hostNetwork: true, containers: [{name: a}]"), "StatefulSet a", api.LevelPrivileged, "baseline: host namespaces"},
	} {
		levels, err := PodLevels(c.manifests)
		got := levels[c.name]
		if err != nil || len(levels) != 1 || got.Level != c.want || !strings.Contains(strings.Join(got.Refused, "\n"), c.refused) {
			t.Errorf("%s: %v, %v, want %s at %s, and %q", c.manifests, levels, err, c.name, c.want, c.refused)
		}
	}
	for _, manifests := range []string{"a: [", "a: 1\n", "apiVersion: v1\nkind: Pod\nspec: 1\n"} {
		if levels, err := PodLevels(manifests); err == nil {
			t.Errorf("%q: %v, want an error", manifests, levels)
		}
	}
}
