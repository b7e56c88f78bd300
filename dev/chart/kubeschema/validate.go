package kubeschema

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/yannh/kubeconform/pkg/validator"
)

// Validator validates manifests for one Kubernetes release.
type Validator struct{ kubeconform validator.Validator }

// NewValidator returns one that judges by the schemas.
func NewValidator(set Set) (Validator, error) {
	kubeconform, err := validator.New([]string{set.Location}, validator.Opts{KubernetesVersion: set.KubeVersion, Strict: true})
	return Validator{kubeconform}, err
}

// Validate returns how many manifests there are in the YAML documents, and an error for each that is not valid; a kind that is not known
// is one of them.
func (v Validator) Validate(ctx context.Context, manifests string) (int, []error) {
	count := 0
	var errs []error
	for _, result := range v.kubeconform.ValidateWithContext(ctx, "manifests", io.NopCloser(strings.NewReader(manifests))) {
		switch result.Status {
		case validator.Empty:
		case validator.Valid:
			count++
		default:
			count++
			what := "manifest"
			if signature, err := result.Resource.Signature(); err == nil {
				what = fmt.Sprintf("%s %s %s", signature.Version, signature.Kind, signature.Name)
			}
			errs = append(errs, fmt.Errorf("%s: %w", what, result.Err))
		}
	}
	return count, errs
}
