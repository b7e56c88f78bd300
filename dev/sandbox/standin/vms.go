package standin

import (
	"cmp"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// States of virtual machines, and of those that are active.
const (
	vmPending, vmHold, vmActive, vmDone, vmPoweroff = 1, 2, 3, 6, 8

	lcmInit, lcmProlog, lcmBoot, lcmRunning, lcmEpilog, lcmShutdown = 0, 1, 2, 3, 11, 12
	lcmShutdownPoweroff, lcmBootPoweroff, lcmCleanupDelete          = 18, 20, 23
	lcmBootFailure, lcmPrologFailure                                = 36, 39
)

var vmStates = map[int]string{vmPending: "PENDING", vmHold: "HOLD", vmActive: "ACTIVE", vmDone: "DONE", vmPoweroff: "POWEROFF"}

var lcmStates = map[int]string{
	lcmInit: "LCM_INIT", lcmProlog: "PROLOG", lcmBoot: "BOOT", lcmRunning: "RUNNING", lcmEpilog: "EPILOG", lcmShutdown: "SHUTDOWN",
	lcmCleanupDelete: "CLEANUP_DELETE", lcmShutdownPoweroff: "SHUTDOWN_POWEROFF", lcmBootPoweroff: "BOOT_POWEROFF", lcmBootFailure: "BOOT_FAILURE", lcmPrologFailure: "PROLOG_FAILURE",
}

// stateName is a state for people: that of an active machine is its second one.
func stateName(vm *node) string {
	if state := vm.number("STATE"); state != vmActive {
		return vmStates[state]
	}
	return lcmStates[vm.number("LCM_STATE")]
}

// Numbers of actions in the history of a machine.
var vmActions = map[string]int{"terminate": 27, "terminate-hard": 28, "poweroff": 19, "poweroff-hard": 20, "resume": 11}

// machineAttributes are those of a template that a machine keeps for itself; all others are its user's.
var machineAttributes = []string{
	"CONTEXT", "CPU", "CPU_COST", "CPU_MODEL", "DISK", "DISK_COST", "FEATURES", "GRAPHICS", "INPUT", "MEMORY", "MEMORY_COST", "NIC", "NIC_DEFAULT", "OS",
	"RAW", "TEMPLATE_ID", "TOPOLOGY", "VCPU",
}

func virtualMachines() *kind {
	return &kind{
		call: "vm", tag: "VM", table: "vm_pool", label: "virtual machine", right: "VM", users: true,
		columns: map[string]string{"state": "STATE", "lcm_state": "LCM_STATE", "resched": "RESCHED"},
		build: func(d *daemon, caller *user, params []value, template *node) (*node, *rpcError) {
			hold := len(params) > 1 && params[1].Boolean != nil && *params[1].Boolean == 1
			made, err := d.newVM(caller, template, hold)
			if err != nil {
				return nil, failure(codeInternal, err.Error())
			}
			return made, nil
		},
		joined: func(d *daemon, made *node) ([]string, error) { return d.acquire(made) },
	}
}

func (d *daemon) vmMethods() map[string]method {
	return map[string]method{
		"one.vm.action":            {d.vmAction, false},
		"one.vm.deploy":            {d.vmDeploy, false},
		"one.vm.recover":           {d.vmRecover, false},
		"one.template.instantiate": {d.instantiate, false},
	}
}

// newVM makes a machine from a template.
func (d *daemon) newVM(caller *user, given *node, hold bool) (*node, error) {
	template, own := elem("TEMPLATE"), elem("USER_TEMPLATE")
	name := given.take("NAME")
	for _, attribute := range given.children {
		if slices.Contains(machineAttributes, attribute.name) {
			template.add(attribute)
		} else {
			own.add(attribute)
		}
	}
	if n, err := strconv.Atoi(template.get("MEMORY")); err != nil || n <= 0 {
		return nil, errors.New("MEMORY attribute must be a positive integer value.")
	}
	if n, err := strconv.ParseFloat(template.get("CPU"), 64); err != nil || n <= 0 {
		return nil, errors.New("CPU attribute must be a positive float or integer value.")
	}
	if context := template.at("CONTEXT"); strings.EqualFold(template.get("CONTEXT/TOKEN"), "YES") {
		endpoint := d.config.get("ONEGATE_ENDPOINT")
		if endpoint == "" {
			return nil, errors.New("TOKEN set, but onegate endpoint was not defined in oned.conf.")
		}
		context.merge(elem("", quoted("ONEGATE_ENDPOINT", endpoint)))
		template.set("CREATED_BY", caller.ID)
	}
	if template.at("OS") == nil {
		template.add(elem("OS"))
	}
	template.set("OS/UUID", uuid())
	template.set("AUTOMATIC_DS_REQUIREMENTS", `("CLUSTERS/ID" @> 0)`)
	template.set("AUTOMATIC_REQUIREMENTS", "(CLUSTER_ID = 0) & !(PIN_POLICY = PINNED)")
	state := vmPending
	if hold {
		state = vmHold
	}
	made := header(caller, "VM", name)
	made.children = append(made.children, leaves("LAST_POLL", 0, "STATE", state, "LCM_STATE", lcmInit, "PREV_STATE", state, "PREV_LCM_STATE", lcmInit,
		"RESCHED", 0, "STIME", d.host.Now().Unix(), "ETIME", 0, "DEPLOY_ID", "")...)
	made.children = append(made.children, elem("MONITORING"), elem("SCHED_ACTIONS"), template, own, elem("HISTORY_RECORDS"),
		elem("BACKUPS", elem("BACKUP_CONFIG"), elem("BACKUP_IDS")))
	return made, nil
}

func uuid() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b)
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// acquire completes a machine that has its id with addresses and images, and returns what that changes beside it.
func (d *daemon) acquire(vm *node) ([]string, error) {
	id, template := vm.number("ID"), vm.at("TEMPLATE")
	prefix := cmp.Or(vm.at("USER_TEMPLATE").take("TEMPLATE_NAME"), "one")
	vm.set("NAME", cmp.Or(vm.get("NAME"), fmt.Sprintf("%s-%d", prefix, id)))
	template.set("VMID", id)
	context := template.at("CONTEXT")
	if context != nil {
		context.merge(elem("", quoted("DISK_ID", len(template.all("DISK"))), quoted("TARGET", "hda")))
	}
	if context != nil && context.at("ONEGATE_ENDPOINT") != nil {
		context.merge(elem("", quoted("VMID", id)))
	}
	if err := d.secure(template); err != nil {
		return nil, err
	}
	changed := map[string]string{}
	for i, nic := range template.all("NIC") {
		network, err := d.named("vn", nic.get("NETWORK_ID"), nic.get("NETWORK"), vm.get("UID"))
		if err != nil {
			return nil, err
		}
		ip, mac, in, err := lease(network, id)
		if err != nil {
			return nil, err
		}
		nic.merge(elem("", quoted("AR_ID", in), quoted("BRIDGE", network.get("BRIDGE")), quoted("BRIDGE_TYPE", network.get("BRIDGE_TYPE")),
			quoted("CLUSTER_ID", defaultCluster), quoted("IP", ip), quoted("MAC", mac), quoted("NAME", fmt.Sprintf("NIC%d", i)),
			quoted("NETWORK", network.get("NAME")), quoted("NETWORK_ID", network.get("ID")), quoted("NIC_ID", i),
			quoted("SECURITY_GROUPS", network.get("TEMPLATE/SECURITY_GROUPS")), quoted("TARGET", fmt.Sprintf("one-%d-%d", id, i)),
			quoted("VN_MAD", network.get("VN_MAD"))))
		if context != nil && strings.EqualFold(context.get("NETWORK"), "YES") {
			context.add(quoted(fmt.Sprintf("ETH%d_IP", i), ip), quoted(fmt.Sprintf("ETH%d_MAC", i), mac))
		}
		template.set("AUTOMATIC_NIC_REQUIREMENTS", `("CLUSTERS/ID" @> 0)`)
		changed["vn"+network.get("ID")] = d.statement(d.kinds["vn"], network)
	}
	for i, disk := range template.all("DISK") {
		if disk.get("IMAGE")+disk.get("IMAGE_ID") == "" {
			continue
		}
		image, err := d.named("image", disk.get("IMAGE_ID"), disk.get("IMAGE"), vm.get("UID"))
		if err != nil {
			return nil, err
		}
		if state := image.number("STATE"); state != imageReady && state != imageUsed {
			return nil, fmt.Errorf("Image %s (state %d) is not in READY state.", image.get("ID"), state)
		}
		store, failed := d.object(d.kinds["datastore"], image.number("DATASTORE_ID"))
		if failed != nil {
			return nil, errors.New(failed.message)
		}
		disk.merge(elem("", quoted("CLONE", "YES"), quoted("DATASTORE", store.get("NAME")), quoted("DATASTORE_ID", store.get("ID")),
			quoted("DEV_PREFIX", image.get("TEMPLATE/DEV_PREFIX")), quoted("DISK_ID", i), quoted("IMAGE", image.get("NAME")),
			quoted("IMAGE_ID", image.get("ID")), quoted("SIZE", image.get("SIZE")), quoted("SOURCE", image.get("SOURCE")),
			quoted("TARGET", "hd"+string(rune('a'+i))), quoted("TM_MAD", store.get("TM_MAD")), quoted("TYPE", "FILE")))
		changed["image"+image.get("ID")] = d.statement(d.kinds["image"], inUse(image, id, true))
	}
	template.add()
	return slices.Collect(maps.Values(changed)), nil
}

