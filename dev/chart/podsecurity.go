package chart

import (
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/pod-security-admission/admission"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
)

// PodLevel is what a pod asks of its namespace.
type PodLevel struct {
	// Level is the strictest of the Pod Security Standards that admits the pod.
	Level api.Level
	// Refused is why the stricter ones do not.
	Refused []string
}

// PodLevels finds the level of each pod that manifests have or make, by kind and name.
func PodLevels(manifests string) (map[string]PodLevel, error) {
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		return nil, err
	}
	levels := map[string]PodLevel{}
	all, err := split(manifests)
	if err != nil {
		return nil, err
	}
	for _, m := range all {
		object, kind, err := scheme.Codecs.UniversalDeserializer().Decode([]byte(m.text), nil, nil)
		if runtime.IsNotRegisteredError(err) {
			// An extension of Kubernetes; a pod is none.
			continue
		}
		if err != nil {
			return nil, err
		}
		resource, _ := meta.UnsafeGuessKindToResource(*kind)
		if !(admission.DefaultPodSpecExtractor{}).HasPodSpec(resource.GroupResource()) {
			continue
		}
		metadata, spec, err := admission.DefaultPodSpecExtractor{}.ExtractPodSpec(object)
		if err != nil {
			return nil, err
		}
		named, err := meta.Accessor(object)
		if err != nil {
			return nil, err
		}
		found := PodLevel{Level: api.LevelPrivileged}
		for _, level := range []api.Level{api.LevelRestricted, api.LevelBaseline} {
			result := policy.AggregateCheckResults(evaluator.EvaluatePod(api.LevelVersion{Level: level, Version: api.LatestVersion()}, metadata, spec))
			if result.Allowed {
				found.Level = level
				break
			}
			found.Refused = append(found.Refused, fmt.Sprintf("%s: %s", level, result.ForbiddenDetail()))
		}
		levels[kind.Kind+" "+named.GetName()] = found
	}
	return levels, nil
}
