package standin

import (
	"context"
	"crypto/subtle"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
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
	codeAllocate       = 0x4000
)

// Faults of XML-RPC: a call that is not one, a method that the server does not have, and a parameter that is missing or of another type.
const (
	faultType     = -501
	faultParse    = -503
	faultNoMethod = -506
)

// maxConnections is how many requests oned answers at the same time (MAX_CONN in oned.conf), calls or not; others wait.
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
	log        *onedLogger
	// hookRecords is how many records of its executions a hook keeps.
	hookRecords int
	worker
}

// rpcError is a call that fails: the text and the code that the caller gets, and the number of what it is about.
type rpcError struct {
	code    int
	message string
	id      int
}

func failure(code int, message string) *rpcError { return &rpcError{code, message, -1} }

// method is what a call does. Any server answers one that is anyone's, the leader the others.
type method struct {
	answer func(db *database, caller *user, params []value) (value, *rpcError)
	anyone bool
}

func (d *daemon) methods() map[string]method {
	calls := d.objectMethods()
	maps.Copy(calls, d.vmMethods())
	maps.Copy(calls, d.showbackMethods())
	maps.Copy(calls, map[string]method{
		"one.hook.allocate":    {d.hookAllocate, false},
		"one.hook.delete":      {d.hookDelete, false},
		"one.hook.info":        {d.hookInfo, true},
		"one.hook.unlock":      {d.hookUnlock, false},
		"one.hookpool.info":    {d.hookPoolInfo, true},
		"one.system.version":   {d.systemVersion, false},
		"one.user.allocate":    {d.userAllocate, false},
		"one.user.info":        {d.userInfo, true},
		"one.user.passwd":      {d.userPasswd, false},
		"one.userpool.info":    {d.userPoolInfo, true},
		"one.zone.addserver":   {d.zoneAddServer, false},
		"one.zone.info":        {d.zoneInfo, true},
		"one.zone.raftstatus":  {d.zoneRaftStatus, true},
		"one.zone.replicate":   {d.zoneReplicate, true},
		"one.zone.voterequest": {d.zoneVoteRequest, true},
	})
	return calls
}

func (d *daemon) answer(ctx context.Context, request methodCall) methodResponse {
	method, ok := d.methods()[request.Method]
	if !ok {
		return faultResponse(faultNoMethod, fmt.Sprintf("Method '%s' not defined", request.Method))
	}
	if len(request.Params) == 0 {
		return faultResponse(faultType, "Not enough parameters")
	}
	// oned tells requests apart by a number that is no more than that.
	id := rand.IntN(10000)
	db, caller := d.authenticate(request.Params)
	uid := "-"
	if caller != nil {
		uid = strconv.Itoa(caller.ID)
	}
	d.log.logf(levelDebug, "ReM", "Req:%d UID:%s %s invoked", id, uid, request.Method)
	if caller == nil {
		return d.refuse(id, uid, request.Method, failure(codeAuthentication, "User couldn't be authenticated, aborting call."))
	}
	if !method.anyone {
		endpoint, err := d.raft.route()
		var answer methodResponse
		if err == nil && endpoint != "" {
			answer, err = d.raft.forward(ctx, endpoint, request)
		}
		if err != nil {
			return d.refuse(id, uid, request.Method, failure(codeInternal, err.Error()))
		}
		if endpoint != "" {
			d.publish(request, nil)
			return answer
		}
	}
	result, err := method.answer(db, caller, request.Params[1:])
	var answer methodResponse
	switch {
	case err != nil && err.code == faultType:
		return faultResponse(faultType, err.message)
	case err != nil:
		answer = d.refuse(id, uid, request.Method, err)
	default:
		answer = respond(boolValue(true), result, intValue(0))
		d.log.logf(levelDebug, "ReM", "Req:%d UID:%s %s result SUCCESS, %.20q...", id, uid, request.Method, result.scalar())
	}
	d.publish(request, *answer.Params[0].Array)
	return answer
}