// secure adds the rules of the default security group to the template of a machine that has addresses.
func (d *daemon) secure(template *node) error {
	if template.at("NIC") == nil {
		return nil
	}
	group, failed := d.object(d.kinds["secgroup"], 0)
	if failed != nil {
		return errors.New(failed.message)
	}
	for _, rule := range group.at("TEMPLATE").all("RULE") {
		made := elem("SECURITY_GROUP_RULE", rule.children...)
		made.add(quoted("SECURITY_GROUP_ID", group.get("ID")), quoted("SECURITY_GROUP_NAME", group.get("NAME")))
		template.add(made)
	}
	return nil
}

// inUse has an image be used by a machine, or not any more.
func inUse(image *node, vm int, in bool) *node {
	image.setID("VMS", vm, in)
	running := len(image.ids("VMS"))
	image.set("RUNNING_VMS", running)
	image.set("STATE", imageReady)
	if running > 0 {
		image.set("STATE", imageUsed)
	}
	image.set("PREV_STATE", image.get("STATE"))
	return image
}

// named finds what a machine's template refers to by id, or by name among what its owner has.
func (d *daemon) named(call, id, name, uid string) (*node, error) {
	k := d.kinds[call]
	where := "oid = " + id
	if _, err := strconv.Atoi(id); err != nil {
		where = "name = " + d.server.literal(name) + " AND uid = " + uid
	}
	found, err := d.objects(k, where)
	if err == nil && len(found) == 0 {
		err = fmt.Errorf("User %s does not own a %s with name: %s. Set %s_UNAME or %[4]s_UID of owner in %s.", uid, k.label, cmp.Or(name, id),
			map[string]string{"vn": "NETWORK", "image": "IMAGE"}[call], map[string]string{"vn": "NIC", "image": "DISK"}[call])
	}
	if err != nil {
		return nil, err
	}
	return found[0], nil
}

