package standin

import (
	"context"
	"crypto/subtle"
	"encoding/xml"
	"fmt"
	"net/http"
	"strings"
	"sync"
)

// Error codes of OpenNebula's XML-RPC interface.
const (
	codeAuthentication = 0x0100
	codeAuthorization  = 0x0200
	codeNoExists       = 0x0400
	codeAction         = 0x0800
	codeAPI            = 0x1000
	codeInternal       = 0x2000
)

// faultNoMethod is the XML-RPC fault of a method that the server does not have.
const faultNoMethod = -506

// maxConnections is how many calls oned answers at the same time (MAX_CONN in oned.conf); others wait.
const maxConnections = 15

// daemon answers the XML-RPC calls of a running oned. Like that it asks its database at each call: it holds no users in memory.
type daemon struct {
	host    Host
	version string
	slots   chan struct{}
	server  server
	raft    *raft
	// allocating keeps two calls from taking the same id.
	allocating sync.Mutex
	hooks      *hookDriver
	// hookRecords is how many records of its executions a hook keeps.
	hookRecords int
}

// rpcError is a call that fails: the text and the code that the caller gets, and the number of what it is about.
type rpcError struct {
	code    int
	message string
	id      int
}

func failure(code int, message string) *rpcError { return &rpcError{code, message, -1} }

func (d *daemon) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		http.Error(w, "XML-RPC takes POST", http.StatusMethodNotAllowed)
		return
	}
	var request methodCall
	if err := readMessage(r.Body, &request); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "text/xml; charset=utf-8")
	// A client that is gone before its answer is no concern of the server.
	_ = writeMessage(w, d.answer(r.Context(), request))
}

// method is what a call does. Any server answers one that is anyone's, the leader the others.
type method struct {
	answer func(db *database, caller *user, params []value) (value, *rpcError)
	anyone bool
}

func (d *daemon) methods() map[string]method {
	return map[string]method{
		"one.hook.allocate":    {d.hookAllocate, false},
		"one.hook.delete":      {d.hookDelete, false},
		"one.hook.info":        {d.hookInfo, true},
		"one.hook.unlock":      {d.hookUnlock, false},
		"one.hookpool.info":    {d.hookPoolInfo, true},
		"one.system.version":   {d.systemVersion, false},
		"one.user.allocate":    {d.userAllocate, false},
		"one.user.info":        {d.userInfo, true},
		"one.user.passwd":      {d.userPasswd, false},
		"one.zone.addserver":   {d.zoneAddServer, false},
		"one.zone.info":        {d.zoneInfo, true},
		"one.zone.raftstatus":  {d.zoneRaftStatus, true},
		"one.zone.replicate":   {d.zoneReplicate, true},
		"one.zone.voterequest": {d.zoneVoteRequest, true},
	}
}

func (d *daemon) answer(ctx context.Context, request methodCall) methodResponse {
	d.slots <- struct{}{}
	defer func() { <-d.slots }()
	method, ok := d.methods()[request.Method]
	if !ok {
		return methodResponse{Fault: &fault{Members: []member{
			{Name: "faultCode", Value: intValue(faultNoMethod)},
			{Name: "faultString", Value: stringValue(fmt.Sprintf("Method '%s' not defined", request.Method))},
		}}}
	}
	db, caller := d.authenticate(request.Params)
	if caller == nil {
		return refuse(request.Method, failure(codeAuthentication, "User couldn't be authenticated, aborting."))
	}
	if !method.anyone {
		endpoint, err := d.raft.route()
		var answer methodResponse
		if err == nil && endpoint != "" {
			answer, err = d.raft.forward(ctx, endpoint, request)
		}
		if err != nil {
			return refuse(request.Method, failure(codeInternal, err.Error()))
		}
		if endpoint != "" {
			d.publish(request, nil)
			return answer
		}
	}
	result, err := method.answer(db, caller, request.Params[1:])
	answer := respond(boolValue(true), result, intValue(0))
	if err != nil {
		answer = refuse(request.Method, err)
	}
	d.publish(request, *answer.Params[0].Array)
	return answer
}

// publish tells hook managers of a call.
func (d *daemon) publish(request methodCall, result []value) {
	if err := d.hooks.publish(request, result); err != nil {
		_, _ = fmt.Fprintf(d.host.Stderr, "[HKM] event of %s: %v\n", request.Method, err)
	}
}

func refuse(method string, err *rpcError) methodResponse {
	return respond(boolValue(false), stringValue(fmt.Sprintf("[%s] %s", method, err.message)), intValue(err.code), intValue(err.id), longValue(-1))
}

func respond(values ...value) methodResponse {
	return methodResponse{Params: []value{{Array: &values}}}
}

