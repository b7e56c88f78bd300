package standin

import (
	"encoding/xml"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// hookDocument is the XML document that describes a hook, with its elements in OpenNebula's order.
type hookDocument struct {
	XMLName  xml.Name   `xml:"HOOK"`
	ID       int        `xml:"ID"`
	Name     string     `xml:"NAME"`
	Type     string     `xml:"TYPE"`
	Template attributes `xml:"TEMPLATE"`
}

// hookType is what the database has for the type of a hook.
func hookType(h hookDocument) int { return map[string]int{"state": 1, "api": 2}[h.Type] }

// supportsHooks tells whether oned lets hooks have a call: those that tell about something and change nothing cannot have one.
func supportsHooks(call string) bool { return !strings.HasSuffix(call, ".info") }

// mayUseHooks refuses users other than oneadmin.
func mayUseHooks(caller *user, right string) *rpcError {
	return notAllowed(caller, ": Not authorized to perform "+right)
}

// hookAllocate makes a hook of a template, and answers with its id when the database has it.
func (d *daemon) hookAllocate(_ *database, caller *user, params []value) (value, *rpcError) {
	if refused := mayUseHooks(caller, "CREATE HOOK"); refused != nil {
		return value{}, refused
	}
	if len(params) == 0 {
		return value{}, failure(codeAPI, "The template of a hook is missing.")
	}
	made, err := d.parseHook(params[0].string())
	if err != nil {
		return value{}, failure(codeInternal, err.Error())
	}
	d.allocating.Lock()
	defer d.allocating.Unlock()
	id, err := d.createHook(made)
	if err != nil {
		return value{}, failure(codeInternal, err.Error())
	}
	return intValue(id), nil
}

// parseHook reads the template of a hook.
func (d *daemon) parseHook(template string) (made hookDocument, err error) {
	given, err := parseTemplate(template)
	if err != nil {
		return made, err
	}
	made = hookDocument{Name: given.take("NAME"), Type: strings.ToLower(given.take("TYPE"))}
	switch {
	case made.Type != "api" && made.Type != "state":
		return made, fmt.Errorf("Invalid Hook type: %s", made.Type)
	case made.Name == "":
		return made, errors.New("Invalid name.")
	case given.get("COMMAND") == "":
		return made, errors.New("No COMMAND in template for Hook.")
	}
	known := []string{"ARGUMENTS", "ARGUMENTS_STDIN", "COMMAND"}
	if made.Type == "api" {
		known = append(known, "CALL")
		if _, has := d.methods()[given.get("CALL")]; !has || !supportsHooks(given.get("CALL")) {
			return made, fmt.Errorf("API call does not exist or is not supported: %s", given.get("CALL"))
		}
	} else {
		known = append(known, "RESOURCE", "STATE", "LCM_STATE")
		if err := stateOfHook(given); err != nil {
			return made, err
		}
	}
	made.Template.set("REMOTE", "NO")
	for _, attribute := range given.children {
		if !slices.Contains(known, attribute.name) {
			return made, fmt.Errorf("the stand-in has hooks with %q only, not %s", known, attribute.name)
		}
		made.Template.set(attribute.name, attribute.text)
	}
	return made, nil
}

// stateOfHook makes the state of a virtual machine that a hook is for of what its template says about it.
func stateOfHook(given *node) error {
	if resource := given.get("RESOURCE"); resource != "VM" {
		return fmt.Errorf("the stand-in has hooks for states of VM only, not of %s", resource)
	}
	on := strings.ToUpper(given.take("ON"))
	states, ok := map[string][2]int{
		"PROLOG": {vmActive, lcmProlog}, "RUNNING": {vmActive, lcmRunning}, "SHUTDOWN": {vmActive, lcmEpilog}, "DONE": {vmDone, lcmInit},
	}[on]
	switch {
	case ok:
		given.merge(elem("", quoted("STATE", vmStates[states[0]]), quoted("LCM_STATE", lcmStates[states[1]])))
	case on != "CUSTOM":
		return fmt.Errorf("Unkown state condition: %s", on) //nolint:misspell // oned writes it so
	case !slices.Contains(slices.Collect(maps.Values(vmStates)), given.get("STATE")):
		return fmt.Errorf("Wrong STATE: %s", given.get("STATE"))
	case !slices.Contains(slices.Collect(maps.Values(lcmStates)), given.get("LCM_STATE")):
		return fmt.Errorf("Wrong LCM_STATE: %s", given.get("LCM_STATE"))
	}
	return nil
}

// key is what a hook is for: a call, or a state.
func (h hookDocument) key() string {
	if h.Type == "api" {
		return h.Template.get("CALL")
	}
	return h.Template.get("RESOURCE") + "/" + h.Template.get("STATE") + "/" + h.Template.get("LCM_STATE")
}

// createHook gives a hook an id, which none has had before, and writes it into the database.
func (d *daemon) createHook(made hookDocument) (int, error) {
	taken, err := d.server.run("SELECT oid FROM hook_pool WHERE name = " + d.server.literal(made.Name) + ";")
	if err != nil {
		return 0, err
	}
	if taken != "" {
		return 0, fmt.Errorf("NAME is already taken by Hook %s.", taken)
	}
	if made.ID, err = d.nextID("hook_pool"); err != nil {
		return 0, err
	}
	body, err := xml.Marshal(made)
	if err != nil {
		return 0, err
	}
	return made.ID, d.exec(
		lastID("hook_pool", made.ID),
		fmt.Sprintf("INSERT INTO hook_pool VALUES (%d, %s, %s, 0, 0, 1, 0, 0, %d)", made.ID, d.server.literal(made.Name), d.server.literal(string(body)), hookType(made)),
	)
}

// number runs a query for one number.
func (d *daemon) number(query string) (int, error) {
	out, err := d.server.run(query)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(out)
}

// hook reads the hook that a call is about: its first parameter after the session.
func (d *daemon) hook(caller *user, params []value, right string) (id int, body string, failed *rpcError) {
	id, err := firstInt(params)
	if err != nil {
		return 0, "", failure(codeAPI, err.Error())
	}
	if refused := mayUseHooks(caller, fmt.Sprintf("%s HOOK [%d]", right, id)); refused != nil {
		return 0, "", refused
	}
	if body, err = d.server.run(fmt.Sprintf("SELECT body FROM hook_pool WHERE oid = %d;", id)); err != nil {
		return 0, "", failure(codeInternal, err.Error())
	}
	if body == "" {
		return 0, "", &rpcError{codeNoExists, fmt.Sprintf("Error getting hook [%d].", id), id}
	}
	return id, body, nil
}

// hookInfo answers with a hook and the records of its executions.
func (d *daemon) hookInfo(_ *database, caller *user, params []value) (value, *rpcError) {
	id, body, failed := d.hook(caller, params, "USE")
	if failed != nil {
		return value{}, failed
	}
	records, err := d.server.run(fmt.Sprintf("SELECT body FROM hook_log WHERE hkid = %d ORDER BY exeid;", id))
	if err != nil {
		return value{}, failure(codeInternal, err.Error())
	}
	return stringValue(strings.TrimSuffix(body, "</HOOK>") + "<HOOKLOG>" + records + "</HOOKLOG></HOOK>"), nil
}

func (d *daemon) hookPoolInfo(_ *database, caller *user, _ []value) (value, *rpcError) {
	if refused := mayUseHooks(caller, "USE HOOK"); refused != nil {
		return value{}, refused
	}
	hooks, err := d.server.run("SELECT body FROM hook_pool ORDER BY oid;")
	if err != nil {
		return value{}, failure(codeInternal, err.Error())
	}
	return stringValue("<HOOK_POOL>" + hooks + "</HOOK_POOL>"), nil
}

// hookUnlock changes nothing: the stand-in locks no hooks.
func (d *daemon) hookUnlock(_ *database, caller *user, params []value) (value, *rpcError) {
	id, _, failed := d.hook(caller, params, "MANAGE")
	if failed != nil {
		return value{}, failed
	}
	return intValue(id), nil
}

func (d *daemon) hookDelete(_ *database, caller *user, params []value) (value, *rpcError) {
	id, _, failed := d.hook(caller, params, "MANAGE")
	if failed != nil {
		return value{}, failed
	}
	if err := d.exec(
		fmt.Sprintf("DELETE FROM hook_pool WHERE oid = %d", id), fmt.Sprintf("DELETE FROM hook_log WHERE hkid = %d", id),
	); err != nil {
		return value{}, failure(codeInternal, err.Error())
	}
	return intValue(id), nil
}

// recordExecution writes into the database what the hook manager has reported of a hook, in XML, and removes what is too old.
func (d *daemon) recordExecution(id, code int, result string) error {
	d.allocating.Lock()
	defer d.allocating.Unlock()
	execution, err := d.number(fmt.Sprintf("SELECT COALESCE(MAX(exeid), -1) + 1 FROM hook_log WHERE hkid = %d;", id))
	if err != nil {
		return err
	}
	seconds := d.host.Now().Unix()
	body := fmt.Sprintf("<HOOK_EXECUTION_RECORD><HOOK_ID>%d</HOOK_ID><EXECUTION_ID>%d</EXECUTION_ID><TIMESTAMP>%d</TIMESTAMP>%s</HOOK_EXECUTION_RECORD>",
		id, execution, seconds, result)
	statements := []string{fmt.Sprintf("INSERT INTO hook_log VALUES (%d, %d, %d, %d, %s)", id, execution, seconds, code, d.server.literal(body))}
	if execution >= d.hookRecords {
		statements = append(statements, fmt.Sprintf("DELETE FROM hook_log WHERE hkid = %d AND exeid <= %d", id, execution-d.hookRecords))
	}
	return d.exec(statements...)
}
