package health

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"opennebula-kube/image/internal/host"
	"opennebula-kube/image/internal/oned"
	"opennebula-kube/image/internal/supervisord"
)

// progressFile remembers how far the log of a follower has to come.
const progressFile = "/run/one-container/zone-log.json"

// progress is what oned's log has to have before this front-end is ready.
type progress struct {
	// Oned is the run of oned that this is about.
	Oned string
	// Term and Index are those of a record that the leader had when this run was first seen.
	Term, Index int
	// Reached tells that the log has it.
	Reached bool
}

// hasLog wants the log of the zone to be here, as far as it was acknowledged when oned was first seen after its start. That does not change
// until oned starts again: under constant writes a follower always lacks the last records for a moment, and must not count as not ready for it.
//
// A log that ends in the term of the leader's last record, or in a later one, has the same records as the leader's up to its end. One that
// ends in an earlier term may have records that were never acknowledged, whatever their number.
func (c *checker) hasLog(ctx context.Context, among place) error {
	instance, err := supervisord.Instance(ctx, c.host, supervisord.Oned)
	if err != nil {
		return fmt.Errorf("find out since when oned runs: %w", err)
	}
	content, err := c.host.ReadFile(progressFile)
	if err != nil {
		return err
	}
	var p progress
	if err := json.Unmarshal(content, &p); err != nil || p.Oned != instance {
		p = progress{Oned: instance, Term: among.leader.LastTerm, Index: among.leader.Commit}
	} else if p.Reached {
		return nil
	}
	own, err := among.own.Status(ctx)
	if err != nil {
		return err
	}
	p.Reached = own.State == oned.Leader || own.LastTerm >= p.Term && own.LastIndex >= p.Index
	if content, err = json.Marshal(p); err != nil {
		return err
	}
	// Who may not write asks for himself, and is not the one whose probes count.
	if err := c.host.WriteFile(progressFile, content, 0o644, host.Owner{}); err != nil && !errors.Is(err, fs.ErrPermission) {
		return err
	}
	if !p.Reached {
		return fmt.Errorf("the zone's log ends here with record %d of term %d, and has to have record %d of term %d: the leader sends what is missing",
			own.LastIndex, own.LastTerm, p.Index, p.Term)
	}
	return nil
}
