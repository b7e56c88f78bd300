package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSchedule(t *testing.T) {
	want := []step{
		{1, pipelineSide, cold}, {1, shellSide, cold}, {1, pipelineSide, warm}, {1, shellSide, warm}, {1, pipelineSide, tried}, {1, pipelineSide, nothing},
		{2, shellSide, cold}, {2, pipelineSide, cold}, {2, shellSide, warm}, {2, pipelineSide, warm}, {2, pipelineSide, tried}, {2, pipelineSide, nothing},
		{3, pipelineSide, cold}, {3, shellSide, cold}, {3, pipelineSide, warm}, {3, shellSide, warm}, {3, pipelineSide, tried}, {3, pipelineSide, nothing},
	}
	if diff := cmp.Diff(want, schedule(3), cmp.AllowUnexported(step{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
