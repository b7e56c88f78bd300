package frontends

import (
	"encoding/json"
	"fmt"

	"opennebula-kube/image/internal/host"
)

// file tells the running container of the front-ends; there is none beside a front-end alone.
const file = "/run/one-container/front-ends.json"

// Zone are the front-ends of a zone.
type Zone struct {
	// Endpoints are where oned of each is called, Self is the own place among them.
	Endpoints []string
	Self      int
	// PodLabel is the label that tells leader from follower, "" for none.
	PodLabel string
}

// Write puts a zone down for Read. One without front-ends is none.
func Write(h *host.Host, z Zone) error {
	if len(z.Endpoints) == 0 {
		_, err := h.Remove(file)
		return err
	}
	content, err := json.Marshal(z)
	if err != nil {
		return err
	}
	return h.WriteFile(file, content, 0o644, host.Owner{})
}

// Read returns the zone that the container is in, one without front-ends when it is alone.
func Read(h *host.Host) (z Zone, err error) {
	content, err := h.ReadFile(file)
	if err != nil || content == nil {
		return z, err
	}
	if err := json.Unmarshal(content, &z); err != nil {
		return z, fmt.Errorf("read %s: %w", file, err)
	}
	return z, nil
}
