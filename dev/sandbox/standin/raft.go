package standin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// memberState is what a server is at a time, with oned's numbers.
type memberState int

const (
	solo memberState = iota
	candidate
	follower
	leader
)

// zoneID is the zone that the stand-in is in: it knows no federation.
const zoneID = 0

// raft keeps the database of a server the same as those of the other servers of its zone. It follows oned in all but one thing: oned takes
// the commit index of a heartbeat for its whole log, also for records that the leader does not have, and applies those. Here a follower
// counts only those records that the leader has sent it or found at it, and the leader begins with the newest one.
type raft struct {
	id       int
	settings raftSettings
	times    RaftTimes
	log      *logDB
	// session is what the server says who it is with, to the others.
	session func() (string, error)
	client  *http.Client

	output *onedLogger

	// incoming keeps a vote and a record from passing each other, saving the newest state from being overwritten by an older one.
	incoming, saving sync.Mutex

	mu             sync.Mutex
	state          memberState
	term, votedFor int
	commit         uint64
	leaderID       int
	servers        map[int]string
	heard          time.Time
	reconciling    bool
	leadership     *leadership
	// confirmed is the newest record that the leader of this term has as well.
	confirmed uint64

	threads sync.WaitGroup
}

// newRaft reads what the server remembers.
func newRaft(s raftSettings, times RaftTimes, log *logDB, session func() (string, error), output *onedLogger) (*raft, error) {
	r := &raft{
		id: s.serverID, settings: s, times: times, log: log, session: session, output: output, leaderID: alone,
		client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: maxConnections}},
		heard:  time.Now().Add(times.WarmUp),
	}
	var err error
	if r.term, r.votedFor, err = log.loadState(); err != nil {
		return nil, err
	}
	if r.id == alone {
		return r, nil
	}
	r.state = follower
	r.logf("oned started in follower mode")
	r.servers, err = log.server.endpoints(zoneID)
	return r, err
}

func (r *raft) logf(format string, args ...any) {
	r.output.logf(levelInfo, "RCM", format, args...)
}

// run takes part in the zone until ctx is done.
func (r *raft) run(ctx context.Context) {
	if r.id == alone {
		return
	}
	tick, purge := time.NewTicker(r.times.Tick), time.NewTicker(max(r.settings.purgeEvery, time.Second))
	defer tick.Stop()
	defer purge.Stop()
	for {
		select {
		case <-ctx.Done():
			r.stepDown(0)
			r.threads.Wait()
			r.client.CloseIdleConnections()
			return
		case <-tick.C:
			r.tick(ctx)
		case <-purge.C:
			if err := r.log.purge(r.settings.retention, r.settings.purgeLimit); err != nil {
				r.logf("Purging obsolete LogDB records: %v", err)
			}
		}
	}
}

// tick sends a heartbeat or begins an election, when it is time.
func (r *raft) tick(ctx context.Context) {
	r.mu.Lock()
	silent := time.Since(r.heard)
	switch {
	case r.state == leader && silent >= r.settings.broadcast:
		r.leadership.beat()
		r.heard = time.Now()
	case r.state == follower && silent >= r.settings.election:
		r.state = candidate
		r.mu.Unlock()
		r.logf("Failed to get heartbeat from leader. Starting election process")
		r.elect(ctx)
		return
	}
	r.mu.Unlock()
}

// stepDown makes the server a follower, in a term that is newer than its own or, with 0, in its own.
func (r *raft) stepDown(term int) {
	applied, err := r.log.setup()
	if err != nil {
		r.logf("%v", err)
	}
	r.mu.Lock()
	if r.leadership != nil {
		r.leadership.end()
		r.leadership = nil
	}
	r.state, r.leaderID, r.reconciling, r.confirmed = follower, alone, false, 0
	if err == nil {
		r.commit = applied
	}
	newer := term > r.term
	if newer {
		r.term, r.votedFor = term, alone
	}
	r.mu.Unlock()
	r.logf("oned is set to follower mode")
	if newer {
		if err := r.save(); err != nil {
			r.logf("%v", err)
		}
	}
}

// save writes the term and the vote, as they are now, into the database.
func (r *raft) save() error {
	r.saving.Lock()
	defer r.saving.Unlock()
	r.mu.Lock()
	term, votedFor := r.term, r.votedFor
	r.mu.Unlock()
	if err := r.log.saveState(term, votedFor); err != nil {
		return fmt.Errorf("write RAFT_STATE to the database: %w", err)
	}
	return nil
}

var (
	errFollower     = errors.New("Tried to modify DB being a follower")
	errUnreplicated = errors.New("Cannot replicate log record on followers")
)

// exec changes the database: it returns when most of the servers have the change, and this one has applied it.
func (r *raft) exec(sql string) error {
	r.mu.Lock()
	lead := r.leadership
	r.mu.Unlock()
	if lead == nil {
		return errFollower
	}
	index, err := r.log.add(lead.term, sql, func() bool { return r.leads(lead) })
	if err != nil {
		return fmt.Errorf("Cannot insert log record in DB: %w", err)
	}
	return r.replicate(lead, index)
}

func (r *raft) currentTerm() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.term
}

// leads tells whether a leadership is not over.
func (r *raft) leads(lead *leadership) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.leadership == lead
}

// replicate waits until most of the servers have a record, and applies it.
func (r *raft) replicate(lead *leadership, index uint64) error {
	var replicated bool
	timeout := time.NewTimer(r.times.Replication)
	defer timeout.Stop()
	select {
	case replicated = <-r.await(lead, index):
	case <-timeout.C:
	}
	if !r.leads(lead) {
		return errors.New("Not applying log record, oned is now a follower")
	}
	if !replicated {
		return errUnreplicated
	}
	return r.log.apply(index)
}

// status is the XML document that tells what the server is at the moment.
func (r *raft) status() string {
	index, term := r.log.end()
	r.mu.Lock()
	defer r.mu.Unlock()
	last := fmt.Sprintf("<LOG_INDEX>%d</LOG_INDEX><LOG_TERM>%d</LOG_TERM>", index, term)
	if r.state == solo {
		last = "<LOG_INDEX>-1</LOG_INDEX><LOG_TERM>-1</LOG_TERM>"
	}
	return fmt.Sprintf("<RAFT><SERVER_ID>%d</SERVER_ID><STATE>%d</STATE><TERM>%d</TERM><VOTEDFOR>%d</VOTEDFOR><COMMIT>%d</COMMIT>%s"+
		"<FEDLOG_INDEX>-1</FEDLOG_INDEX></RAFT>", r.id, r.state, r.term, r.votedFor, r.commit, last)
}

// route tells where a call goes that only the leader answers: to its end point, to this server ("") or, with an error, nowhere.
func (r *raft) route() (endpoint string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.state == follower:
		if endpoint = r.servers[r.leaderID]; endpoint == "" {
			return "", errors.New("Cannot process request, no leader found")
		}
	case r.state == candidate:
		return "", errors.New("Cannot process request, oned cluster in election mode")
	case r.reconciling:
		return "", errors.New("Cannot process request, oned cluster is replicating log")
	}
	return endpoint, nil
}