// instantiate makes a machine of a template: its id, a name, whether to hold the machine, and attributes to add.
func (d *daemon) instantiate(_ *database, caller *user, params []value) (value, *rpcError) {
	found, failed := d.target(d.kinds["template"], caller, params, "USE")
	if failed != nil {
		return value{}, failed
	}
	template := found.at("TEMPLATE")
	if len(params) > 3 {
		more, err := parseTemplate(params[3].string())
		if err != nil {
			return value{}, failure(codeInternal, err.Error())
		}
		template.merge(more)
	}
	template.drop("NAME")
	template.merge(elem("", quoted("TEMPLATE_ID", found.get("ID")), quoted("TEMPLATE_NAME", found.get("NAME"))))
	if len(params) > 1 && params[1].string() != "" {
		template.add(quoted("NAME", params[1].string()))
	}
	made, failed := d.create(d.kinds["vm"], caller, append([]value{{}}, params[min(2, len(params)):]...), template)
	if failed != nil && failed.code == codeInternal {
		failed = failure(codeAllocate, "Error allocating a new virtual machine template. "+failed.message)
	}
	return made, failed
}

// shortVM is what the list of all machines tells of one.
func shortVM(vm *node) *node {
	short, template := elem("VM"), elem("TEMPLATE")
	for _, name := range []string{"ID", "UID", "GID", "UNAME", "GNAME", "NAME", "LAST_POLL", "STATE", "LCM_STATE", "RESCHED", "STIME", "ETIME", "DEPLOY_ID"} {
		short.children = append(short.children, leaf(name, vm.get(name)))
	}
	for _, name := range []string{"CPU", "MEMORY", "VCPU"} {
		template.children = append(template.children, leaf(name, vm.get("TEMPLATE/"+name)))
	}
	brief := func(of *node, names ...string) *node {
		made := elem(of.name)
		for _, name := range names {
			if value := of.at(name); value != nil {
				made.children = append(made.children, value)
			}
		}
		return made
	}
	for _, disk := range vm.at("TEMPLATE").all("DISK") {
		template.children = append(template.children, brief(disk, "DATASTORE", "DATASTORE_ID", "DISK_ID", "IMAGE", "IMAGE_ID", "SIZE", "TARGET", "TYPE"))
	}
	for _, nic := range vm.at("TEMPLATE").all("NIC") {
		template.children = append(template.children, brief(nic, "IP", "MAC", "NETWORK", "NETWORK_ID", "NIC_ID", "SECURITY_GROUPS"))
	}
	history := elem("HISTORY_RECORDS")
	if records := vm.at("HISTORY_RECORDS").children; len(records) > 0 {
		history.children = []*node{brief(records[len(records)-1], "OID", "SEQ", "HOSTNAME", "HID", "CID", "DS_ID", "VM_MAD", "TM_MAD", "ACTION")}
		// These are quoted here, and only here.
		for _, name := range []string{"HOSTNAME", "ACTION"} {
			record := history.children[0]
			i := slices.Index(record.children, record.at(name))
			record.children[i] = quoted(name, record.get(name))
		}
	}
	short.children = append(short.children, template, elem("MONITORING"), elem("USER_TEMPLATE"), history)
	return short
}

