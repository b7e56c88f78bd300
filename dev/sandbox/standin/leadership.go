package standin

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// leadership is the time of a server as the leader in one term. It is guarded by the lock of its raft.
type leadership struct {
	term   int
	ctx    context.Context
	end    context.CancelFunc
	others map[int]*other
	// needed is how many others have to have a record, for most of the servers to have it.
	needed  int
	waiting []waiting
}

// other is what the leader knows of another server.
type other struct {
	// next is the record to send, match the newest one that is known to be there.
	next, match  uint64
	matched      bool
	record, beat chan struct{}
	// step is how far to go back in the log when the other server refuses a record. oned goes back by one each time.
	step uint64
	// read are records of the log from an earlier look at it, which do not change under a leader.
	read []logRecord
}

// waiting is a write that waits for a record to be at most of the servers.
type waiting struct {
	index uint64
	done  chan bool
}

// lead makes a candidate the leader of a term.
func (r *raft) lead(ctx context.Context, term int) {
	applied, err := r.log.setup()
	if err != nil {
		r.logf("%v", err)
		r.stepDown(0)
		return
	}
	index, _ := r.log.end()
	r.mu.Lock()
	if r.state != candidate || r.term != term {
		r.mu.Unlock()
		return
	}
	r.logf("Becoming leader of the zone. Last log record: %d last applied record: %d", index, applied)
	lead := &leadership{term: term, others: map[int]*other{}, needed: len(r.servers) / 2}
	lead.ctx, lead.end = context.WithCancel(ctx)
	r.state, r.leaderID, r.commit, r.leadership, r.heard = leader, r.id, applied, lead, time.Now()
	r.reconciling = applied < index
	for id := range r.servers {
		r.follow(lead, id, index)
	}
	lead.beat()
	reconciling := r.reconciling
	r.mu.Unlock()
	if reconciling {
		r.threads.Go(func() { r.reconcile(lead, index) })
	}
	r.logf("oned is now the leader of the zone")
}

// reconcile applies what earlier leaders left in the log, when most of the servers have it. Until then there are no other writes.
func (r *raft) reconcile(lead *leadership, index uint64) {
	r.logf("Replicating log to followers")
	if err := r.replicate(lead, index); err != nil {
		r.logf("%v", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.leadership == lead {
		r.reconciling = false
	}
	r.logf("Leader log replicated")
}

// follow begins to send records, from the given one on, and heartbeats to another server.
func (r *raft) follow(lead *leadership, id int, next uint64) {
	if id == r.id || lead.others[id] != nil {
		return
	}
	o := &other{next: next, step: 1, record: make(chan struct{}, 1), beat: make(chan struct{}, 1)}
	lead.others[id] = o
	r.threads.Go(func() {
		for signalled(lead.ctx, o.beat) {
			r.heartbeat(lead, id)
		}
	})
	r.threads.Go(func() { r.sendRecords(lead, id, o) })
	notify(o.record)
}

// addServer has a leader follow a server that is new in the zone.
func (r *raft) addServer(id int, endpoint string) {
	index, _ := r.log.end()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.leadership == nil {
		return
	}
	r.servers[id] = endpoint
	r.leadership.needed = len(r.servers) / 2
	r.logf("Starting replication and heartbeat threads for follower: %d", id)
	r.follow(r.leadership, id, index)
}

// notify wakes who waits for the channel, once for any number of times.
func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func signalled(ctx context.Context, c chan struct{}) bool {
	select {
	case <-c:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

func (l *leadership) beat() {
	for _, o := range l.others {
		notify(o.beat)
	}
}

// Times between attempts to send a record to a server that does not answer: the first one, and that from which on they do not get longer.
const (
	firstRetry = 100 * time.Millisecond
	lastRetry  = 2500 * time.Millisecond
)

// sendRecords sends to another server what it lacks, whenever there is something.
func (r *raft) sendRecords(lead *leadership, id int, o *other) {
	retry := firstRetry
	for signalled(lead.ctx, o.record) {
		if err := r.sendRecord(lead, id, o); err == nil {
			retry = firstRetry
			continue
		} else if lead.ctx.Err() == nil && retry == firstRetry {
			r.logf("Failed to replicate log to follower %d: %v", id, err)
		}
		if retry < lastRetry {
			retry *= 2
		}
		time.AfterFunc(retry, func() { notify(o.record) })
	}
}

// sendRecord sends the next record. A server that has another one before it gets that first.
func (r *raft) sendRecord(lead *leadership, id int, o *other) error {
	end, _ := r.log.end()
	r.mu.Lock()
	next, endpoint, commit := o.next, r.servers[id], r.commit
	r.mu.Unlock()
	if next > end {
		return nil
	}
	if len(o.read) == 0 || o.read[0].index != next {
		var err error
		if o.read, err = r.log.from(next); err != nil {
			return err
		}
	}
	record := o.read[0]
	accepted, theirs, err := r.sendTo(lead, endpoint, commit, record)
	switch {
	case accepted:
		r.mu.Lock()
		o.next, o.match, o.matched, o.step, o.read = next+1, next, true, 1, o.read[1:]
		r.advance(lead)
		r.mu.Unlock()
		if next < end {
			notify(o.record)
		}
	case theirs > lead.term:
		r.discover(lead, id, theirs)
	case theirs < 0:
		return fmt.Errorf("log record %d: %w", next, err)
	default:
		r.mu.Lock()
		o.next, o.step = next-min(next, o.step), 2*o.step
		r.mu.Unlock()
		notify(o.record)
	}
	return nil
}

// heartbeat tells another server that there is a leader.
func (r *raft) heartbeat(lead *leadership, id int) {
	r.mu.Lock()
	endpoint, commit := r.servers[id], r.commit
	r.mu.Unlock()
	if _, theirs, _ := r.sendTo(lead, endpoint, commit, logRecord{}); theirs > lead.term {
		r.discover(lead, id, theirs)
	}
}

// discover ends a leadership that another server knows to be over.
func (r *raft) discover(lead *leadership, id, term int) {
	if r.leads(lead) {
		r.logf("Follower %d term (%d) is higher than current (%d)", id, term, lead.term)
		r.stepDown(term)
	}
}

// await returns a channel that tells whether most of the servers have a record.
func (r *raft) await(lead *leadership, index uint64) <-chan bool {
	done := make(chan bool, 1)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.leadership != lead {
		done <- false
		return done
	}
	lead.waiting = append(lead.waiting, waiting{index, done})
	for _, o := range lead.others {
		notify(o.record)
	}
	r.advance(lead)
	return done
}

// advance commits what most of the servers have, and tells those who wait for it.
func (r *raft) advance(lead *leadership) {
	if r.leadership != lead {
		return
	}
	var have []uint64
	for _, o := range lead.others {
		if o.matched {
			have = append(have, o.match)
		}
	}
	slices.Sort(have)
	lead.waiting = slices.DeleteFunc(lead.waiting, func(w waiting) bool {
		if lead.needed > 0 && (len(have) < lead.needed || have[len(have)-lead.needed] < w.index) {
			return false
		}
		r.commit = max(r.commit, w.index)
		w.done <- true
		return true
	})
}
