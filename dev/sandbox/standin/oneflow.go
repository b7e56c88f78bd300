package standin

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Types of documents that OneFlow keeps, and states of services and of their roles.
const (
	serviceDocument, serviceTemplateDocument = 100, 101

	servicePending, serviceDeploying, serviceRunning, serviceUndeploying = 0, 1, 2, 3
	serviceFailedDeploying, serviceDeployingNets                         = 7, 11
)

var serviceStates = map[int]string{
	servicePending: "PENDING", serviceDeploying: "DEPLOYING", serviceRunning: "RUNNING", serviceUndeploying: "UNDEPLOYING",
	serviceFailedDeploying: "FAILED_DEPLOYING", serviceDeployingNets: "DEPLOYING_NETS",
}

// followEvery is how often OneFlow looks at the machines of a service that changes.
const followEvery = 100 * time.Millisecond

// flow is OneFlow's server.
type flow struct {
	host   Host
	log    *serviceLog
	oned   string
	action string
	// ctx ends with the server, and with it the work on services.
	ctx     context.Context
	working sync.WaitGroup
	// changing guards services against two changes at a time.
	changing sync.Mutex
}

// service is a service, or a template of one: an object of oned's whose template has the rest in JSON.
type flowService struct {
	id   int
	body map[string]any
}

func (h Host) oneflow(ctx context.Context) error {
	var config struct {
		Host   string  `yaml:":host"`
		Port   int     `yaml:":port"`
		XMLRPC string  `yaml:":one_xmlrpc"`
		Action string  `yaml:":shutdown_action"`
		Log    rubyLog `yaml:":log"`
	}
	if err := h.readYAML("/etc/one/oneflow-server.conf", &config); err != nil {
		return err
	}
	log, err := h.openServiceLog("/var/log/one/oneflow.log", config.Log.level())
	if err != nil {
		return err
	}
	defer closeQuietly(log.file)
	ctx, cancel := context.WithCancel(ctx)
	f := &flow{host: h, log: log, oned: cmp.Or(config.XMLRPC, defaultXMLRPC), action: cmp.Or(config.Action, "terminate"), ctx: ctx}
	defer f.working.Wait()
	defer cancel()
	log.ruby(infoLevel, "[ONEFLOW] Starting server")
	f.working.Go(f.catchUp)
	mux := http.NewServeMux()
	for pattern, handle := range map[string]func(*flowCall) (int, any, error){
		"GET /service": f.list(serviceDocument), "GET /service_template": f.list(serviceTemplateDocument),
		"GET /service/{id}": f.show(serviceDocument), "GET /service_template/{id}": f.show(serviceTemplateDocument),
		"POST /service_template": f.newTemplate, "POST /service_template/{id}/action": f.instantiate, "DELETE /service_template/{id}": f.removeTemplate,
		"DELETE /service/{id}": f.undeploy(false), "POST /service/{id}/action": f.recover,
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) { f.serve(w, r, handle) })
	}
	answer := func(w http.ResponseWriter, r *http.Request) {
		// Who is not known is told nothing, not even what there is.
		user, as, err := f.login(r)
		if err != nil {
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = io.WriteString(w, err.Error())
			return
		}
		mux.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), callKey{}, flowCall{user: user, as: as})))
	}
	return h.service(ctx, "oneflow_auth", config.Host, config.Port, h.listening, logged(h.Now, answer, func(_ int, line string) {
		log.ruby(infoLevel, line)
	}))
}

func (f *flow) logf(level int, format string, args ...any) {
	f.log.ruby(level, "[SER] "+fmt.Sprintf(format, args...))
}

// login asks oned whether it knows who makes a request.
func (f *flow) login(r *http.Request) (user string, as client, err error) {
	user, password, ok := r.BasicAuth()
	if !ok {
		return "", client{}, errors.New("A username and password must be provided")
	}
	if _, err := (client{f.oned, user + ":" + password}).call(r.Context(), "one.user.info", intValue(-1)); err != nil {
		return "", client{}, errors.New("Invalid credentials")
	}
	session, err := f.host.actFor("oneflow_auth", user)
	return user, client{f.oned, session}, err
}

// flowCall is a request of a user.
type flowCall struct {
	*http.Request
	user string
	as   client
}