// vmAction begins what is to be done with a machine: an action and an id.
func (d *daemon) vmAction(_ *database, caller *user, params []value) (value, *rpcError) {
	if len(params) < 2 {
		return value{}, failure(codeAPI, "Not enough parameters: an action and an id are needed.")
	}
	d.allocating.Lock()
	defer d.allocating.Unlock()
	action, right := params[0].string(), "MANAGE"
	vm, failed := d.target(d.kinds["vm"], caller, params[1:], right)
	if failed != nil {
		return value{}, failed
	}
	number, known := vmActions[action]
	if !known {
		return value{}, failure(codeAction, fmt.Sprintf("Action %q is not supported", action))
	}
	if err := d.act(vm, caller, action, number); err != nil {
		return value{}, failure(codeAction, fmt.Sprintf("Error performing action %q: %v", action, err))
	}
	d.wake()
	return intValue(vm.number("ID")), nil
}

// vmRecover removes a machine in any state: its id, and 3 for that.
func (d *daemon) vmRecover(_ *database, caller *user, params []value) (value, *rpcError) {
	const remove = 3
	if operation, err := paramInt(params, 1, -1); err != nil || operation != remove {
		return value{}, failure(codeAction, "Wrong recovery operation code")
	}
	d.allocating.Lock()
	defer d.allocating.Unlock()
	vm, failed := d.target(d.kinds["vm"], caller, params, "ADMIN")
	if failed != nil {
		return value{}, failed
	}
	id, err := vm.number("ID"), error(nil)
	switch vm.number("STATE") {
	case vmPending, vmHold:
		err = d.setState(vm, vmDone, lcmInit)
	case vmDone:
		return value{}, failure(codeAction, "This action is not available for state DONE")
	default:
		lastRecord(vm).set("ACTION", 13)
		err = d.setState(vm, vmActive, lcmCleanupDelete)
		d.later(func() error { return d.advance(id) })
	}
	if err != nil {
		return value{}, failure(codeInternal, err.Error())
	}
	return intValue(id), nil
}

