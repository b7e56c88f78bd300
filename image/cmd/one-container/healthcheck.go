package main

import (
	"context"
	"fmt"
	"time"

	"opennebula-kube/image/internal/health"
	"opennebula-kube/image/internal/host"
)

// healthLimit is how long a probe may take: whoever asks has a limit too, and shows no reason when it is that which ends the probe.
const healthLimit = 4 * time.Second

func healthcheck(ctx context.Context, probe string) error {
	ctx, cancel := context.WithTimeout(ctx, healthLimit)
	defer cancel()
	h := host.System(func(string, ...any) {})
	if err := health.Check(ctx, h, health.Probe(probe)); err != nil {
		return fmt.Errorf("healthcheck %s: %w", probe, err)
	}
	return nil
}
