package standin

import (
	"context"
	"fmt"
	"time"
)

// leadership is the time of a server as the leader. It is guarded by the lock of its raft.
type leadership struct {
	ctx    context.Context
	end    context.CancelFunc
	others map[int]*other
	// servers is how many the zone has, requests are the writes that wait, by the records that they wait for.
	servers  int
	requests map[uint64]*request
}

// other is what the leader knows of another server.
type other struct {
	// next is the record to send.
	next         uint64
	record, beat chan struct{}
	// read are records of the log from an earlier look at it, which do not change under a leader.
	read []logRecord
}

// request is a write that waits until so many other servers have its record.
type request struct {
	missing int
	done    chan struct{}
}

// lead makes a candidate the leader of a term.
func (r *raft) lead(ctx context.Context) {
	applied, err := r.log.setup()
	if err != nil {
		r.logf("%v", err)
		r.stepDown(0)
		return
	}
	index, _ := r.log.end()
	r.mu.Lock()
	if r.state != candidate {
		r.mu.Unlock()
		return
	}
	r.logf("Becoming leader of the zone. Last log record: %d last applied record: %d", index, applied)
	lead := &leadership{others: map[int]*other{}, servers: len(r.servers), requests: map[uint64]*request{}}
	lead.ctx, lead.end = context.WithCancel(ctx)
	r.state, r.leaderID, r.commit, r.leadership, r.heard = leader, r.id, applied, lead, time.Now()
	next, reconciling := index+1, applied < index
	if reconciling {
		r.reconciling, next = true, index
	}
	for id := range r.servers {
		r.follow(lead, id, next)
	}
	lead.beat()
	r.mu.Unlock()
	if reconciling {
		r.threads.Go(func() { r.reconcile(index) })
	}
	r.logf("oned is now the leader of the zone")
}

// reconcile applies what earlier leaders left in the log, when most of the servers have it. Until then there are no other writes.
func (r *raft) reconcile(index uint64) {
	r.logf("Replicating log to followers")
	if err := r.replicate(index); err != nil {
		r.output.logf(levelError, "DBM", "%v", err)
	}
	r.logf("Leader log replicated")
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reconciling = false
}

// follow begins to send records, from the given one on, and heartbeats to another server.
func (r *raft) follow(lead *leadership, id int, next uint64) {
	if id == r.id || lead.others[id] != nil {
		return
	}
	o := &other{next: next, record: make(chan struct{}, 1), beat: make(chan struct{}, 1)}
	lead.others[id] = o
	r.threads.Go(func() {
		for signalled(lead.ctx, o.beat) {
			r.heartbeat(lead, id)
		}
	})
	r.threads.Go(func() { r.sendRecords(lead, id, o) })
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
	r.leadership.servers++
	r.logf("Starting replication and heartbeat threads for follower: %d", id)
	r.follow(r.leadership, id, index+1)
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
	r.mu.Lock()
	next, term := o.next, r.term
	r.mu.Unlock()
	if len(o.read) == 0 || o.read[0].index != next {
		var err error
		if o.read, err = r.log.from(next); err != nil {
			return err
		}
	}
	accepted, theirs, err := r.sendTo(lead, id, o.read[0])
	switch {
	case err != nil:
		return fmt.Errorf("log record %d: %w", next, err)
	case accepted:
		o.read = o.read[1:]
		r.replicated(lead, o, next)
	case theirs > term:
		r.discover(id, theirs, term)
	default:
		r.mu.Lock()
		o.next -= min(o.next, 1)
		notify(o.record)
		r.mu.Unlock()
	}
	return nil
}

// replicated notes that another server has a record, and tells who waits for it when enough of them have.
func (r *raft) replicated(lead *leadership, o *other, index uint64) {
	end, _ := r.log.end()
	r.mu.Lock()
	defer r.mu.Unlock()
	o.next = index + 1
	if waiting := lead.requests[index]; waiting != nil {
		if waiting.missing--; waiting.missing <= 0 {
			r.commit = index
			delete(lead.requests, index)
			close(waiting.done)
		}
	}
	if end > index && r.leadership == lead {
		notify(o.record)
	}
}

// heartbeat tells another server that there is a leader.
func (r *raft) heartbeat(lead *leadership, id int) {
	term := r.currentTerm()
	if accepted, theirs, err := r.sendTo(lead, id, logRecord{}); err == nil && !accepted && theirs > term {
		r.discover(id, theirs, term)
	}
}

// discover ends a leadership that another server knows to be over.
func (r *raft) discover(id int, theirs, ours uint32) {
	r.logf("Follower %d term (%d) is higher than current (%d)", id, theirs, ours)
	r.stepDown(theirs)
}

// await has a record sent to all who lack it, and waits until most of the servers have it, or until the leadership ends.
func (r *raft) await(index uint64) bool {
	r.mu.Lock()
	lead := r.leadership
	if lead == nil {
		r.mu.Unlock()
		return false
	}
	missing := lead.servers / 2
	for _, o := range lead.others {
		if index < o.next {
			missing--
		} else {
			notify(o.record)
		}
	}
	if missing <= 0 {
		r.commit = index
		r.mu.Unlock()
		return true
	}
	waiting := &request{missing: missing, done: make(chan struct{})}
	lead.requests[index] = waiting
	r.mu.Unlock()
	select {
	case <-waiting.done:
		return true
	case <-lead.ctx.Done():
		return false
	}
}