func (d *daemon) act(vm *node, caller *user, action string, number int) error {
	state, lcm := vm.number("STATE"), vm.number("LCM_STATE")
	terminate, running := strings.HasPrefix(action, "terminate"), state == vmActive && lcm == lcmRunning
	next := map[bool]int{true: lcmShutdown, false: lcmShutdownPoweroff}[terminate]
	switch {
	case terminate && state == vmDone:
		return nil
	case terminate && (state == vmPending || state == vmHold):
		return d.setState(vm, vmDone, lcmInit)
	case terminate && state == vmPoweroff:
		next = lcmEpilog
	case terminate && state == vmActive && (lcm == lcmBootFailure || lcm == lcmPrologFailure):
		next = lcmEpilog
	case action == "resume" && state == vmPoweroff:
		next = lcmBootPoweroff
		d.endRecord(vm)
		d.newRecord(vm, nil, nil)
	case terminate && !running:
		return fmt.Errorf("Could not terminate VM %s, wrong state %s.", vm.get("ID"), stateName(vm))
	case !running || action == "resume":
		return fmt.Errorf("This action is not available for state %s", stateName(vm))
	}
	record := lastRecord(vm)
	record.set("ACTION", number)
	record.set("UID", caller.ID)
	record.set("GID", caller.GID)
	if err := d.setState(vm, vmActive, next); err != nil {
		return err
	}
	d.later(func() error { return d.advance(vm.number("ID")) })
	return nil
}

// lastRecord is the newest record of a machine's history, nil before it was anywhere.
func lastRecord(vm *node) *node {
	records := vm.at("HISTORY_RECORDS").children
	if len(records) == 0 {
		return nil
	}
	return records[len(records)-1]
}

// newRecord begins a record of a machine's history: at a host and a datastore, or where the machine is.
func (d *daemon) newRecord(vm, host, store *node) {
	records, now := vm.at("HISTORY_RECORDS"), d.host.Now().Unix()
	record := elem("HISTORY", leaves("OID", vm.get("ID"), "SEQ", len(records.children), "HOSTNAME", "", "HID", "", "CID", defaultCluster,
		"STIME", now, "ETIME", 0)...)
	record.children = append(record.children, quoted("VM_MAD", ""), quoted("TM_MAD", ""))
	record.children = append(record.children, leaves("DS_ID", "", "PLAN_ID", -1, "ACTION_ID", -1, "PSTIME", 0, "PETIME", 0, "RSTIME", 0, "RETIME", 0,
		"ESTIME", 0, "EETIME", 0, "ACTION", 0, "UID", -1, "GID", -1, "REQUEST_ID", -1)...)
	if host != nil {
		record.set("PSTIME", now)
		record.set("HOSTNAME", host.get("NAME"))
		record.set("HID", host.get("ID"))
		record.set("VM_MAD", host.get("VM_MAD"))
		record.set("TM_MAD", store.get("TM_MAD"))
		record.set("DS_ID", store.get("ID"))
		vm.set("TEMPLATE/TM_MAD_SYSTEM", store.get("TM_MAD"))
		vm.at("TEMPLATE").add()
	} else {
		for _, same := range []string{"HOSTNAME", "HID", "VM_MAD", "TM_MAD", "DS_ID"} {
			record.set(same, lastRecord(vm).get(same))
		}
	}
	records.children = append(records.children, record)
}

