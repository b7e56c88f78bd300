package standin

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// raftSettings are what the sections FEDERATION and RAFT of oned.conf say about high availability.
type raftSettings struct {
	// serverID is the id of this server in its zone, solo when it is the only one.
	serverID int
	// retention is how many applied records stay in the log, purgeLimit how many go at a time.
	retention, purgeLimit                   int
	purgeEvery, election, broadcast, answer time.Duration
}

// alone is the id of a server that is the only one of its zone.
const alone = -1

// readRaftSettings reads the settings, with oned's own values for what is not there.
func readRaftSettings(config map[string]string) (s raftSettings, err error) {
	s.serverID = alone
	// oned takes what is no number for no id.
	if id, err := strconv.Atoi(config["FEDERATION.SERVER_ID"]); err == nil && id >= 0 {
		s.serverID = id
	}
	number := func(name string, unset int) int {
		text := strings.TrimSpace(config["RAFT."+name])
		if text == "" {
			return unset
		}
		n, parse := strconv.Atoi(text)
		if (parse != nil || n < 0) && err == nil {
			err = fmt.Errorf("%s: RAFT: %s: a number from 0 on was expected, found %q", configFile, name, text)
		}
		return n
	}
	milliseconds := func(name string, unset int) time.Duration {
		return time.Duration(number(name, unset)) * time.Millisecond
	}
	s.retention, s.purgeLimit = number("LOG_RETENTION", 500000), number("LIMIT_PURGE", 100000)
	s.purgeEvery = time.Duration(number("LOG_PURGE_TIMEOUT", 600)) * time.Second
	s.election, s.broadcast = milliseconds("ELECTION_TIMEOUT_MS", 1500), milliseconds("BROADCAST_TIMEOUT_MS", 500)
	s.answer = milliseconds("XMLRPC_TIMEOUT_MS", 100)
	return s, err
}

// hookRecords reads how many records of its executions a hook keeps.
func hookRecords(config map[string]string) (int, error) {
	text := cmp.Or(config["HOOK_LOG_CONF.LOG_RETENTION"], "20")
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		return 0, fmt.Errorf("%s: HOOK_LOG_CONF: LOG_RETENTION: a number from 1 on was expected, found %q", configFile, text)
	}
	return n, nil
}

// RaftTimes are those times of the servers of a zone that oned.conf does not set.
type RaftTimes struct {
	// WarmUp is how long a server waits, besides the time for an election, before its first one.
	WarmUp time.Duration
	// Tick is how often it looks whether a heartbeat or an election is due.
	Tick time.Duration
}

// onedTimes are oned's own.
func onedTimes() RaftTimes {
	return RaftTimes{WarmUp: 15 * time.Second, Tick: 50 * time.Millisecond}
}