// publish tells hook managers of a call.
func (d *daemon) publish(request methodCall, result []value) {
	if err := d.hooks.publish(request, result); err != nil {
		d.log.logf(levelError, "HKM", "event of %s: %v", request.Method, err)
	}
}

// refuse answers that a call fails, and logs that.
func (d *daemon) refuse(id int, uid, method string, err *rpcError) methodResponse {
	message := fmt.Sprintf("[%s] %s", method, err.message)
	d.log.logf(levelError, "ReM", "Req:%d UID:%s %s result FAILURE %s", id, uid, method, message)
	return respond(boolValue(false), stringValue(message), intValue(err.code), intValue(err.id), longValue(-1))
}

// faultResponse answers what is no call that oned knows.
func faultResponse(code int, message string) methodResponse {
	return methodResponse{Fault: &fault{Members: []member{
		{Name: "faultCode", Value: intValue(code)}, {Name: "faultString", Value: stringValue(message)},
	}}}
}

func respond(values ...value) methodResponse {
	return methodResponse{Params: []value{{Array: &values}}}
}

// authenticate finds the user of the session, name:password, that every call has as its first parameter. A session without a password
// is refused before the database is asked. With a database that does not answer there is no such user.
func (d *daemon) authenticate(params []value) (*database, *user) {
	name, password, ok := strings.Cut(params[0].string(), ":")
	if !ok {
		return nil, nil
	}
	db, err := d.server.read()
	if err != nil {
		d.log.logf(levelError, "ONE", "MySQL connection error: %v... Reconnection attempt failed.", err)
		return nil, nil
	}
	u := db.userNamed(name)
	if u != nil && u.Driver == cipherDriver {
		return db, d.authenticateServer(db, u, password)
	}
	if u == nil || u.Driver != coreDriver || subtle.ConstantTimeCompare([]byte(u.Password), []byte(hash(password))) != 1 {
		return nil, nil
	}
	return db, u
}

func (d *daemon) systemVersion(*database, *user, []value) (value, *rpcError) {
	return stringValue(d.version), nil
}

// badParameter is a parameter that is missing or of another type.
func badParameter(message string) *rpcError { return failure(faultType, message) }

// intParameter is a parameter that is to be an integer. The session counts as none.
func intParameter(params []value, i int) (int, *rpcError) {
	if i >= len(params) {
		return 0, badParameter("Not enough parameters")
	}
	n, err := params[i].int()
	if err != nil {
		return 0, badParameter("Parameter that is supposed to be integer is not")
	}
	return n, nil
}

// stringParameter is a parameter that is to be a string.
func stringParameter(params []value, i int) (string, *rpcError) {
	if i >= len(params) {
		return "", badParameter("Not enough parameters")
	}
	if _, err := params[i].long(); err == nil {
		return "", badParameter("Parameter that is supposed to be a string is not")
	}
	return params[i].string(), nil
}

// target is the user that a call is about: its first parameter after the session. -1 is the caller.
func target(db *database, caller *user, params []value) (*user, *rpcError) {
	id, failed := intParameter(params, 0)
	if failed != nil {
		return nil, failed
	}
	if id == -1 {
		return caller, nil
	}
	u := db.user(id)
	if u == nil {
		return nil, &rpcError{codeNoExists, fmt.Sprintf("Error getting user [%d].", id), id}
	}
	if caller.GID != oneadminGroup && caller.ID != u.ID {
		return nil, failure(codeAuthorization, fmt.Sprintf("User [%d] : Not authorized to perform MANAGE USER [%d].", caller.ID, id))
	}
	return u, nil
}

// defaultQuotas are those of users that have none, which every answer about users tells.
func (d *daemon) defaultQuotas() (string, *rpcError) {
	quotas, err := d.server.run("SELECT body FROM system_attributes WHERE name = 'DEFAULT_USER_QUOTAS';")
	if err != nil {
		return "", failure(codeInternal, err.Error())
	}
	return quotas, nil
}