// endRecord dates the end of what a record tells of.
func (d *daemon) endRecord(vm *node) {
	record, now := lastRecord(vm), d.host.Now().Unix()
	if record == nil {
		return
	}
	for begin, end := range map[string]string{"RSTIME": "RETIME", "ESTIME": "EETIME", "STIME": "ETIME"} {
		if record.number(begin) != 0 && record.number(end) == 0 {
			record.set(end, now)
		}
	}
}

// setState brings a machine into a state, which its log and the hooks are told, and writes it and its history into the database.
func (d *daemon) setState(vm *node, state, lcm int) error {
	d.vmLog(vm, "VM", "I", "New state is "+vmStates[state], vm.number("STATE") != state)
	d.vmLog(vm, "VM", "I", "New LCM state is "+lcmStates[lcm], state == vmActive && vm.number("LCM_STATE") != lcm)
	now := d.host.Now().Unix()
	record := lastRecord(vm)
	if state == vmActive {
		// Times that a state begins with.
		for _, name := range map[int][]string{lcmBoot: {"PETIME", "RSTIME"}, lcmBootPoweroff: {"RSTIME"}, lcmEpilog: {"ESTIME"}}[lcm] {
			record.set(name, now)
		}
		if lcm == lcmEpilog && record.number("RSTIME") != 0 && record.number("RETIME") == 0 {
			record.set("RETIME", now)
		}
	}
	var freed []string
	if state == vmPoweroff {
		d.endRecord(vm)
	}
	if state == vmDone {
		d.endRecord(vm)
		vm.set("ETIME", now)
		var err error
		if freed, err = d.free(vm); err != nil {
			return err
		}
	}
	changed := vm.number("STATE") != state || vm.number("LCM_STATE") != lcm
	for name, value := range map[string]int{"STATE": state, "PREV_STATE": state, "LCM_STATE": lcm, "PREV_LCM_STATE": lcm} {
		vm.set(name, value)
	}
	for _, record := range vm.at("HISTORY_RECORDS").children {
		freed = append(freed, fmt.Sprintf("REPLACE INTO history (vid, seq, body, stime, etime) VALUES (%s, %s, %s, %s, %s)", vm.get("ID"),
			record.get("SEQ"), d.server.literal(historyBody(vm, record).String()), record.get("STIME"), record.get("ETIME")))
	}
	if err := d.exec(append(freed, d.statement(d.kinds["vm"], vm))...); err != nil || !changed {
		return err
	}
	d.hooks.publishState(vm)
	return nil
}

// free gives back what a machine had: its place at a host, its addresses, its images.
func (d *daemon) free(vm *node) (statements []string, err error) {
	id := vm.number("ID")
	if record := lastRecord(vm); record != nil {
		host, failed := d.object(d.kinds["host"], record.number("HID"))
		if failed != nil {
			return nil, errors.New(failed.message)
		}
		statements = append(statements, d.statement(d.kinds["host"], occupy(host, vm, false)))
	}
	networks, err := d.objects(d.kinds["vn"], "1 = 1")
	if err != nil {
		return nil, err
	}
	for _, network := range networks {
		if before := network.get("USED_LEASES"); before != "0" {
			release(network, id)
			statements = append(statements, d.statement(d.kinds["vn"], network))
		}
	}
	for _, disk := range vm.at("TEMPLATE").all("DISK") {
		if disk.at("IMAGE_ID") == nil {
			continue
		}
		image, failed := d.object(d.kinds["image"], disk.number("IMAGE_ID"))
		if failed != nil {
			return nil, errors.New(failed.message)
		}
		statements = append(statements, d.statement(d.kinds["image"], inUse(image, id, false)))
	}
	return statements, nil
}

