package main

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"
)

// What is aimed for.
const (
	coldRatioAim = 1.05
	nothingAim   = 5 * time.Second
)

// writeTable writes the medians of all runs beside each other, and whether the aims are met.
func writeTable(out io.Writer, measured samples) error {
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "RUN\tPIPELINE\tSHELL\tRATIO\tAIM")
	for _, k := range []kind{cold, warm, tried, nothing} {
		ours, theirs := summarize(measured[pipelineSide][k]), summarize(measured[shellSide][k])
		ratio, aim := "", ""
		if theirs.runs > 0 {
			ratio = fmt.Sprintf("%.2f / %.2f", quotient(ours.wall, theirs.wall), quotient(ours.cpu, theirs.cpu))
		}
		switch k {
		case cold:
			aim = fmt.Sprintf("ratio at or below %.2f: %s", coldRatioAim, verdict(quotient(ours.wall, theirs.wall) <= coldRatioAim))
		case tried:
			aim = fmt.Sprintf("no aim; the trial takes %s of it", seconds(ours.trial))
		case nothing:
			aim = fmt.Sprintf("at or below %s: %s", seconds(nothingAim), verdict(ours.wall <= nothingAim))
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", k, ours, theirs, ratio, aim)
	}
	return w.Flush()
}

func verdict(met bool) string {
	if met {
		return "met"
	}
	return "MISSED"
}

func quotient(a, b time.Duration) float64 { return float64(a) / float64(b) }

// summary is what the runs of one kind took: medians, and the extremes by the clock.
type summary struct {
	runs            int
	wall, low, high time.Duration
	cpu, trial      time.Duration
}

func summarize(of []sample) summary {
	if len(of) == 0 {
		return summary{}
	}
	var walls, cpus, trials []time.Duration
	for _, one := range of {
		walls, cpus, trials = append(walls, one.wall), append(cpus, one.cpu), append(trials, one.trial)
	}
	return summary{
		runs: len(of), wall: median(walls), low: slices.Min(walls), high: slices.Max(walls), cpu: median(cpus), trial: median(trials),
	}
}

// String is empty for a kind that was not run.
func (s summary) String() string {
	if s.runs == 0 {
		return ""
	}
	return fmt.Sprintf("%s (%.1f-%.1f) / %s", seconds(s.wall), s.low.Seconds(), s.high.Seconds(), seconds(s.cpu))
}

// median is the middle one, or the mean of the two in the middle; there must be one at least.
func median(values []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }
