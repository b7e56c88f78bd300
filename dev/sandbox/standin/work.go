package standin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// lookEvery is how often oned looks whether it leads now; beside that, it works when something has changed.
const lookEvery = 250 * time.Millisecond

// worker is what oned needs for its objects.
type worker struct {
	kinds map[string]*kind
	// config is oned.conf, with all of its lists.
	config *node
	woken  chan struct{}

	jobsLock *sync.Mutex
	jobs     []func() error
}

func (h Host) newWorker() (worker, error) {
	text, err := os.ReadFile(h.path(configFile))
	if err != nil {
		return worker{}, err
	}
	config, err := parseTemplate(string(text))
	return worker{kinds: kinds(), config: config, woken: make(chan struct{}, 1), jobsLock: new(sync.Mutex)}, err
}

// wake has oned look for what there is to do: hosts to monitor, machines to place.
func (d *daemon) wake() { notify(d.woken) }

// later has a driver do something soon. What is not done when oned ends is never done, as with oned's drivers.
func (d *daemon) later(job func() error) {
	d.jobsLock.Lock()
	defer d.jobsLock.Unlock()
	d.jobs = append(d.jobs, job)
	d.wake()
}

func (d *daemon) nextJob() (job func() error) {
	d.jobsLock.Lock()
	defer d.jobsLock.Unlock()
	if len(d.jobs) > 0 {
		job, d.jobs = d.jobs[0], d.jobs[1:]
	}
	return job
}

// work is what oned does by itself until ctx is done, alone or as the leader of its zone.
func (d *daemon) work(ctx context.Context) {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	led := false
	for {
		endpoint, err := d.raft.route()
		leads := endpoint == "" && err == nil
		if leads && !led {
			d.wake()
		}
		led = leads
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case <-d.woken:
			if leads {
				d.pass(ctx)
			}
		}
	}
}

// pass does all that there is to do.
func (d *daemon) pass(ctx context.Context) {
	do := func(what func() error) {
		d.allocating.Lock()
		defer d.allocating.Unlock()
		if err := what(); err != nil {
			d.log.logf(levelError, "ONE", "%v", err)
		}
	}
	do(d.monitorHosts)
	do(d.monitorDatastores)
	if d.config.at("SCHED_MAD") != nil {
		do(d.place)
	}
	for job := d.nextJob(); job != nil && ctx.Err() == nil; job = d.nextJob() {
		do(job)
	}
}

// monitorHosts brings hosts into the state that monitoring finds them in.
func (d *daemon) monitorHosts() error {
	k := d.kinds["host"]
	hosts, err := d.objects(k, "1 = 1")
	if err != nil {
		return err
	}
	for _, host := range hosts {
		state, driver := hostMonitored, host.get("IM_MAD")
		if !d.monitors(driver) {
			d.log.logf(levelError, "HMM", "start_monitor: Cannot find driver %s", driver)
			continue
		}
		if missing := MissingProbes(d.host.Root, driver); len(missing) > 0 {
			d.log.logf(levelError, "InM", "Error monitoring host %s: No such file or directory @ dir_initialize - %s", host.get("NAME"), missing[0])
			state = hostError
		}
		// The dummy driver's monitoring client keeps the machines that it has started there.
		if err := os.MkdirAll(d.host.path("/var/tmp/one_db"), 0o755); err != nil {
			d.log.logf(levelError, "InM", "Error monitoring host %s: %v", host.get("NAME"), err)
			state = hostError
		}
		if host.number("STATE") == state {
			continue
		}
		host.set("STATE", state)
		host.set("PREV_STATE", state)
		if share := host.at("HOST_SHARE"); state == hostMonitored {
			for _, name := range []string{"TOTAL", "MAX"} {
				share.set(name+"_MEM", 16<<20)
				share.set(name+"_CPU", 800)
			}
			share.at("DATASTORES").children = []*node{quoted("DISK_USAGE", 0), quoted("FREE_DISK", 20480), quoted("MAX_DISK", 20480), quoted("USED_DISK", 9720)}
			template := host.at("TEMPLATE")
			template.merge(elem("", quoted("ARCH", "x86_64"), quoted("CPUSPEED", 3200), quoted("HOSTNAME", host.get("NAME")), quoted("HYPERVISOR", "dummy"),
				quoted("IM_MAD", driver), quoted("TOTALCPU", 800), quoted("TOTALMEMORY", 16<<20), quoted("VM_MAD", host.get("VM_MAD"))))
		}
		if err := d.saveObjects(k, host); err != nil {
			return err
		}
		d.log.logf(levelInfo, "InM", "Host %s (%s) is in state %d", host.get("NAME"), host.get("ID"), state)
	}
	return nil
}

// monitorDatastores finds out how large the datastores are that the dummy drivers know.
func (d *daemon) monitorDatastores() error {
	k := d.kinds["datastore"]
	stores, err := d.objects(k, "1 = 1")
	for _, store := range stores {
		if store.number("TOTAL_MB") != 0 || store.get("TM_MAD") != dummyDriver || store.get("DS_MAD") != dummyDriver && store.get("DS_MAD") != "-" {
			continue
		}
		for name, size := range map[string]int{"TOTAL_MB": 20480, "FREE_MB": 20480, "USED_MB": 9720} {
			store.set(name, size)
		}
		err = errors.Join(err, d.saveObjects(k, store))
	}
	return err
}

// dummyDriver is the name of the drivers that do nothing, which need no hypervisor.
const dummyDriver = "dummy"

// monitors tells whether the configuration of onemonitord has a driver.
func (d *daemon) monitors(driver string) bool {
	text, err := os.ReadFile(d.host.path(monitorConfig))
	if err != nil {
		return false
	}
	config, err := parseTemplate(string(text))
	return err == nil && driver == dummyDriver && driverNamed(config, "IM_MAD", driver) != nil
}

// place finds a host and a datastore for each machine that waits for one.
func (d *daemon) place() error {
	vms, err := d.objects(d.kinds["vm"], fmt.Sprintf("state = %d", vmPending))
	if err != nil {
		return err
	}
	for _, vm := range slices.Backward(vms) {
		hosts, err := d.objects(d.kinds["host"], fmt.Sprintf("state = %d", hostMonitored))
		if err != nil {
			return err
		}
		stores, err := d.objects(d.kinds["datastore"], "1 = 1")
		if err != nil {
			return err
		}
		hosts = slices.DeleteFunc(hosts, func(host *node) bool {
			return !fits(host, vm) || !meets(host, vm.get("USER_TEMPLATE/SCHED_REQUIREMENTS"))
		})
		stores = slices.DeleteFunc(stores, func(store *node) bool {
			// A datastore that hosts share needs room; that of a local one is the host's.
			full := store.get("TEMPLATE/SHARED") == "YES" && store.number("FREE_MB") == 0
			return store.number("TYPE") != systemDatastore || full || !meets(store, vm.get("USER_TEMPLATE/SCHED_DS_REQUIREMENTS"))
		})
		if len(hosts) == 0 || len(stores) == 0 {
			why := fmt.Sprintf("Cannot dispatch VM: %d hosts and %d system datastores meet its requirements", len(hosts), len(stores))
			if message := vm.get("USER_TEMPLATE/SCHED_MESSAGE"); !strings.HasSuffix(message, why) {
				vm.at("USER_TEMPLATE").merge(elem("", quoted("SCHED_MESSAGE", d.host.Now().Format(time.ANSIC)+": "+why)))
				err = d.saveObjects(d.kinds["vm"], vm)
			}
			if err != nil {
				return err
			}
			continue
		}
		host := slices.MinFunc(hosts, func(a, b *node) int {
			return cmp.Compare(a.number("HOST_SHARE/RUNNING_VMS"), b.number("HOST_SHARE/RUNNING_VMS"))
		})
		store := slices.MinFunc(stores, func(a, b *node) int { return cmp.Compare(a.number("ID"), b.number("ID")) })
		if err := d.deploy(vm, host, store); err != nil {
			return err
		}
	}
	return nil
}

// fits tells whether a host has room for a machine.
func fits(host, vm *node) bool {
	share := occupy(host, vm, true).at("HOST_SHARE")
	room := share.number("MEM_USAGE") <= share.number("MAX_MEM") && share.number("CPU_USAGE") <= share.number("MAX_CPU")
	occupy(host, vm, false)
	return room
}

// meets tells whether an object meets requirements such as ID="0" | NAME = h1 & STATE = 2: one of the parts with | in between, whole.
func meets(object *node, requirements string) bool {
	if strings.TrimSpace(requirements) == "" {
		return true
	}
	for anyOf := range strings.SplitSeq(requirements, "|") {
		met := true
		for part := range strings.SplitSeq(anyOf, "&") {
			name, wanted, found := strings.Cut(part, "=")
			unquote := func(s string) string { return strings.Trim(s, "\"() \t") }
			name = unquote(name)
			met = met && found && cmp.Or(object.get(name), object.get("TEMPLATE/"+name)) == unquote(wanted)
		}
		if met {
			return true
		}
	}
	return false
}

// deploy begins the life of a machine at a host.
func (d *daemon) deploy(vm, host, store *node) error {
	d.newRecord(vm, host, store)
	if err := d.saveObjects(d.kinds["host"], occupy(host, vm, true)); err != nil {
		return err
	}
	vm.at("USER_TEMPLATE").drop("SCHED_MESSAGE")
	if err := d.setState(vm, vmActive, lcmProlog); err != nil {
		return err
	}
	d.later(func() error { return d.advance(vm.number("ID")) })
	return nil
}

// vmDeploy puts a machine on a host: the ids of both, whether to heed the host's room, and the id of a datastore.
func (d *daemon) vmDeploy(_ *database, caller *user, params []value) (value, *rpcError) {
	if caller.GID != oneadminGroup {
		return value{}, unauthorized(caller, "ADMIN VM")
	}
	d.allocating.Lock()
	defer d.allocating.Unlock()
	vm, failed := d.target(d.kinds["vm"], caller, params, "ADMIN")
	if failed != nil {
		return value{}, failed
	}
	host, failed := d.target(d.kinds["host"], caller, params[min(1, len(params)):], "MANAGE")
	if failed != nil {
		return value{}, failed
	}
	id, err := paramInt(params, 3, -1)
	if err != nil {
		return value{}, failure(codeAPI, err.Error())
	}
	store, failed := d.object(d.kinds["datastore"], max(id, 0))
	switch state := vm.number("STATE"); {
	case failed != nil:
		return value{}, failed
	case state != vmPending && state != vmHold:
		return value{}, failure(codeAction, fmt.Sprintf("Deploy action is not available for state %s", stateName(vm)))
	}
	if err := d.deploy(vm, host, store); err != nil {
		return value{}, failure(codeInternal, err.Error())
	}
	return intValue(vm.number("ID")), nil
}

// advance is what the drivers do with a machine, one step after the other.
func (d *daemon) advance(id int) error {
	vm, failed := d.object(d.kinds["vm"], id)
	if failed != nil {
		return errors.New(failed.message)
	}
	record := lastRecord(vm)
	next := map[int][2]int{
		lcmProlog: {vmActive, lcmBoot}, lcmBoot: {vmActive, lcmRunning}, lcmShutdown: {vmActive, lcmEpilog}, lcmEpilog: {vmDone, lcmInit},
		lcmCleanupDelete: {vmDone, lcmInit}, lcmShutdownPoweroff: {vmPoweroff, lcmInit}, lcmBootPoweroff: {vmActive, lcmRunning},
	}
	lcm := vm.number("LCM_STATE")
	to, ok := next[lcm]
	if !ok {
		return nil
	}
	fail := func(state int, component, why string) error {
		d.vmLog(vm, component, "E", why, true)
		vm.at("USER_TEMPLATE").merge(elem("", quoted("ERROR", fmt.Sprintf("%s : %s", d.host.Now().Format(time.ANSIC), why))))
		return d.setState(vm, vmActive, state)
	}
	switch lcm {
	case lcmProlog:
		if transfer := record.get("TM_MAD"); transfer != dummyDriver {
			return fail(lcmPrologFailure, "TrM", fmt.Sprintf("Error executing image transfer script: the driver %s does not reach host %s", transfer,
				record.get("HOSTNAME")))
		}
		if err := d.writeFiles(vm); err != nil {
			return fail(lcmPrologFailure, "VM", err.Error())
		}
	case lcmBoot, lcmBootPoweroff:
		if driver := record.get("VM_MAD"); driver != dummyDriver || driverNamed(d.config, "VM_MAD", driver) == nil {
			return fail(lcmBootFailure, "VMM", "error getting driver "+driver)
		}
		d.vmLog(vm, "VMM", "I", fmt.Sprintf("Generating deployment file: /var/lib/one/vms/%d/deployment.%s", id, record.get("SEQ")), true)
		vm.set("DEPLOY_ID", fmt.Sprintf("%s:%s:dummy", record.get("HOSTNAME"), vm.get("NAME")))
	}
	if err := d.setState(vm, to[0], to[1]); err != nil {
		return err
	}
	d.later(func() error { return d.advance(id) })
	return nil
}