// callKey is what a request has its user by.
type callKey struct{}

func (f *flow) serve(w http.ResponseWriter, r *http.Request, handle func(*flowCall) (int, any, error)) {
	c, _ := r.Context().Value(callKey{}).(flowCall)
	c.Request = r
	status, answer, err := handle(&c)
	if err != nil {
		status = http.StatusInternalServerError
		if refused, ok := errors.AsType[*refusedError](err); ok {
			status = cmp.Or(map[int]int{codeAuthorization: 401, codeAuthentication: 403, codeNoExists: 404}[refused.code], status)
		}
		if refused, ok := errors.AsType[*statusError](err); ok {
			status = refused.status
		}
		f.logf(errorLevel, "Error code %d: %v", status, err)
		http.Error(w, err.Error(), status)
		return
	}
	w.WriteHeader(status)
	if answer != nil {
		encoder := json.NewEncoder(w)
		encoder.SetIndent("", "  ")
		_ = encoder.Encode(answer)
	}
}

// body reads the JSON that a request has.
func (c *flowCall) body() (map[string]any, error) {
	given := map[string]any{}
	err := json.NewDecoder(io.LimitReader(c.Body, maxMessage)).Decode(&given)
	if err != nil {
		err = &statusError{http.StatusBadRequest, err.Error()}
	}
	return given, err
}

// described is a document with its JSON in place.
func described(document *node) (any, error) {
	hash := document.hash(map[string]any{}).(map[string]any)
	body := map[string]any{}
	if err := json.Unmarshal([]byte(document.get("TEMPLATE/BODY")), &body); err != nil {
		return nil, fmt.Errorf("document %s: %w", document.get("ID"), err)
	}
	hash["TEMPLATE"].(map[string]any)["BODY"] = body
	return hash, nil
}

func (f *flow) list(kind int) func(*flowCall) (int, any, error) {
	return func(c *flowCall) (int, any, error) {
		pool, err := c.as.document(c.Context(), "one.documentpool.info", intValue(-2), intValue(-1), intValue(-1), intValue(kind))
		if err != nil {
			return 0, nil, err
		}
		all := map[string]any{}
		var list []any
		for _, document := range pool.children {
			one, err := described(document)
			if err != nil {
				return 0, nil, err
			}
			list = append(list, one)
		}
		if list != nil {
			all["DOCUMENT"] = list
		}
		return http.StatusOK, map[string]any{"DOCUMENT_POOL": all}, nil
	}
}

// find reads the document that a request is about; one of another type is none.
func (c *flowCall) find(kind int) (*node, error) {
	id, err := strconv.Atoi(c.PathValue("id"))
	if err != nil {
		return nil, &statusError{http.StatusNotFound, fmt.Sprintf("[one.document.info] Error getting document [%s].", c.PathValue("id"))}
	}
	document, err := c.as.document(c.Context(), "one.document.info", intValue(id))
	if err == nil && document.number("TYPE") != kind {
		err = &statusError{http.StatusNotFound, fmt.Sprintf("[one.document.info] Error getting document [%d].", id)}
	}
	return document, err
}

func (f *flow) show(kind int) func(*flowCall) (int, any, error) {
	return func(c *flowCall) (int, any, error) { return c.answer(http.StatusOK, kind) }
}

func (c *flowCall) answer(status, kind int) (int, any, error) {
	document, err := c.find(kind)
	if err != nil {
		return 0, nil, err
	}
	shown, err := described(document)
	return status, map[string]any{"DOCUMENT": shown}, err
}

// allocate makes a document of JSON, and answers with it.
func (c *flowCall) allocate(kind int, body map[string]any) (int, any, error) {
	name, _ := body["name"].(string)
	encoded, err := json.Marshal(body)
	if err != nil {
		return 0, nil, err
	}
	template := elem("TEMPLATE", leaf("NAME", name), quoted("BODY", string(encoded)))
	id, err := c.as.call(c.Context(), "one.document.allocate", stringValue(template.String()), intValue(kind))
	if err != nil {
		return 0, nil, err
	}
	c.SetPathValue("id", id)
	return c.answer(http.StatusCreated, kind)
}

