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

// raft keeps the database of a server the same as those of the other servers of its zone. It follows oned, also where that loses or invents something:
// a follower takes the commit index of a heartbeat for its whole log, and applies records that the leader does not have; a vote that is given does not
// put off an election; a login that another server refuses is read as the highest term there is, and saved; a leader that hears of no follower
// goes on, and its writes wait without a limit. Calls of other servers pass each other, and so do writes of the state.
type raft struct {
	id       int
	settings raftSettings
	times    RaftTimes
	log      *logDB
	// session is what the server says who it is with, to the others.
	session func() (string, error)
	client  *http.Client

	output *onedLogger

	mu          sync.Mutex
	state       memberState
	term        uint32
	votedFor    int
	commit      uint64
	leaderID    int
	servers     map[int]string
	heard       time.Time
	reconciling bool
	leadership  *leadership
	threads     sync.WaitGroup
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
func (r *raft) stepDown(term uint32) {
	applied, err := r.log.setup()
	if err != nil {
		r.logf("%v", err)
	}
	r.mu.Lock()
	if r.leadership != nil {
		r.leadership.end()
		r.leadership = nil
	}
	r.state, r.leaderID, r.commit = follower, alone, applied
	newer := term > r.term
	if newer {
		r.term, r.votedFor = term, alone
	}
	votedFor := r.votedFor
	r.mu.Unlock()
	r.logf("oned is set to follower mode")
	if newer {
		r.save(term, votedFor)
	}
}

// save writes a term and a vote into the database.
func (r *raft) save(term uint32, votedFor int) {
	if err := r.log.saveState(term, votedFor); err != nil {
		r.logf("write RAFT_STATE to the database: %v", err)
	}
}

var (
	errFollower     = errors.New("Tried to modify DB being a follower")
	errNoLonger     = errors.New("Not applying log record, oned is now a follower")
	errUnreplicated = errors.New("Cannot replicate log record on followers: oned is now follower")
)

// exec changes the database: it returns when most of the servers have the change, and this one has applied it, or when the server leads no longer.
func (r *raft) exec(sql string) error {
	err := r.write(sql)
	if err != nil {
		r.output.logf(levelError, "DBM", "%v", err)
	}
	return err
}

func (r *raft) write(sql string) error {
	r.mu.Lock()
	lead, term := r.leadership, r.term
	r.mu.Unlock()
	if lead == nil {
		return errFollower
	}
	index, err := r.log.add(term, sql)
	if err != nil {
		return fmt.Errorf("Cannot insert log record in DB: %w", err)
	}
	return r.replicate(index)
}

func (r *raft) currentTerm() uint32 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.term
}

// leads tells whether the server is the leader at the moment, in whichever term.
func (r *raft) leads() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state == leader
}

// replicate waits until most of the servers have a record, and applies it.
func (r *raft) replicate(index uint64) error {
	replicated := r.await(index)
	switch {
	case !r.leads():
		return errNoLonger
	case !replicated:
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