// authenticate finds the user of the session, name:password, that every call has as its first parameter. A session without a password
// is refused before the database is asked. With a database that does not answer there is no such user.
func (d *daemon) authenticate(params []value) (*database, *user) {
	if len(params) == 0 {
		return nil, nil
	}
	name, password, ok := strings.Cut(params[0].string(), ":")
	if !ok {
		return nil, nil
	}
	db, err := d.server.read()
	if err != nil {
		_, _ = fmt.Fprintf(d.host.Stderr, "MySQL connection error: %v... Reconnection attempt failed.\n", err)
		return nil, nil
	}
	u := db.userNamed(name)
	if u == nil || u.Driver != coreDriver || subtle.ConstantTimeCompare([]byte(u.Password), []byte(hash(password))) != 1 {
		return nil, nil
	}
	return db, u
}

func (d *daemon) systemVersion(*database, *user, []value) (value, *rpcError) {
	return stringValue(d.version), nil
}

// target is the user that a call is about: its first parameter after the session. -1 is the caller.
func target(db *database, caller *user, params []value) (*user, *rpcError) {
	if len(params) == 0 {
		return nil, failure(codeAPI, "The id of a user is missing.")
	}
	id, err := params[0].int()
	if err != nil {
		return nil, failure(codeAPI, err.Error())
	}
	if id == -1 {
		return caller, nil
	}
	u := db.user(id)
	if u == nil {
		return nil, failure(codeNoExists, fmt.Sprintf("Error getting user [%d].", id))
	}
	if caller.ID != 0 && caller != u {
		return nil, failure(codeAuthorization, fmt.Sprintf("User [%d] : Not authorized to perform MANAGE USER [%d].", caller.ID, id))
	}
	return u, nil
}

// userDocument is the XML document that describes a user, with its elements in OpenNebula's order.
type userDocument struct {
	XMLName  xml.Name `xml:"USER"`
	ID       int      `xml:"ID"`
	GID      int      `xml:"GID"`
	Groups   []int    `xml:"GROUPS>ID"`
	GName    string   `xml:"GNAME"`
	Name     string   `xml:"NAME"`
	Password string   `xml:"PASSWORD"`
	Driver   string   `xml:"AUTH_DRIVER"`
	Enabled  int      `xml:"ENABLED"`
}

func (d *daemon) userInfo(db *database, caller *user, params []value) (value, *rpcError) {
	u, failed := target(db, caller, params)
	if failed != nil {
		return value{}, failed
	}
	document, err := u.document()
	if err != nil {
		return value{}, failure(codeInternal, err.Error())
	}
	return stringValue(document), nil
}

// userAllocate makes a user of a name, a password and an authentication driver, and answers with its id when the database has it.
func (d *daemon) userAllocate(_ *database, caller *user, params []value) (value, *rpcError) {
	if caller.ID != 0 {
		return value{}, failure(codeAuthorization, "Not authorized to perform CREATE USER.")
	}
	if len(params) < 3 || params[0].string() == "" || params[1].string() == "" {
		return value{}, failure(codeAPI, "A name, a password and an authentication driver are needed.")
	}
	made := user{Name: params[0].string(), Password: params[1].string(), Driver: params[2].string()}
	d.allocating.Lock()
	defer d.allocating.Unlock()
	db, err := d.server.read()
	if err != nil {
		return value{}, failure(codeInternal, err.Error())
	}
	if has := db.userNamed(made.Name); has != nil {
		return value{}, failure(codeInternal, fmt.Sprintf("NAME is already taken by USER %d.", has.ID))
	}
	if made.Driver == "" {
		made.Driver = coreDriver
	}
	if made.Driver == coreDriver {
		made.Password = hash(made.Password)
	}
	made.ID = db.Users[len(db.Users)-1].ID + 1
	return d.save(made, fmt.Sprintf("REPLACE INTO pool_control VALUES ('user_pool', %d);", made.ID))
}

// save answers with the id of a user when the database has it, and the statements before it.
func (d *daemon) save(u user, before ...string) (value, *rpcError) {
	statement, err := u.statement()
	if err == nil {
		err = d.exec(append(before, statement)...)
	}
	if err != nil {
		return value{}, failure(codeInternal, err.Error())
	}
	return intValue(u.ID), nil
}

// exec changes the database, and those of the other servers.
func (d *daemon) exec(statements ...string) error {
	if d.raft.id == alone {
		_, err := d.server.run("BEGIN;" + strings.Join(statements, "") + "COMMIT;")
		return err
	}
	for _, statement := range statements {
		if err := d.raft.exec(statement); err != nil {
			return err
		}
	}
	return nil
}

func (d *daemon) userPasswd(db *database, caller *user, params []value) (value, *rpcError) {
	u, failed := target(db, caller, params)
	if failed != nil {
		return value{}, failed
	}
	if len(params) < 2 || params[1].string() == "" {
		return value{}, failure(codeAPI, "The password cannot be empty.")
	}
	changed := *u
	changed.Password = params[1].string()
	if u.Driver == coreDriver {
		// Users of the other drivers send a hash already.
		changed.Password = hash(changed.Password)
	}
	return d.save(changed)
}