func (f *flow) newTemplate(c *flowCall) (int, any, error) {
	body, err := c.body()
	if err != nil {
		return 0, nil, err
	}
	roles, _ := body["roles"].([]any)
	for _, r := range roles {
		role, _ := r.(map[string]any)
		if _, ok := role["template_id"].(float64); !ok || role["name"] == nil {
			return 0, nil, &statusError{http.StatusBadRequest, "KEY: 'template_id' is required;"}
		}
	}
	if name, _ := body["name"].(string); name == "" || len(roles) == 0 {
		return 0, nil, &statusError{http.StatusBadRequest, "KEY: 'name' is required;"}
	}
	body["registration_time"] = f.host.Now().Unix()
	return c.allocate(serviceTemplateDocument, body)
}

func (f *flow) removeTemplate(c *flowCall) (int, any, error) {
	document, err := c.find(serviceTemplateDocument)
	if err != nil {
		return 0, nil, err
	}
	_, err = c.as.call(c.Context(), "one.document.delete", intValue(document.number("ID")))
	return http.StatusNoContent, nil, err
}

// perform is the action that a request asks for.
func (c *flowCall) perform() (what string, params map[string]any, err error) {
	body, err := c.body()
	action, _ := body["action"].(map[string]any)
	what, _ = action["perform"].(string)
	params, _ = action["params"].(map[string]any)
	return what, params, err
}

func (f *flow) instantiate(c *flowCall) (int, any, error) {
	what, params, err := c.perform()
	if err != nil {
		return 0, nil, err
	}
	if what != "instantiate" {
		return 0, nil, fmt.Errorf("Action %s not supported", what)
	}
	document, err := c.find(serviceTemplateDocument)
	if err != nil {
		return 0, nil, err
	}
	s, err := readService(document)
	if err != nil {
		return 0, nil, err
	}
	merge, _ := params["merge_template"].(map[string]any)
	for key, value := range merge {
		s.body[key] = value
	}
	for _, role := range s.roles() {
		role["state"] = servicePending
	}
	s.body["state"], s.body["start_time"] = servicePending, f.host.Now().Unix()
	status, shown, err := c.allocate(serviceDocument, s.body)
	if err != nil {
		return 0, nil, err
	}
	id, _ := strconv.Atoi(c.PathValue("id"))
	if err := f.change(c.as, id, func(s *flowService) error { f.enter(s, serviceDeployingNets); return nil }); err != nil {
		return 0, nil, err
	}
	f.follow(c.user, id)
	return status, shown, nil
}

// undeploy ends a service: one that runs or, when it has to go, one in any state.
func (f *flow) undeploy(force bool) func(*flowCall) (int, any, error) {
	return func(c *flowCall) (int, any, error) {
		document, err := c.find(serviceDocument)
		if err != nil {
			return 0, nil, err
		}
		id := document.number("ID")
		err = f.change(c.as, id, func(s *flowService) error {
			if state := s.state(); !force && state != serviceRunning && state != serviceUndeploying {
				return fmt.Errorf("Service cannot be undeployed in state: %s", serviceStates[state])
			}
			for _, vm := range s.machines() {
				if _, err := c.as.call(c.Context(), "one.vm.action", stringValue(f.action), intValue(vm)); err != nil {
					// A machine on its way ends when OneFlow looks again.
					f.logf(errorLevel, "%v", err)
				}
			}
			f.enter(s, serviceUndeploying)
			return nil
		})
		if err != nil {
			return 0, nil, err
		}
		f.follow(c.user, id)
		return http.StatusNoContent, nil, nil
	}
}

func (f *flow) recover(c *flowCall) (int, any, error) {
	what, params, err := c.perform()
	if err != nil {
		return 0, nil, err
	}
	if remove, _ := params["delete"].(bool); what != "recover" || !remove {
		return 0, nil, fmt.Errorf("Action %s not supported", what)
	}
	return f.undeploy(true)(c)
}

func readService(document *node) (*flowService, error) {
	s := &flowService{id: document.number("ID")}
	if err := json.Unmarshal([]byte(document.get("TEMPLATE/BODY")), &s.body); err != nil {
		return nil, fmt.Errorf("service %d: %w", s.id, err)
	}
	return s, nil
}