// bootstrapObjects makes the objects that oned makes itself: the default datastores, the default security group, and rules of access.
func (d *daemon) bootstrapObjects() error {
	oneadmin := &user{ID: 0, Name: "oneadmin", GID: oneadminGroup, GName: "oneadmin"}
	made, err := d.server.run("SELECT tablename FROM pool_control;")
	if err != nil {
		return err
	}
	if has := strings.Fields(made); !slices.Contains(has, "datastore_pool") {
		for _, template := range []string{
			"NAME = system\nTYPE = SYSTEM_DS\nTM_MAD = local",
			"NAME = default\nTYPE = IMAGE_DS\nDS_MAD = fs\nTM_MAD = local",
			"NAME = files\nTYPE = FILE_DS\nDS_MAD = fs\nTM_MAD = local",
		} {
			given, err := parseTemplate(template)
			if err == nil {
				given, err = newDatastore(oneadmin, given)
			}
			if err == nil {
				_, err = d.insert(d.kinds["datastore"], given)
			}
			if err != nil {
				return fmt.Errorf("Error trying to create default datastore: %w", err)
			}
		}
		if err := d.exec(lastID("datastore_pool", 99)); err != nil {
			return err
		}
	}
	return errors.Join(d.bootstrapSecurity(oneadmin, made), d.bootstrapRules(made))
}

func (d *daemon) bootstrapSecurity(oneadmin *user, made string) error {
	k := d.kinds["secgroup"]
	if slices.Contains(strings.Fields(made), k.table) {
		return nil
	}
	rules, err := parseTemplate("DESCRIPTION = \"Added to every network\"\nRULE = [ PROTOCOL = ALL, RULE_TYPE = OUTBOUND ]\n" +
		"RULE = [ PROTOCOL = ALL, RULE_TYPE = INBOUND ]")
	if err != nil {
		return err
	}
	group := header(oneadmin, k.tag, "default", elem("UPDATED_VMS"), elem("OUTDATED_VMS"), elem("UPDATING_VMS"), elem("ERROR_VMS"), rules)
	for _, right := range []string{"OWNER_A", "GROUP_U", "OTHER_U"} {
		group.set("PERMISSIONS/"+right, 1)
	}
	if _, err := d.insert(k, group); err != nil {
		return fmt.Errorf("Error trying to create default security group: %w", err)
	}
	return d.exec(lastID(k.table, 99))
}

// bootstrapRules makes the rules of access that a new database has. What they allow is in mayDo and in the table of the kinds.
func (d *daemon) bootstrapRules(made string) error {
	if slices.Contains(strings.Fields(made), "acl") {
		return nil
	}
	const everyone, group, create, use = 0x400000000, 0x200000000, 0x8, 0x1
	// The kinds of objects, in their numbers in rules.
	const vm, image, template, document, zone, secgroup, market, app, vmgroup, backup = 1 << 36, 1 << 39, 1 << 41, 1 << 46, 1 << 47, 1 << 48, 1 << 51,
		1 << 52, 1 << 53, 1 << 56
	rules := [][4]int{
		{group | usersGroup, everyone | vm | image | template | document | secgroup | vmgroup | backup, create, everyone},
		{everyone, everyone | zone, use, everyone},
		{everyone, everyone | market | app, use, everyone},
	}
	statements := []string{lastID("acl", len(rules)-1)}
	for id, rule := range rules {
		statements = append(statements, fmt.Sprintf("INSERT INTO acl VALUES (%d, %d, %d, %d, %d)", id, rule[0], rule[1], rule[2], rule[3]))
	}
	return d.exec(statements...)
}
