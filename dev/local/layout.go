package local

import "opennebula-kube/ci/pipeline"

// Layout returns the directory of the OCI layout that holds an image of this engine. It is for reading, and soon: the engine removes
// images that were not used for long.
func (e *Engine) Layout(img pipeline.Image) (string, error) {
	_, dir, err := e.own(img)
	return dir, err
}
