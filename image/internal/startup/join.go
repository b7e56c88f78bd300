package startup

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"opennebula-kube/image/internal/frontends"
)

const (
	// joinInterval is how often the others are asked.
	joinInterval = 2 * time.Second
	// settleTime is longer than a container takes from its start to an oned that answers.
	settleTime = 30 * time.Second
)

// join gives a front-end that is one of several its database: one that is outdated is replaced by that of another front-end, unless it falls to
// this one to begin or to upgrade.
func (s *Start) join(ctx context.Context) error {
	if !s.settings.HA.Enabled() {
		return nil
	}
	for {
		state, _, err := s.schemaState(ctx)
		if err != nil || state == schemaNewer {
			// The next step says so.
			return err
		}
		decision, err := s.decide(ctx, state != schemaCurrent)
		if err != nil {
			return err
		}
		switch decision.Action {
		case frontends.Copy:
			// What is copied may be of an older version, and be in use by that.
			if err := s.copyDatabase(ctx, decision); err != nil {
				return err
			}
			continue
		case frontends.Upgrade:
			s.sole = true
			return s.leaveLog(ctx)
		case frontends.Begin:
			s.sole = true
		}
		return nil
	}
}

// leaveLog prepares a change that is not in the zone's log: records that are in no tables were never acknowledged, and would be put into them
// after the change, and the database gets a mark by which others know that they cannot go on with theirs.
func (s *Start) leaveLog(ctx context.Context) error {
	tables, err := s.database.Tables(ctx)
	if err != nil {
		return err
	}
	var statements []string
	if slices.Contains(tables, "logdb") {
		statements = append(statements, "DELETE FROM logdb WHERE applied = '0'")
	}
	addGRPC, err := s.addGRPC(ctx)
	if err != nil {
		return err
	}
	if addGRPC != "" {
		statements = append(statements, addGRPC)
	}
	// Last: without the mark the others would go on with theirs, and with what is done before it nothing is done twice.
	if slices.Contains(tables, "system_attributes") {
		generation := fmt.Sprintf("%s of %s", stamp(s.host.Now()), s.settings.HA.Servers[s.settings.HA.Self])
		statements = append(statements, fmt.Sprintf("REPLACE INTO system_attributes (name, body) VALUES (%s, %s)",
			s.database.Literal(generationName), s.database.Literal(generation)))
	}
	if len(statements) == 0 {
		return nil
	}
	_, err = s.database.Query(ctx, strings.Join(statements, ";\n"))
	return err
}

// begins tells whether it falls to this front-end, the database of which is empty, to begin. One alone always does.
func (s *Start) begins(ctx context.Context) (bool, error) {
	if !s.settings.HA.Enabled() {
		return true, nil
	}
	decision, err := s.decide(ctx, true)
	return decision.Action == frontends.Begin, err
}

// decide returns what this front-end is to do, when there is something to do. Whether its database is of another version than the software is
// given; with other passwords it is outdated too: the front-ends log in to each other with oneadmin's, so that cannot be another on some of
// them only.
func (s *Start) decide(ctx context.Context, otherVersion bool) (frontends.Decision, error) {
	var told string
	var since time.Time
	for deadline := s.host.Now().Add(s.settings.Database.Wait); ; {
		all := s.survey(ctx)
		if ctx.Err() != nil {
			return frontends.Decision{}, context.Cause(ctx)
		}
		decision := frontends.Decide(all, s.settings.HA.Self, otherVersion || all[s.settings.HA.Self].Passwords < passwords)
		reason := decision.Reason
		switch decision.Action {
		case frontends.Upgrade:
			// An oned that starts does not answer yet.
			if since.IsZero() {
				since = s.host.Now()
			}
			if s.host.Now().Sub(since) >= settleTime {
				return decision, nil
			}
			reason = "they may just start; " + reason
		case frontends.Wait:
			since = time.Time{}
		default:
			return decision, nil
		}
		if since.IsZero() && s.host.Now().After(deadline) {
			return decision, fmt.Errorf("waited %s for the other front-ends: %s", s.settings.Database.Wait, reason)
		}
		if reason != told {
			told = reason
			s.host.Log("waiting for the other front-ends, %s at most: %s", s.settings.Database.Wait, told)
		}
		if err := s.host.Sleep(ctx, joinInterval); err != nil {
			return decision, err
		}
	}
}