// occupy takes a machine's share of a host, or gives it back.
func occupy(host, vm *node, in bool) *node {
	cpu, _ := strconv.ParseFloat(vm.get("TEMPLATE/CPU"), 64)
	share, sign := host.at("HOST_SHARE"), map[bool]int{true: 1, false: -1}[in]
	share.set("MEM_USAGE", share.number("MEM_USAGE")+sign*1024*vm.number("TEMPLATE/MEMORY"))
	share.set("CPU_USAGE", share.number("CPU_USAGE")+sign*int(cpu*100+0.5))
	host.setID("VMS", vm.number("ID"), in)
	share.set("RUNNING_VMS", len(host.ids("VMS")))
	return host
}

// vmLog adds a line to a machine's own log.
func (d *daemon) vmLog(vm *node, component, level, message string, when bool) {
	if !when {
		return
	}
	f, err := os.OpenFile(d.host.path(fmt.Sprintf("/var/log/one/%s.log", vm.get("ID"))), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
	if err != nil {
		_, _ = fmt.Fprintf(d.host.Stderr, "log of virtual machine %s: %v\n", vm.get("ID"), err)
		return
	}
	defer closeQuietly(f)
	_, _ = fmt.Fprintf(f, "%s [Z0][%s][%s]: %s\n", d.host.Now().Format(time.ANSIC), component, level, message)
}

// writeFiles puts what a machine starts with into its directory: the deployment file, and the token for OneGate.
func (d *daemon) writeFiles(vm *node) error {
	dir := d.host.path(filepath.Join("/var/lib/one/vms", vm.get("ID")))
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	if strings.EqualFold(vm.get("TEMPLATE/CONTEXT/TOKEN"), "YES") {
		db, err := d.server.read()
		if err != nil {
			return err
		}
		owner := db.user(vm.number("TEMPLATE/CREATED_BY"))
		if owner == nil {
			return fmt.Errorf("user %s is gone", vm.get("TEMPLATE/CREATED_BY"))
		}
		secret, err := owner.token()
		if err != nil {
			return err
		}
		if secret == "" {
			return errors.New("Cannot generate OneGate token: TOKEN_PASSWORD not set in the user template.")
		}
		token, err := encryptCBC(vm.get("ID")+":"+vm.get("STIME"), secret, make([]byte, aes.BlockSize))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, "token.txt"), []byte(token+"\n"), 0o640)
		}
		if err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(dir, "deployment."+lastRecord(vm).get("SEQ")), []byte(vm.String()+"\n"), 0o640)
}

// token is the secret that the tokens of a user's machines are made with.
func (u *user) token() (string, error) {
	template, err := parseDocument("<TEMPLATE>" + u.Template + "</TEMPLATE>")
	if err != nil {
		return "", err
	}
	return template.get("TOKEN_PASSWORD"), nil
}

// encryptCBC is AES-256-CBC with the first 32 bytes of a key, and base64.
func encryptCBC(plain, key string, iv []byte) (string, error) {
	block, err := aes.NewCipher([]byte(key)[:min(32, len(key))])
	if err != nil {
		return "", err
	}
	padding := aes.BlockSize - len(plain)%aes.BlockSize
	data := append([]byte(plain), slices.Repeat([]byte{byte(padding)}, padding)...)
	cipher.NewCBCEncrypter(block, iv).CryptBlocks(data, data)
	return base64.StdEncoding.EncodeToString(data), nil
}

// decryptCBC is what encryptCBC is undone by.
func decryptCBC(encrypted, key string, iv []byte) (string, error) {
	data, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(encrypted), ""))
	if err != nil {
		return "", err
	}
	block, err := aes.NewCipher([]byte(key)[:min(32, len(key))])
	if err != nil {
		return "", err
	}
	if len(data) == 0 || len(data)%aes.BlockSize != 0 || len(iv) != aes.BlockSize {
		return "", errors.New("wrong final block length")
	}
	cipher.NewCBCDecrypter(block, iv).CryptBlocks(data, data)
	padding := int(data[len(data)-1])
	if padding == 0 || padding > aes.BlockSize || !slices.Equal(data[len(data)-padding:], slices.Repeat([]byte{byte(padding)}, padding)) {
		return "", errors.New("bad decrypt")
	}
	return string(data[:len(data)-padding]), nil
}