func number(v any) int {
	n, _ := v.(float64)
	return int(n)
}

func (s *flowService) state() int { return number(s.body["state"]) }

func (s *flowService) roles() (roles []map[string]any) {
	list, _ := s.body["roles"].([]any)
	for _, role := range list {
		if r, ok := role.(map[string]any); ok {
			roles = append(roles, r)
		}
	}
	return roles
}

func nodesOf(role map[string]any) (ids []int) {
	nodes, _ := role["nodes"].([]any)
	for _, node := range nodes {
		if n, ok := node.(map[string]any); ok {
			ids = append(ids, number(n["deploy_id"]))
		}
	}
	return ids
}

func (s *flowService) machines() (ids []int) {
	for _, role := range s.roles() {
		ids = append(ids, nodesOf(role)...)
	}
	return ids
}

// enter brings a service into a state, and says so in its log.
func (f *flow) enter(s *flowService, state int) {
	message := "New state: " + serviceStates[state]
	entries, _ := s.body["log"].([]any)
	s.body["log"] = append(entries, map[string]any{"timestamp": f.host.Now().Unix(), "severity": "I", "message": message})
	s.body["state"] = float64(state)
	f.logf(infoLevel, "%d %s", s.id, message)
}

// change reads a service, changes it, and writes it back.
func (f *flow) change(as client, id int, change func(*flowService) error) error {
	f.changing.Lock()
	defer f.changing.Unlock()
	document, err := as.document(f.ctx, "one.document.info", intValue(id))
	if err != nil {
		return err
	}
	s, err := readService(document)
	if err != nil {
		return err
	}
	before := document.get("TEMPLATE/BODY")
	if err := change(s); err != nil {
		return err
	}
	encoded, err := json.Marshal(s.body)
	if err != nil || string(encoded) == before {
		return err
	}
	template := elem("TEMPLATE", quoted("BODY", string(encoded)))
	_, err = as.call(f.ctx, "one.document.update", intValue(id), stringValue(template.String()), intValue(0))
	return err
}

// catchUp goes on with services that were changing when the last server ended. oned may start after OneFlow.
func (f *flow) catchUp() {
	for wait := time.NewTicker(time.Second); ; {
		session, err := f.host.actFor("oneflow_auth", "")
		var pool *node
		if err == nil {
			pool, err = (client{f.oned, session}).document(f.ctx, "one.documentpool.info", intValue(-2), intValue(-1), intValue(-1), intValue(serviceDocument))
		}
		if err == nil {
			for _, document := range pool.children {
				s, err := readService(document)
				if err == nil && slices.Contains([]int{serviceDeploying, serviceDeployingNets, serviceUndeploying}, s.state()) {
					f.follow(document.get("UNAME"), s.id)
				}
			}
		}
		if _, refused := errors.AsType[*refusedError](err); err == nil || refused {
			wait.Stop()
			return
		}
		select {
		case <-f.ctx.Done():
			wait.Stop()
			return
		case <-wait.C:
		}
	}
}

// errSettled ends the work on a service.
var errSettled = errors.New("the service has settled")

// follow brings a service to where it is going, as its owner.
func (f *flow) follow(user string, id int) {
	f.working.Go(func() {
		for wait := time.NewTicker(followEvery); ; {
			session, err := f.host.actFor("oneflow_auth", user)
			as := client{f.oned, session}
			if err == nil {
				settled := false
				err = f.change(as, id, func(s *flowService) (err error) { settled, err = f.step(as, s); return err })
				if err == nil && settled {
					err = errSettled
				}
			}
			if refused, ok := errors.AsType[*refusedError](err); ok && refused.code == codeNoExists || errors.Is(err, errSettled) {
				wait.Stop()
				return
			}
			if err != nil {
				f.logf(errorLevel, "%d %v", id, err)
			}
			select {
			case <-f.ctx.Done():
				wait.Stop()
				return
			case <-wait.C:
			}
		}
	})
}

