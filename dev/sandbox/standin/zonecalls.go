package standin

import (
	"encoding/xml"
	"errors"
	"fmt"
)

// notAllowed refuses a user who is not in the group of oneadmin.
func notAllowed(caller *user, what string) *rpcError {
	if caller.GID == oneadminGroup {
		return nil
	}
	return failure(codeAuthorization, fmt.Sprintf("User [%d] %s.", caller.ID, what))
}

const (
	adminOfZone  = ": Not authorized to perform ADMIN ZONE [0]"
	actionOnZone = "not authorized to perform action on zone"
)

func (d *daemon) zoneInfo(_ *database, _ *user, params []value) (value, *rpcError) {
	z, failed := d.zone(params)
	if failed != nil {
		return value{}, failed
	}
	document, err := xml.Marshal(z)
	if err != nil {
		return value{}, failure(codeInternal, err.Error())
	}
	return stringValue(string(document)), nil
}

// zone is the zone that a call is about: its first parameter after the session.
func (d *daemon) zone(params []value) (*zone, *rpcError) {
	if len(params) == 0 {
		return nil, failure(codeAPI, "The id of a zone is missing.")
	}
	id, err := params[0].int()
	if err != nil {
		return nil, failure(codeAPI, err.Error())
	}
	z, err := d.server.readZone(id)
	if errors.Is(err, errNoZone) {
		return nil, &rpcError{codeNoExists, fmt.Sprintf("Error getting zone [%d].", id), id}
	}
	if err != nil {
		return nil, failure(codeInternal, err.Error())
	}
	return z, nil
}

// zoneAddServer puts a server into the pool of the zone, and answers with the id of the zone.
func (d *daemon) zoneAddServer(_ *database, caller *user, params []value) (value, *rpcError) {
	if id, err := firstInt(params); err != nil || len(params) < 2 {
		return value{}, failure(codeAPI, "The id of a zone and a template of a server are needed.")
	} else if id != zoneID {
		return value{}, failure(codeAction, "Servers have to be added through the target zone endpoints")
	}
	if refused := notAllowed(caller, adminOfZone); refused != nil {
		return value{}, refused
	}
	d.allocating.Lock()
	defer d.allocating.Unlock()
	z, failed := d.zone(params)
	if failed != nil {
		return value{}, failed
	}
	id, endpoint, err := z.addServer(params[1].string())
	if err != nil {
		return value{}, failure(codeAction, err.Error())
	}
	statement, err := z.statement("UPDATE")
	if err == nil {
		err = d.exec(statement)
	}
	if err != nil {
		return value{}, failure(codeInternal, err.Error())
	}
	d.raft.addServer(id, endpoint)
	return intValue(z.ID), nil
}

func firstInt(params []value) (int, error) {
	if len(params) == 0 {
		return 0, errors.New("there is no parameter")
	}
	return params[0].int()
}

func (d *daemon) zoneRaftStatus(_ *database, caller *user, _ []value) (value, *rpcError) {
	if refused := notAllowed(caller, adminOfZone); refused != nil {
		return value{}, refused
	}
	return stringValue(d.raft.status()), nil
}

// zoneReplicate takes a record or a heartbeat: the id of the leader, what it has committed, its term; the record's index and term, the index
// and term of the one before, its index in a federation, and its statement.
func (d *daemon) zoneReplicate(_ *database, caller *user, params []value) (value, *rpcError) {
	return d.protocol(caller, params, 8, func(n []int64) *rpcError {
		sql, failed := stringParameter(params, 8)
		if failed != nil {
			return failed
		}
		return action(d.raft.receive(entry{
			leader: int(n[0]), commit: uint64(n[1]), leaderTerm: uint32(n[2]),
			record: logRecord{index: uint64(n[3]), term: uint32(n[4]), prevIndex: uint64(n[5]), prevTerm: uint32(n[6]), sql: sql},
		}))
	})
}

// zoneVoteRequest answers a candidate: its term, its id, and the index and the term of its newest record.
func (d *daemon) zoneVoteRequest(_ *database, caller *user, params []value) (value, *rpcError) {
	return d.protocol(caller, params, 4, func(n []int64) *rpcError {
		if n[1] < 0 {
			return failure(codeInternal, "")
		}
		return action(d.raft.vote(uint32(n[0]), int(n[1]), uint64(n[2]), uint32(n[3])))
	})
}

// action is a call that fails for what the server knows.
func action(err error) *rpcError {
	if err == nil {
		return nil
	}
	return failure(codeAction, err.Error())
}

// protocol answers a call of another server, whose first parameters are so many numbers, with the term from before the call.
func (d *daemon) protocol(caller *user, params []value, numbers int, act func([]int64) *rpcError) (value, *rpcError) {
	term := termValue(d.raft.currentTerm())
	refused := notAllowed(caller, actionOnZone)
	if refused == nil {
		given := make([]int64, numbers)
		for i := range given {
			if i >= len(params) {
				return value{}, badParameter("Not enough parameters")
			}
			var err error
			if given[i], err = params[i].long(); err != nil {
				return value{}, badParameter("Parameter that is supposed to be integer is not")
			}
		}
		refused = act(given)
	}
	if refused != nil {
		refused.id = *term.I4
		return value{}, refused
	}
	return term, nil
}
