package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"time"

	"opennebula-kube/image/internal/frontends"
	"opennebula-kube/image/internal/host"
	"opennebula-kube/image/internal/oned"
	"opennebula-kube/image/internal/supervisord"
)

// askLimit is how long oned may take to tell what it is.
const askLimit = time.Second

// keepRole does what the leader of several front-ends has to do, for as long as it is that, until ctx is done.
func keepRole(ctx context.Context) error {
	h := host.System(func(format string, args ...any) { fmt.Printf(format+"\n", args...) })
	zone, err := frontends.Read(h)
	if err != nil {
		return err
	}
	if len(zone.Endpoints) == 0 {
		return errors.New("role: this front-end is alone: OPENNEBULA_HA_SERVERS was not set when the container was started")
	}
	chosen, err := supervisord.Chosen(h)
	if err != nil {
		return err
	}
	k := frontends.Keeper{
		Zone: zone, Now: h.Now, Sleep: h.Sleep, Log: h.Log,
		Status:   func(ctx context.Context) (oned.Status, error) { return status(ctx, h, oned.Endpoint("localhost")) },
		Others:   func(ctx context.Context) (int, int) { return others(ctx, h, zone) },
		Services: func(ctx context.Context, run bool) error { return leaderServices(ctx, h, chosen, run) },
	}
	if zone.PodLabel != "" {
		pods, err := frontends.NewPods(h, zone.PodLabel, os.Getenv)
		if err != nil {
			return fmt.Errorf("role: %w", err)
		}
		k.Label = func(ctx context.Context, server int, role string) error {
			pod, err := frontends.PodOf(zone.Endpoints[server])
			if err != nil {
				return err
			}
			return pods.Label(ctx, pod, role)
		}
	}
	k.Run(ctx)
	return nil
}

func status(ctx context.Context, h *host.Host, url string) (oned.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	session, err := oned.Session(h)
	if err != nil {
		return oned.Status{}, err
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	return oned.Client{HTTP: client, URL: url, Session: session}.Status(ctx)
}

// others asks the other front-ends at the same time: how many answer, and the latest term in which one of them leads.
func others(ctx context.Context, h *host.Host, zone frontends.Zone) (answer, newest int) {
	type reply struct {
		status oned.Status
		err    error
	}
	replies := make(chan reply, len(zone.Endpoints))
	for i, url := range zone.Endpoints {
		if i == zone.Self {
			continue
		}
		go func() {
			s, err := status(ctx, h, url)
			replies <- reply{s, err}
		}()
	}
	for range len(zone.Endpoints) - 1 {
		r := <-replies
		if r.err != nil {
			continue
		}
		answer++
		if r.status.State == oned.Leader {
			newest = max(newest, r.status.Term)
		}
	}
	return answer, newest
}

// leaderServices starts those services that only the leader runs, or stops them.
func leaderServices(ctx context.Context, h *host.Host, chosen []string, run bool) error {
	change := supervisord.Stop
	if run {
		change = supervisord.Start
	}
	var errs []error
	for _, service := range supervisord.LeaderOnly() {
		if slices.Contains(chosen, service) {
			errs = append(errs, change(ctx, h, service))
		}
	}
	return errors.Join(errs...)
}