// step does what there is to do for a service now. One that has settled needs no more.
func (f *flow) step(as client, s *flowService) (settled bool, err error) {
	switch s.state() {
	case serviceDeployingNets:
		f.enter(s, serviceDeploying)
		return false, nil
	case serviceUndeploying:
		for _, id := range s.machines() {
			vm, err := as.document(f.ctx, "one.vm.info", intValue(id))
			if err != nil {
				return false, err
			}
			if vm.number("STATE") == vmDone {
				continue
			}
			// It may have been on its way up when it was told to end.
			if lcm := vm.number("LCM_STATE"); lcm == lcmRunning || lcm == lcmBootFailure || lcm == lcmPrologFailure {
				_, err = as.call(f.ctx, "one.vm.action", stringValue(f.action), intValue(id))
			}
			return false, err
		}
		_, err := as.call(f.ctx, "one.document.delete", intValue(s.id))
		if err == nil {
			err = errSettled
		}
		return true, err
	case serviceDeploying:
		return f.deploy(as, s)
	}
	return true, nil
}

// deploy makes the machines of those roles whose time has come: those without parents or, when the service is deployed straight, whose
// parents run.
func (f *flow) deploy(as client, s *flowService) (settled bool, err error) {
	running := map[string]bool{}
	for _, role := range s.roles() {
		name := fmt.Sprint(role["name"])
		if number(role["state"]) == serviceDeploying {
			up, failed, err := f.up(as, s, role)
			switch {
			case err != nil:
				return false, err
			case failed:
				role["state"] = float64(serviceFailedDeploying)
				f.enter(s, serviceFailedDeploying)
				return true, nil
			case up:
				role["state"] = float64(serviceRunning)
			}
		}
		running[name] = number(role["state"]) == serviceRunning
	}
	all := true
	for _, role := range s.roles() {
		name := fmt.Sprint(role["name"])
		parents, _ := role["parents"].([]any)
		ready := s.body["deployment"] != "straight" || !slices.ContainsFunc(parents, func(p any) bool { return !running[fmt.Sprint(p)] })
		if number(role["state"]) == servicePending && ready {
			if err := f.machines(as, s, role); err != nil {
				f.logf(errorLevel, "%d Role %s : Instantiate failed: %v", s.id, name, err)
				f.enter(s, serviceFailedDeploying)
				return true, nil
			}
		}
		all = all && running[name]
	}
	if all {
		f.enter(s, serviceRunning)
	}
	return all, nil
}

// machines makes those of a role.
func (f *flow) machines(as client, s *flowService, role map[string]any) error {
	count, has := role["cardinality"].(float64)
	if !has {
		count = 1
	}
	var nodes []any
	for i := range int(count) {
		name := strings.NewReplacer("$ROLE_NAME", fmt.Sprint(role["name"]), "$VM_NUMBER", strconv.Itoa(i), "$SERVICE_ID", strconv.Itoa(s.id)).
			Replace("$ROLE_NAME_$VM_NUMBER_(service_$SERVICE_ID)")
		extra := elem("TEMPLATE", quoted("SERVICE_ID", s.id), quoted("ROLE_NAME", role["name"]))
		id, err := as.call(f.ctx, "one.template.instantiate", intValue(number(role["template_id"])), stringValue(name), boolValue(false), stringValue(extra.String()))
		if err != nil {
			return err
		}
		vm, err := strconv.Atoi(id)
		if err != nil {
			return err
		}
		nodes = append(nodes, map[string]any{"deploy_id": float64(vm), "vm_info": map[string]any{"VM": map[string]any{"ID": id, "NAME": name}}})
		role["nodes"] = nodes
	}
	role["state"], role["last_vmname"] = float64(serviceDeploying), count
	return nil
}

// up tells whether all machines of a role run and, when the service waits for that, have said that they are ready; or whether one has failed.
func (f *flow) up(as client, s *flowService, role map[string]any) (up, failed bool, err error) {
	gate, _ := s.body["ready_status_gate"].(bool)
	for _, id := range nodesOf(role) {
		vm, err := as.document(f.ctx, "one.vm.info", intValue(id))
		if err != nil {
			return false, false, err
		}
		switch lcm := vm.number("LCM_STATE"); {
		case lcm == lcmBootFailure || lcm == lcmPrologFailure:
			return false, true, nil
		case vm.number("STATE") != vmActive || lcm != lcmRunning || gate && vm.get("USER_TEMPLATE/READY") != "YES":
			return false, false, nil
		}
	}
	return true, false, nil
}
