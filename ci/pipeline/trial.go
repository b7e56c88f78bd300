package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"opennebula-kube/ci/ocilayout"
	"opennebula-kube/ci/registry"
	"opennebula-kube/ci/release"
)

// ErrTrial is the error of a run that the trial stopped: the image does not work. The report has the last lines of its log.
var ErrTrial = errors.New("the trial failed")

const (
	// volume is where the image keeps all that is to last.
	volume = "/var/lib/one"
	// trialLimit is how long one run of the image may take. It has limits of its own, which say more.
	trialLimit = time.Hour
	// sentenceLimit is how much of a program's last line is repeated, in characters.
	sentenceLimit = 500
)

// TrialReport tells what became of the trial of an image before its tags moved.
type TrialReport struct {
	// Skipped is the reason that was given for not trying it; empty when it was tried.
	Skipped string `json:"skipped,omitempty"`
	// Runs are the runs of the image, and those that could not be had.
	Runs []TrialRun `json:"runs,omitempty"`
}

// TrialRun is one run of an image.
type TrialRun struct {
	// Platform is the one it was for, as os/architecture.
	Platform string `json:"platform"`
	// Upgrade tells that the volume was not empty but that of a published image, and From names the image.
	Upgrade bool   `json:"upgrade"`
	From    string `json:"from,omitempty"`
	// Result is what became of it, and Detail why it failed or was not tried.
	Result TrialResult `json:"result"`
	Detail string      `json:"detail,omitempty"`
	// Seconds is how long it took, without what came before it.
	Seconds float64 `json:"seconds"`
}

// TrialResult is what became of a run.
type TrialResult string

// The results of a run.
const (
	Passed    TrialResult = "passed"
	NotPassed TrialResult = "failed"
	Untried   TrialResult = "not tried"
)

// String is the run as a line for people.
func (t TrialRun) String() string {
	line := "empty volume "
	if t.Upgrade {
		line = "upgrade "
		if t.From != "" {
			line += "from " + t.From + " "
		}
	}
	line = t.Platform + ": " + line + string(t.Result)
	if t.Detail != "" {
		line += ": " + t.Detail
	}
	return line
}

// Lines are the trial in lines for people.
func (t TrialReport) Lines() []string {
	if t.Skipped != "" {
		return []string{"skipped: " + t.Skipped}
	}
	lines := make([]string, len(t.Runs))
	for i, run := range t.Runs {
		lines[i] = run.String()
	}
	return lines
}

// trial starts the image on each platform, has it test itself on an empty volume and on that of a published image, and stops the run
// when it does not pass.
func (r *run) trial(ctx context.Context, image Image, t target) error {
	if reason := r.options.SkipTrial; reason != nil {
		r.report.Trial = &TrialReport{Skipped: *reason}
		r.skip("trial", *reason)
		return nil
	}
	r.report.Trial = &TrialReport{}
	return r.stage("trial", "running "+image.Digest, func() (string, error) {
		before, why, err := r.before(ctx, t)
		if err != nil {
			return "", err
		}
		for _, platform := range image.Platforms {
			if err := r.tryPlatform(ctx, image, platform, before, why); err != nil {
				return "", err
			}
		}
		return strings.Join(r.report.Trial.Lines(), "; "), nil
	})
}

// published is an image that installations run, and the reference by which they know it.
type published struct {
	Image
	ref string
}

// before fetches what installations run before the release of a run. When there is nothing, why says so.
func (r *run) before(ctx context.Context, t target) (before published, why string, err error) {
	if r.Images == nil {
		return published{}, "no registry was given to find a published image in", nil
	}
	tag, found := release.Before(t.Version, t.tags)
	if !found {
		return published{}, "no image of this version or a lower one is published", nil
	}
	before.ref = r.Images.Name() + ":" + tag
	digest, err := r.Images.Digest(ctx, tag)
	if err == nil {
		_, err = r.Images.Whole(ctx, digest)
	}
	if err == nil {
		before.Image, err = Pull(ctx, r.Images, digest, r.Layouts)
	}
	if errors.Is(err, registry.ErrNotFound) {
		return published{}, before.ref + " is not whole in the registry", nil // nobody can run it
	}
	return before, "", err
}

