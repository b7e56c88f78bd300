package standin

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// call makes a call of the protocol to another server, which says yes or no and its term. The term is -1 when it does not say.
func (r *raft) call(ctx context.Context, endpoint, method string, params ...value) (yes bool, term int, err error) {
	session, err := r.session()
	if err != nil {
		return false, -1, err
	}
	if endpoint == "" {
		return false, -1, errors.New("Cannot find follower end point")
	}
	if r.settings.answer > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, r.settings.answer)
		defer cancel()
	}
	answer, err := send(ctx, r.client, endpoint, methodCall{Method: method, Params: append([]value{stringValue(session)}, params...)})
	if err != nil {
		return false, -1, err
	}
	result, err := answer.result()
	if err != nil {
		return false, -1, fmt.Errorf("%s: %s: %w", method, endpoint, err)
	}
	if yes = *result[0].Boolean == 1; yes {
		term, err = result[1].int()
		return err == nil, term, err
	}
	if len(result) < 4 {
		return false, -1, errors.New(result[1].string())
	}
	if term, err = result[3].int(); err != nil {
		return false, -1, err
	}
	return false, term, errors.New(result[1].string())
}

// sendTo sends a record to another server; one without a statement is a heartbeat.
func (r *raft) sendTo(lead *leadership, endpoint string, commit uint64, record logRecord) (yes bool, term int, err error) {
	return r.call(lead.ctx, endpoint, "one.zone.replicate",
		intValue(r.id), longValue(int64(commit)), intValue(lead.term), longValue(int64(record.index)), intValue(record.term),
		longValue(int64(record.prevIndex)), intValue(record.prevTerm), longValue(-1), stringValue(record.sql))
}

// entry is what a leader sends.
type entry struct {
	leader, leaderTerm int
	commit             uint64
	record             logRecord
}

// receive takes a record or a heartbeat of a leader's.
func (r *raft) receive(e entry) error {
	commit, err := r.accept(e)
	if err != nil {
		return err
	}
	if err := r.log.apply(commit); err != nil {
		r.logf("%v", err)
	}
	return nil
}

// accept takes a record into the log, and returns up to where the database may take the log over.
func (r *raft) accept(e entry) (commit uint64, err error) {
	r.incoming.Lock()
	defer r.incoming.Unlock()
	r.mu.Lock()
	term, state := r.term, r.state
	r.mu.Unlock()
	if e.leaderTerm < term {
		return 0, fmt.Errorf("Leader term (%d) is outdated (%d)", e.leaderTerm, term)
	}
	if e.leaderTerm > term {
		r.logf("New term (%d) discovered from leader %d", e.leaderTerm, e.leader)
	}
	if e.leaderTerm > term || state == candidate {
		r.stepDown(e.leaderTerm)
	}
	r.mu.Lock()
	r.leaderID, r.heard = e.leader, time.Now()
	r.mu.Unlock()
	if e.record == (logRecord{}) {
		return r.committed(e.commit, 0), nil
	}
	if err := r.take(e.record); err != nil {
		return 0, err
	}
	return r.committed(e.commit, e.record.index), nil
}

// committed notes that the leader has a record too, and returns up to where the log is both that way and at most of the servers.
func (r *raft) committed(leaders, confirmed uint64) uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.confirmed = max(r.confirmed, confirmed)
	r.commit = max(r.commit, min(leaders, r.confirmed))
	return r.commit
}

// take puts a record into the log, when that has the one before it. A record of another term that is in its place goes, with all after it.
func (r *raft) take(record logRecord) error {
	if record.sql == "" {
		return errors.New("Empty SQL command in log record")
	}
	terms := map[uint64]int{}
	if lastIndex, lastTerm := r.log.end(); record.index == lastIndex+1 {
		terms[lastIndex] = lastTerm
	} else {
		var err error
		if terms, err = r.log.terms(record.prevIndex, record.index); err != nil {
			return err
		}
	}
	if before, has := terms[record.prevIndex]; record.index > 0 && !has {
		return errors.New("Error loading previous log record")
	} else if record.index > 0 && before != record.prevTerm {
		return errors.New("Previous log record missmatch")
	}
	if term, has := terms[record.index]; has && term == record.term {
		return nil
	} else if has {
		if err := r.log.cut(record.index); err != nil {
			return fmt.Errorf("Error writing log record: %w", err)
		}
	}
	if err := r.log.put(record.index, record.term, record.sql); err != nil {
		return fmt.Errorf("Error writing log record: %w", err)
	}
	return nil
}

// vote decides about a candidate, whose log ends with a record.
func (r *raft) vote(term, id int, index uint64, logTerm int) error {
	r.incoming.Lock()
	defer r.incoming.Unlock()
	r.mu.Lock()
	current := r.term
	r.mu.Unlock()
	if term < current {
		return errors.New("Candidate's term is outdated")
	}
	if term > current {
		r.logf("New term (%d) discovered from candidate %d", term, id)
		r.stepDown(term)
	}
	if lastIndex, lastTerm := r.log.end(); lastTerm > logTerm || lastTerm == logTerm && lastIndex > index {
		return errors.New("Candidate's log is outdated")
	}
	r.mu.Lock()
	if r.votedFor != alone && r.votedFor != id {
		r.mu.Unlock()
		return errors.New("Already voted for another candidate")
	}
	// oned does not count this as a sign of life: its next look at the time may begin an election against the one it has voted for.
	r.votedFor, r.heard = id, time.Now()
	r.mu.Unlock()
	return r.save()
}

// forward passes a call on to the leader, and returns its answer as it is.
func (r *raft) forward(ctx context.Context, endpoint string, request methodCall) (methodResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, forwardTimeout)
	defer cancel()
	return send(ctx, r.client, endpoint, request)
}

// forwardTimeout is how long a follower waits for the leader's answer.
const forwardTimeout = 10 * time.Second
