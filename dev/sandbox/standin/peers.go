package standin

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// call makes a call of the protocol to another server, which says yes or no and its term. An error is a call without an answer. Of a login that is
// refused the answer has -1 in the place of the term, which oned reads as the highest one.
func (r *raft) call(ctx context.Context, endpoint, method string, params ...value) (yes bool, term uint32, reason string, err error) {
	session, err := r.session()
	if err != nil {
		return false, 0, "", err
	}
	if endpoint == "" {
		return false, 0, "", errors.New("Cannot find follower end point")
	}
	if r.settings.answer > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, r.settings.answer)
		defer cancel()
	}
	answer, err := send(ctx, r.client, endpoint, methodCall{Method: method, Params: append([]value{stringValue(session)}, params...)})
	if err != nil {
		return false, 0, "", err
	}
	result, err := answer.result()
	if err != nil {
		return false, 0, "", fmt.Errorf("%s: %s: %w", method, endpoint, err)
	}
	place := 1
	if yes = *result[0].Boolean == 1; !yes {
		place, reason = 3, result[1].string()
	}
	if len(result) <= place {
		return false, 0, "", fmt.Errorf("%s: %s: the answer has no term", method, endpoint)
	}
	number, err := result[place].int()
	return yes, uint32(int32(number)), reason, err
}

// termValue is a term in a call: an integer with a sign.
func termValue(term uint32) value { return intValue(int(int32(term))) }

// sendTo sends a record to another server; one without a statement is a heartbeat.
func (r *raft) sendTo(lead *leadership, id int, record logRecord) (yes bool, term uint32, err error) {
	r.mu.Lock()
	endpoint, commit, ours := r.servers[id], r.commit, r.term
	r.mu.Unlock()
	yes, term, _, err = r.call(lead.ctx, endpoint, "one.zone.replicate",
		intValue(r.id), longValue(int64(commit)), termValue(ours), longValue(int64(record.index)), termValue(record.term),
		longValue(int64(record.prevIndex)), termValue(record.prevTerm), longValue(-1), stringValue(record.sql))
	return yes, term, err
}

// entry is what a leader sends.
type entry struct {
	leader     int
	leaderTerm uint32
	commit     uint64
	record     logRecord
}

// receive takes a record or a heartbeat of a leader's.
func (r *raft) receive(e entry) error {
	r.mu.Lock()
	term := r.term
	r.mu.Unlock()
	if e.leaderTerm < term {
		return fmt.Errorf("Leader term (%d) is outdated (%d)", e.leaderTerm, term)
	}
	if e.leaderTerm > term {
		r.logf("New term (%d) discovered from leader %d", e.leaderTerm, e.leader)
		r.stepDown(e.leaderTerm)
	}
	r.mu.Lock()
	running := r.state == candidate
	r.mu.Unlock()
	if running {
		r.stepDown(e.leaderTerm)
	}
	r.mu.Lock()
	r.leaderID, r.heard = e.leader, time.Now()
	r.mu.Unlock()
	upTo := e.record.index
	if e.record == (logRecord{}) {
		// Nobody has looked whether the leader has the end of this log as well.
		upTo, _ = r.log.end()
	} else if added, err := r.take(e.record); err != nil || !added {
		return err
	}
	if err := r.log.apply(r.committed(e.commit, upTo)); err != nil {
		r.output.logf(levelError, "DBM", "%v", err)
	}
	return nil
}

// committed notes what the leader has committed, up to a record of this log, and returns how far the database may take the log over.
func (r *raft) committed(leaders, upTo uint64) uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	if leaders > r.commit {
		r.commit = min(leaders, upTo)
	}
	return r.commit
}

// take puts a record into the log, when that has the one before it, and tells whether it was new. A record of another term that is in its place goes, with
// all after it.
func (r *raft) take(record logRecord) (added bool, err error) {
	if record.sql == "" {
		return false, errors.New("Empty SQL command in log record")
	}
	if record.index > 0 {
		before, has, err := r.log.term(record.prevIndex)
		switch {
		case err != nil || !has:
			return false, errors.New("Error loading previous log record")
		case before != record.prevTerm:
			return false, errors.New("Previous log record missmatch")
		}
	}
	if term, has, err := r.log.term(record.index); err == nil && has && term == record.term {
		return false, nil
	} else if err == nil && has {
		if err := r.log.cut(record.index); err != nil {
			r.output.logf(levelError, "DBM", "%v", err)
		}
	}
	if err := r.log.put(record.index, record.term, record.sql); err != nil {
		return false, errors.New("Error writing log record")
	}
	return true, nil
}

// vote decides about a candidate, whose log ends with a record. It does not count as a sign of life: the next look at the time may begin an election
// against the one that has the vote.
func (r *raft) vote(term uint32, id int, index uint64, logTerm uint32) error {
	current := r.currentTerm()
	lastIndex, lastTerm := r.log.end()
	if term < current {
		return errors.New("Candidate's term is outdated")
	}
	if term > current {
		r.logf("New term (%d) discovered from candidate %d", term, id)
		r.stepDown(term)
	}
	if lastTerm > logTerm || lastTerm == logTerm && lastIndex > index {
		return errors.New("Candidate's log is outdated")
	}
	r.mu.Lock()
	if r.votedFor != alone && r.votedFor != id {
		r.mu.Unlock()
		return errors.New("Already voted for another candidate")
	}
	r.votedFor = id
	current = r.term
	r.mu.Unlock()
	r.save(current, id)
	return nil
}

// forward passes a call on to the leader, and returns its answer as it is.
func (r *raft) forward(ctx context.Context, endpoint string, request methodCall) (methodResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, forwardTimeout)
	defer cancel()
	return send(ctx, r.client, endpoint, request)
}

// forwardTimeout is how long a follower waits for the leader's answer.
const forwardTimeout = 10 * time.Second