func (d *daemon) userInfo(db *database, caller *user, params []value) (value, *rpcError) {
	u, failed := target(db, caller, params)
	if failed != nil {
		return value{}, failed
	}
	quotas, failed := d.defaultQuotas()
	if failed != nil {
		return value{}, failed
	}
	return stringValue(u.document(noQuota + quotas)), nil
}

// userPoolInfo answers with all users, the newest first.
func (d *daemon) userPoolInfo(db *database, caller *user, _ []value) (value, *rpcError) {
	if caller.GID != oneadminGroup {
		return value{}, failure(codeAuthorization, fmt.Sprintf("User [%d] : Not authorized to perform USE USER [-1].", caller.ID))
	}
	quotas, failed := d.defaultQuotas()
	if failed != nil {
		return value{}, failed
	}
	var pool strings.Builder
	for _, u := range slices.Backward(db.Users) {
		fmt.Fprintf(&pool, "%s<QUOTAS><ID>%d</ID>%s</QUOTAS>", u.document(""), u.ID, noQuota)
	}
	return stringValue("<USER_POOL>" + pool.String() + quotas + "</USER_POOL>"), nil
}

// userAllocate makes a user of a name, a password and an authentication driver, and answers with its id when the database has it.
func (d *daemon) userAllocate(_ *database, caller *user, params []value) (value, *rpcError) {
	if caller.GID != oneadminGroup {
		return value{}, failure(codeAuthorization, fmt.Sprintf("User [%d] : Not authorized to perform CREATE USER.", caller.ID))
	}
	made := user{GID: usersGroup, GName: "users", Enabled: 1}
	for i, field := range []*string{&made.Name, &made.Password, &made.Driver} {
		var failed *rpcError
		if *field, failed = stringParameter(params, i); failed != nil {
			return value{}, failed
		}
	}
	if made.Driver == "" {
		made.Driver = coreDriver
	}
	refused := func(text string) (value, *rpcError) {
		return value{}, failure(codeInternal, text)
	}
	if made.Password == "" {
		return refused("Invalid password, it cannot be empty.")
	}
	if made.Name == "" {
		return refused("Invalid NAME, it cannot be empty.")
	}
	d.allocating.Lock()
	defer d.allocating.Unlock()
	db, err := d.server.read()
	if err != nil {
		return value{}, failure(codeInternal, err.Error())
	}
	if has := db.userNamed(made.Name); has != nil {
		return refused(fmt.Sprintf("NAME is already taken by USER %d.", has.ID))
	}
	if made.Driver == coreDriver {
		made.Password = hash(made.Password)
	}
	if made.ID, err = d.nextID("user_pool"); err != nil {
		return value{}, failure(codeInternal, err.Error())
	}
	if made.Template, err = tokenPassword(); err != nil {
		return value{}, failure(codeInternal, err.Error())
	}
	statements, err := d.server.insertUser(made)
	if err == nil {
		err = d.exec(statements...)
	}
	if err != nil {
		return value{}, failure(codeInternal, err.Error())
	}
	return intValue(made.ID), nil
}

// nextID is an id that nothing in a pool has had.
func (d *daemon) nextID(pool string) (int, error) {
	return d.number("SELECT COALESCE(MAX(last_oid), -1) + 1 FROM pool_control WHERE tablename = " + text(pool) + ";")
}

// exec changes the database, and those of the other servers.
func (d *daemon) exec(statements ...string) error {
	if d.raft.id == alone {
		_, err := d.server.run(script(statements...))
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
	changed := *u
	if changed.Password, failed = stringParameter(params, 1); failed != nil {
		return value{}, failed
	}
	if changed.Password == "" {
		return value{}, failure(codeInternal, "Invalid password, it cannot be empty")
	}
	if u.Driver == coreDriver {
		// Users of the other drivers send a hash already.
		changed.Password = hash(changed.Password)
	}
	if err := d.exec(changed.statement()); err != nil {
		return value{}, failure(codeInternal, err.Error())
	}
	return intValue(u.ID), nil
}
