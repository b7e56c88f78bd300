package standin

import (
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// kind is a kind of objects that oned manages: where they are in the database, and what is special about the calls that they have in common.
type kind struct {
	// call is the name in calls, tag that of the document, label and right are what answers call it.
	call, tag, table, label, right string
	// columns are those of the table beside the common ones, with where their values are in the document.
	columns map[string]string
	// users tells that users other than oneadmin's group may make one, shared that a name is taken for all owners and not for one.
	users, shared, unowned bool
	// build makes the document from what a call is given. It lacks the id until the object gets one.
	build func(d *daemon, caller *user, params []value, template *node) (*node, *rpcError)
	// joined are statements that change other objects when one is made, remove those for its end, or what is in the way of that.
	joined func(d *daemon, made *node) ([]string, error)
	remove func(d *daemon, object *node) ([]string, error)
	// updated takes over what an update of the template has changed.
	updated func(d *daemon, object *node) error
}

// kinds are those that the stand-in knows, by their names in calls.
func kinds() map[string]*kind {
	return map[string]*kind{
		"cluster":   {call: "cluster", tag: "CLUSTER", table: "cluster_pool", label: "cluster", right: "CLUSTER", unowned: true, shared: true},
		"datastore": datastores(),
		"document":  documents(),
		"group":     {call: "group", tag: "GROUP", table: "group_pool", label: "group", right: "GROUP", unowned: true, shared: true},
		"host":      hosts(),
		"image":     images(),
		"secgroup":  {call: "secgroup", tag: "SECURITY_GROUP", table: "secgroup_pool", label: "security group", right: "SECGROUP", users: true},
		"template":  templates(),
		"vm":        virtualMachines(),
		"vn":        networks(),
	}
}

// objectMethods are the calls that all kinds of objects have.
func (d *daemon) objectMethods() map[string]method {
	calls := map[string]method{}
	for name, k := range d.kinds {
		calls["one."+name+".info"] = method{d.objectInfo(k), true}
		calls["one."+name+"pool.info"] = method{d.objectPool(k), true}
		calls["one."+name+".update"] = method{d.objectUpdate(k), false}
		if k.build != nil {
			calls["one."+name+".allocate"] = method{d.objectAllocate(k), false}
		}
		if k.build != nil && name != "vm" {
			calls["one."+name+".delete"] = method{d.objectDelete(k), false}
		}
	}
	return calls
}

type answerer func(*database, *user, []value) (value, *rpcError)

// literal is a text in the SQL of the server: MySQL takes backslashes for more than they are.
func (s server) literal(t string) string {
	if s.file == "" {
		t = strings.ReplaceAll(t, `\`, `\\`)
	}
	return text(t)
}

// documents reads documents from the database; they may have lines.
func (s server) documents(query string) ([]*node, error) {
	out, err := s.run(query)
	if err != nil {
		return nil, err
	}
	var found []*node
	for line := range strings.Lines(out) {
		body, err := hex.DecodeString(strings.TrimSpace(line))
		if err != nil {
			return nil, fmt.Errorf("read a document: %w", err)
		}
		document, err := parseDocument(string(body))
		if err != nil {
			return nil, err
		}
		found = append(found, document)
	}
	return found, nil
}

func (d *daemon) objects(k *kind, where string) ([]*node, error) {
	return d.server.documents("SELECT HEX(body) FROM " + k.table + " WHERE " + where + " ORDER BY oid DESC;")
}

// object reads one object.
func (d *daemon) object(k *kind, id int) (*node, *rpcError) {
	found, err := d.objects(k, fmt.Sprintf("oid = %d", id))
	if err != nil {
		return nil, failure(codeInternal, err.Error())
	}
	if len(found) == 0 {
		return nil, &rpcError{codeNoExists, fmt.Sprintf("Error getting %s [%d].", k.label, id), id}
	}
	return found[0], nil
}

// target is the object that a call is about, for a caller who has a right to it: USE, MANAGE or ADMIN.
func (d *daemon) target(k *kind, caller *user, params []value, right string) (*node, *rpcError) {
	id, err := firstInt(params)
	if err != nil {
		return nil, failure(codeAPI, err.Error())
	}
	found, failed := d.object(k, id)
	if failed == nil && !mayDo(k, caller, found, right) {
		failed = unauthorized(caller, fmt.Sprintf("%s %s [%d]", right, k.right, id))
	}
	return found, failed
}

func unauthorized(caller *user, what string) *rpcError {
	return failure(codeAuthorization, fmt.Sprintf("User [%d] : Not authorized to perform %s.", caller.ID, what))
}

// mayDo tells whether a user has a right to an object: oneadmin's group has all, others what its permissions say.
func mayDo(k *kind, caller *user, object *node, right string) bool {
	letter := map[string]string{"USE": "U", "MANAGE": "M", "ADMIN": "A"}[right]
	if caller.GID == oneadminGroup || k.call == "cluster" && right == "USE" {
		return true
	}
	has := func(who string) bool { return object.get("PERMISSIONS/"+who+"_"+letter) == "1" }
	return object.get("UID") == strconv.Itoa(caller.ID) && has("OWNER") || object.get("GID") == strconv.Itoa(caller.GID) && has("GROUP") || has("OTHER")
}

// statement writes an object into its table.
func (d *daemon) statement(k *kind, object *node) string {
	permission := func(who string) int { return object.number("PERMISSIONS/" + who + "_U") }
	names := []string{"oid", "name", "body", "uid", "gid", "owner_u", "group_u", "other_u"}
	values := []string{object.get("ID"), d.server.literal(object.get("NAME")), d.server.literal(object.String())}
	for _, n := range []int{object.number("UID"), object.number("GID"), permission("OWNER"), permission("GROUP"), permission("OTHER")} {
		values = append(values, strconv.Itoa(n))
	}
	if k.unowned {
		values[5] = "1"
	}
	for _, column := range slices.Sorted(maps.Keys(k.columns)) {
		names, values = append(names, column), append(values, cmp.Or(object.get(k.columns[column]), "-1"))
	}
	if k.call == "vm" {
		names = append(names, "short_body", "body_json")
		values = append(values, d.server.literal(shortVM(object).String()), d.server.literal(asJSON(elem("", object))))
	}
	return fmt.Sprintf("REPLACE INTO %s (%s) VALUES (%s)", k.table, strings.Join(names, ", "), strings.Join(values, ", "))
}

// saveObjects writes objects of one kind.
func (d *daemon) saveObjects(k *kind, objects ...*node) error {
	var statements []string
	for _, object := range objects {
		statements = append(statements, d.statement(k, object))
	}
	return d.exec(statements...)
}

// header begins the document of an object that somebody owns. Its permissions are oned's for the usual mask: use and manage for the owner.
func header(caller *user, tag, name string, others ...*node) *node {
	made := elem(tag, leaves("UID", caller.ID, "GID", caller.GID, "UNAME", caller.Name, "GNAME", caller.GName, "NAME", name)...)
	permissions := elem("PERMISSIONS")
	for _, who := range []string{"OWNER", "GROUP", "OTHER"} {
		own := 0
		if who == "OWNER" {
			own = 1
		}
		permissions.children = append(permissions.children, leaves(who+"_U", own, who+"_M", own, who+"_A", 0)...)
	}
	made.children = append(append(made.children, permissions), others...)
	return made
}

// objectAllocate makes an object, and answers with its id when the database has it.
func (d *daemon) objectAllocate(k *kind) answerer {
	return func(_ *database, caller *user, params []value) (value, *rpcError) {
		if len(params) == 0 {
			return value{}, failure(codeAPI, "Not enough parameters: what is to be made is missing.")
		}
		var template *node
		if k.call != "host" {
			var err error
			if template, err = parseTemplate(params[0].string()); err != nil {
				return value{}, failure(codeInternal, err.Error())
			}
		}
		return d.create(k, caller, params, template)
	}
}

func (d *daemon) create(k *kind, caller *user, params []value, template *node) (value, *rpcError) {
	if caller.GID != oneadminGroup && !k.users {
		return value{}, unauthorized(caller, "CREATE "+k.right)
	}
	d.allocating.Lock()
	defer d.allocating.Unlock()
	made, failed := k.build(d, caller, params, template)
	if failed != nil {
		return value{}, failed
	}
	id, err := d.insert(k, made)
	if err != nil && k.call == "image" {
		return value{}, failure(codeAllocate, "Error allocating a new image. "+err.Error())
	}
	if err != nil {
		return value{}, failure(codeInternal, err.Error())
	}
	if k.call == "vm" {
		d.hooks.publishState(made)
	}
	d.wake()
	return intValue(id), nil
}

// insert gives an object an id, which none has had before, and writes it into the database.
func (d *daemon) insert(k *kind, made *node) (int, error) {
	id, err := d.nextID(k.table)
	if err != nil {
		return 0, err
	}
	made.children = append([]*node{leaf("ID", id)}, made.children...)
	if err := d.nameFree(k, made); err != nil {
		return 0, err
	}
	statements := []string{lastID(k.table, id)}
	if k.joined != nil {
		more, err := k.joined(d, made)
		if err != nil {
			return 0, err
		}
		statements = append(statements, more...)
	}
	return id, d.exec(append(statements, d.statement(k, made))...)
}

// nameFree refuses a name that is none, or that another object of the kind has. Any number of machines, documents and templates may have one.
func (d *daemon) nameFree(k *kind, made *node) error {
	name := made.get("NAME")
	switch {
	case k.call == "vm":
		return nil
	case name == "":
		return errors.New("Invalid NAME, it cannot be empty")
	case len(name) > 128:
		return errors.New("Invalid NAME, max length is 128 chars.")
	case k.call == "document":
		return nil
	}
	where := "name = " + d.server.literal(name)
	if !k.shared {
		where += " AND uid = " + made.get("UID")
	}
	taken, err := d.server.run("SELECT oid FROM " + k.table + " WHERE " + where + ";")
	if err == nil && taken != "" {
		err = fmt.Errorf("NAME is already taken by %s %s.", k.right, taken)
	}
	return err
}

func (d *daemon) objectInfo(k *kind) answerer {
	return func(_ *database, caller *user, params []value) (value, *rpcError) {
		found, failed := d.target(k, caller, params, "USE")
		if failed != nil {
			return value{}, failed
		}
		return stringValue(found.String()), nil
	}
}

// dropped takes an object out of its table.
func dropped(table string, object *node) string {
	return fmt.Sprintf("DELETE FROM %s WHERE oid = %s", table, object.get("ID"))
}

func (d *daemon) objectDelete(k *kind) answerer {
	return func(_ *database, caller *user, params []value) (value, *rpcError) {
		right := "MANAGE"
		if k.call == "host" || k.call == "datastore" {
			right = "ADMIN"
		}
		d.allocating.Lock()
		defer d.allocating.Unlock()
		found, failed := d.target(k, caller, params, right)
		if failed != nil {
			return value{}, failed
		}
		statements := []string{dropped(k.table, found)}
		if k.remove != nil {
			var err error
			if statements, err = k.remove(d, found); err != nil {
				return value{}, failure(codeAction, fmt.Sprintf("Cannot delete %s. %v", k.label, err))
			}
		}
		if err := d.exec(statements...); err != nil {
			return value{}, failure(codeInternal, err.Error())
		}
		return intValue(found.number("ID")), nil
	}
}

// objectUpdate replaces the template of an object, or that of a machine's user, and with 1 for the third parameter merges both.
func (d *daemon) objectUpdate(k *kind) answerer {
	return func(_ *database, caller *user, params []value) (value, *rpcError) {
		if len(params) < 2 {
			return value{}, failure(codeAPI, "Not enough parameters: an id and a template are needed.")
		}
		given, err := parseTemplate(params[1].string())
		if err != nil {
			return value{}, failure(codeInternal, err.Error())
		}
		d.allocating.Lock()
		defer d.allocating.Unlock()
		found, failed := d.target(k, caller, params, "MANAGE")
		if failed != nil {
			return value{}, failed
		}
		template := found.at("TEMPLATE")
		if k.call == "vm" {
			template = found.at("USER_TEMPLATE")
		}
		if mode, err := paramInt(params, 2, 0); err != nil || mode != 1 {
			template.children = nil
		}
		template.merge(given)
		if k.updated != nil {
			err = k.updated(d, found)
		}
		if err == nil {
			err = d.saveObjects(k, found)
		}
		if err != nil {
			return value{}, failure(codeInternal, fmt.Sprintf("Cannot update template. %v", err))
		}
		d.wake()
		return intValue(found.number("ID")), nil
	}
}

// paramInt is an integer among the parameters, or the given one when there are fewer.
func paramInt(params []value, at, unset int) (int, error) {
	if at >= len(params) {
		return unset, nil
	}
	return params[at].int()
}

// objectPool answers with the objects that a caller may use: of all owners with -2, of a caller's groups with -1, of a caller with -3, of one user
// from 0 on. Two numbers, when given, select a range of ids or, with a second one below -1, a page. Machines have a state, documents a type besides.
func (d *daemon) objectPool(k *kind) answerer {
	return func(_ *database, caller *user, params []value) (value, *rpcError) {
		numbers := []int{-2, -1, -1, -1}
		for i := range numbers {
			var err error
			if numbers[i], err = paramInt(params, i, numbers[i]); err != nil {
				return value{}, failure(codeAPI, err.Error())
			}
		}
		found, err := d.objects(k, poolFilter(k, caller, numbers))
		if err != nil {
			return value{}, failure(codeInternal, err.Error())
		}
		var selected []*node
		for _, object := range found {
			if k.unowned || mayDo(k, caller, object, "USE") {
				if k.call == "vm" {
					object = shortVM(object)
				}
				selected = append(selected, object)
			}
		}
		if start, page := numbers[1], -numbers[2]; page > 1 && start >= 0 {
			selected = selected[min(start, len(selected)):min(start+page, len(selected))]
		}
		return stringValue(elem(k.tag+"_POOL", selected...).String()), nil
	}
}

func poolFilter(k *kind, caller *user, numbers []int) string {
	where := "1 = 1"
	switch {
	case k.unowned || numbers[0] == -2:
	case numbers[0] >= 0:
		where = fmt.Sprintf("uid = %d", numbers[0])
	case numbers[0] == -3:
		where = fmt.Sprintf("uid = %d", caller.ID)
	default:
		where = fmt.Sprintf("(uid = %d OR gid = %d)", caller.ID, caller.GID)
	}
	if numbers[1] >= 0 && numbers[2] >= numbers[1] {
		where += fmt.Sprintf(" AND oid BETWEEN %d AND %d", numbers[1], numbers[2])
	}
	switch state := numbers[3]; {
	case k.call == "document":
		where += fmt.Sprintf(" AND type = %d", state)
	case k.call == "vm" && state == -1:
		where += fmt.Sprintf(" AND state <> %d", vmDone)
	case k.call == "vm" && state >= 0:
		where += fmt.Sprintf(" AND state = %d", state)
	}
	return where
}
