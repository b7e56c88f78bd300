package main

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		values []time.Duration
		want   time.Duration
	}{
		{[]time.Duration{7}, 7},
		{[]time.Duration{9, 1}, 5},
		{[]time.Duration{30, 1, 2}, 2},
		{[]time.Duration{4, 100, 2, 8}, 6},
	} {
		given := append([]time.Duration(nil), c.values...)
		if got := median(c.values); got != c.want {
			t.Errorf("median(%v) = %v, want %v", c.values, got, c.want)
		}
		if diff := cmp.Diff(given, c.values); diff != "" {
			t.Errorf("median changed its argument:\n%s", diff)
		}
	}
}

// runs are samples by the clock, in tenths of a second, with half as much of the processors.
func runs(tenths ...int) []sample {
	var of []sample
	for _, n := range tenths {
		wall := time.Duration(n) * 100 * time.Millisecond
		of = append(of, sample{wall, wall / 2, wall / 5})
	}
	return of
}

func TestWriteTable(t *testing.T) {
	for _, c := range []struct {
		name     string
		measured samples
		want     string
	}{
		{"met", samples{
			pipelineSide: {cold: runs(105, 100, 300), warm: runs(20, 20, 20), tried: runs(100, 110, 120), nothing: runs(50, 1, 80)},
			shellSide:    {cold: runs(100, 100, 90), warm: runs(25, 20, 40)},
		}, `
RUN       PIPELINE                       SHELL                         RATIO         AIM
cold      10.5 s (10.0-30.0) / 5.2 s     10.0 s (9.0-10.0) / 5.0 s     1.05 / 1.05   ratio at or below 1.05: met
warm      2.0 s (2.0-2.0) / 1.0 s        2.5 s (2.0-4.0) / 1.2 s       0.80 / 0.80   
tried     11.0 s (10.0-12.0) / 5.5 s                                                 no aim; the trial takes 2.2 s of it
nothing   5.0 s (0.1-8.0) / 2.5 s                                                    at or below 5.0 s: met
`},
		{"missed", samples{
			pipelineSide: {cold: runs(106), warm: runs(20), tried: runs(100), nothing: runs(51)},
			shellSide:    {cold: runs(100), warm: runs(20)},
		}, `
RUN       PIPELINE                       SHELL                          RATIO         AIM
cold      10.6 s (10.6-10.6) / 5.3 s     10.0 s (10.0-10.0) / 5.0 s     1.06 / 1.06   ratio at or below 1.05: MISSED
warm      2.0 s (2.0-2.0) / 1.0 s        2.0 s (2.0-2.0) / 1.0 s        1.00 / 1.00   
tried     10.0 s (10.0-10.0) / 5.0 s                                                  no aim; the trial takes 2.0 s of it
nothing   5.1 s (5.1-5.1) / 2.5 s                                                     at or below 5.0 s: MISSED
`},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out strings.Builder
			if err := writeTable(&out, c.measured); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(squeeze(c.want), squeeze(out.String())); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// squeeze leaves the widths of columns aside.
func squeeze(table string) []string {
	var lines []string
	for line := range strings.Lines(strings.TrimSpace(table)) {
		lines = append(lines, strings.Join(strings.Fields(line), " "))
	}
	return lines
}