// tryPlatform tries one platform of an image. Without an image before it, why says why there is no upgrade.
func (r *run) tryPlatform(ctx context.Context, image Image, platform string, before published, why string) error {
	fresh := TrialRun{Platform: platform}
	if err := r.try(ctx, fresh, image, nil); errors.Is(err, ErrForeign) {
		fresh.Result, fresh.Detail = Untried, err.Error()
		r.report.Trial.Runs = append(r.report.Trial.Runs, fresh)
		return nil
	} else if err != nil {
		return err
	}
	upgrade := TrialRun{Platform: platform, Upgrade: true, From: before.ref}
	var left Directory
	if why == "" {
		var err error
		if left, why, err = r.leftBy(ctx, before, platform); err != nil {
			return fmt.Errorf("run %s for %s, to try the upgrade from it: %w", before.ref, platform, err)
		}
	}
	if left == nil {
		upgrade.Result, upgrade.Detail = Untried, why
		r.report.Trial.Runs = append(r.report.Trial.Runs, upgrade)
		return nil
	}
	return r.try(ctx, upgrade, image, left)
}

// try has an image test itself on a volume, nil for an empty one, and adds the run to the report. One that does not pass is ErrTrial.
func (r *run) try(ctx context.Context, run TrialRun, image Image, on Directory) error {
	start := r.Now()
	result, err := r.selftest(ctx, image, run.Platform, on)
	if err != nil {
		return fmt.Errorf("run the image for %s: %w", run.Platform, err)
	}
	run.Result, run.Seconds = Passed, r.Now().Sub(start).Round(time.Millisecond).Seconds()
	if result.Status != 0 {
		run.Result, run.Detail = NotPassed, sentence(result)
		name := "trial-" + fileName(run.Platform)
		if run.Upgrade {
			name += "-upgrade"
		}
		name += ".log"
		r.report.keep(name, []byte(result.Stdout+result.Stderr))
		err = fmt.Errorf("%w: %s; the end of its log is in %s; mend the image, or give a reason to release it all the same (--skip-trial)",
			ErrTrial, run, name)
	}
	r.report.Trial.Runs = append(r.report.Trial.Runs, run)
	return err
}

// leftBy returns the volume that a published image has left. When there is none, why says so.
func (r *run) leftBy(ctx context.Context, before published, platform string) (left Directory, why string, err error) {
	if !slices.Contains(before.Platforms, platform) {
		return nil, fmt.Sprintf("%s has %s alone", before.ref, strings.Join(before.Platforms, ", ")), nil
	}
	result, err := r.selftest(ctx, before.Image, platform, nil)
	switch {
	case errors.Is(err, errNoSelftest):
		return nil, before.ref + " " + err.Error(), nil
	case err != nil:
		return nil, "", err
	case result.Status != 0:
		return nil, "that does not pass itself: " + sentence(result), nil
	}
	return result.Out[volume], "", nil
}

// errNoSelftest is the error of an image from before images could test themselves.
var errNoSelftest = errors.New("has no selftest")

// selftest has one platform of an image test itself on a volume, nil for an empty one. All else that the image writes to is empty too, as
// on Kubernetes.
func (r *run) selftest(ctx context.Context, image Image, platform string, on Directory) (Result, error) {
	program, err := ocilayout.Image(image.Dir, platform)
	if err != nil {
		return Result{}, err
	}
	config, err := program.ConfigFile()
	if err != nil {
		return Result{}, err
	}
	// An entrypoint that says what to do takes no other command.
	if len(config.Config.Entrypoint) != 1 || len(config.Config.Cmd) == 0 {
		return Result{}, errNoSelftest
	}
	limited, cancel := context.WithTimeoutCause(ctx, trialLimit, fmt.Errorf("its selftest did not end within %s", trialLimit))
	defer cancel()
	return r.Engine.Run(limited, Program{
		Image: image, Platform: platform, Args: []string{config.Config.Entrypoint[0], "selftest"},
		Out:  map[string]Directory{volume: on},
		Temp: []string{"/run", "/tmp", "/etc/one", "/var/log/one"},
	})
}

// sentence is why a selftest failed: the last line that it printed.
func sentence(result Result) string {
	last := LastLines(result.Stderr)
	last = strings.TrimPrefix(strings.TrimSpace(last[strings.LastIndex(last, "\n")+1:]), "error: ")
	last = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return -1
	}, last)
	if last == "" {
		return fmt.Sprintf("it ended with status %d and printed no error", result.Status)
	}
	if runes := []rune(last); len(runes) > sentenceLimit {
		return string(runes[:sentenceLimit]) + "..."
	}
	return last
}
