package standin

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"
)

// elect asks the other servers for their votes, one after the other, and again after a random time, until there is a leader.
func (r *raft) elect(ctx context.Context) {
	servers, err := r.log.server.endpoints(zoneID)
	if err != nil {
		r.logf("%v", err)
		r.mu.Lock()
		servers = r.servers
		r.mu.Unlock()
	}
	for ctx.Err() == nil {
		r.mu.Lock()
		if r.state != candidate {
			r.mu.Unlock()
			return
		}
		r.servers, r.leaderID = servers, alone
		r.term++
		r.votedFor = r.id
		term := r.term
		r.mu.Unlock()

		r.save(term, r.id)
		if won, over := r.collectVotes(ctx, term, servers); won {
			r.lead(ctx)
			return
		} else if over {
			return
		}

		r.mu.Lock()
		if r.state != candidate {
			r.mu.Unlock()
			return
		}
		r.votedFor = alone
		term = r.term
		r.mu.Unlock()
		r.save(term, alone)
		wait := time.Duration(rand.Float64() * float64(r.settings.election))
		r.logf("No leader found, starting new election in %dms", wait.Milliseconds())
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

// collectVotes tells whether half of the other servers, rounded down over all of them, vote for this one, and whether the election is
// over because one of them knows a newer term.
func (r *raft) collectVotes(ctx context.Context, term uint32, servers map[int]string) (won, over bool) {
	index, logTerm := r.log.end()
	votes, needed := 0, len(servers)/2
	for _, id := range sortedIDs(servers) {
		if id == r.id {
			continue
		}
		granted, theirs, reason, err := r.call(ctx, servers[id], "one.zone.voterequest",
			termValue(term), intValue(r.id), longValue(int64(index)), termValue(logTerm))
		switch {
		case err != nil:
			r.logf("Error requesting vote from follower %d:%v", id, err)
		case granted:
			votes++
			r.logf("Got vote from follower %d. Total votes: %d", id, votes)
		default:
			r.logf("Vote not granted from follower %d: %s", id, reason)
			if theirs > term {
				r.logf("Follower %d is in term %d current term is %d. Turning into follower", id, theirs, term)
				r.stepDown(theirs)
				return false, true
			}
		}
		if votes >= needed {
			r.logf("Got majority of votes")
			break
		}
	}
	return votes >= needed, false
}

func sortedIDs(servers map[int]string) []int {
	ids := make([]int, 0, len(servers))
	for id := range servers {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}
