package exercise

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"opennebula-kube/image/internal/xmlrpc"
)

const machineName = Prefix + "machine"

const (
	vmPending        = 1
	vmActive         = 3
	vmDone           = 6
	vmCloningFailure = 11
	lcmRunning       = 3
)

func vmStates() map[int]string {
	return map[int]string{
		0: "INIT", vmPending: "PENDING", 2: "HOLD", vmActive: "ACTIVE", 4: "STOPPED", 5: "SUSPENDED", vmDone: "DONE", 8: "POWEROFF", 9: "UNDEPLOYED",
		10: "CLONING", vmCloningFailure: "CLONING_FAILURE",
	}
}

// lcmStates are those that a machine can be in that is made, runs, and is terminated.
func lcmStates() map[int]string {
	return map[int]string{
		0: "LCM_INIT", 1: "PROLOG", 2: "BOOT", lcmRunning: "RUNNING", 11: "EPILOG", 12: "SHUTDOWN", 15: "CLEANUP_RESUBMIT", 16: "UNKNOWN",
		23: "CLEANUP_DELETE", 36: "BOOT_FAILURE", 39: "PROLOG_FAILURE", 40: "EPILOG_FAILURE",
	}
}

// lcmFailures are states that a machine does not leave by itself.
func lcmFailures() []int { return []int{36, 37, 38, 39, 40, 41, 42, 44, 46, 47, 48, 49, 50, 61} }

// machine is what oned says of a virtual machine.
type machine struct {
	object
	State int   `xml:"STATE"`
	LCM   int   `xml:"LCM_STATE"`
	Start int64 `xml:"STIME"`
	// CreatedBy is the user whose password OneGate's tokens are made with.
	CreatedBy int       `xml:"TEMPLATE>CREATED_BY"`
	User      variables `xml:"USER_TEMPLATE"`
	History   []struct {
		Host int `xml:"HID"`
	} `xml:"HISTORY_RECORDS>HISTORY"`
}

// variables are the attributes of a machine that oned and its user write.
type variables struct {
	Error     string `xml:"ERROR"`
	Scheduler string `xml:"SCHED_MESSAGE"`
	Guest     string `xml:"ONE_EXERCISE_GUEST"`
}

func (m machine) running() bool { return m.State == vmActive && m.LCM == lcmRunning }

func (m machine) failed() bool {
	return m.State == vmCloningFailure || m.State == vmActive && slices.Contains(lcmFailures(), m.LCM)
}

// String tells the state of a machine, and what OpenNebula says about it.
func (m machine) String() string {
	text := "it is " + stateName(vmStates(), m.State)
	if m.State == vmActive {
		text += "/" + stateName(lcmStates(), m.LCM)
	}
	if m.User.Error != "" {
		text += fmt.Sprintf(" (%s)", clip(m.User.Error))
	}
	if m.State == vmPending && m.User.Scheduler != "" {
		text += fmt.Sprintf(", and the scheduler says %q", clip(m.User.Scheduler))
	}
	return text
}

func (t Target) machine(ctx context.Context, id int) (m machine, err error) {
	err = t.document(ctx, &m, "one.vm.info", xmlrpc.Number(id), xmlrpc.Bool(false))
	return m, err
}

// machineTemplate describes a machine that fits on the host and nowhere else, with the image.
func (t Target) machineTemplate(ctx context.Context) (template string, host int, err error) {
	if host, err = t.Host(ctx); err != nil {
		return "", 0, err
	}
	image, err := t.Image(ctx)
	if err != nil {
		return "", 0, err
	}
	datastore, err := t.datastore(ctx, systemDatastoreName, "SYSTEM_DS")
	if err != nil {
		return "", 0, err
	}
	return strings.Join([]string{
		`CPU = "0.1"`, `MEMORY = "64"`,
		fmt.Sprintf(`DISK = [ IMAGE_ID = "%d" ]`, image),
		`CONTEXT = [ TOKEN = "YES" ]`,
		fmt.Sprintf(`SCHED_REQUIREMENTS = "ID = %d"`, host),
		fmt.Sprintf(`SCHED_DS_REQUIREMENTS = "ID = %d"`, datastore),
	}, "\n") + "\n", host, nil
}

// Machine makes a new virtual machine, with the host and the image, returns when the scheduler has placed it and it runs, and returns its
// number.
func (t Target) Machine(ctx context.Context) (int, error) {
	template, host, err := t.machineTemplate(ctx)
	if err != nil {
		return 0, err
	}
	id, err := t.allocate(ctx, "one.vm.allocate", xmlrpc.Text(fmt.Sprintf("NAME = %q\n", machineName)+template), xmlrpc.Bool(false))
	if err != nil {
		return 0, fmt.Errorf("make the virtual machine %s: %w; look into oned.log for the reason", machineName, err)
	}
	if err := t.Running(ctx, id); err != nil {
		return id, err
	}
	m, err := t.machine(ctx, id)
	if err != nil {
		return id, fmt.Errorf("ask on which host virtual machine %d (%s) runs: %w", id, machineName, err)
	}
	if len(m.History) == 0 || m.History[len(m.History)-1].Host != host {
		return id, fmt.Errorf("ask on which host virtual machine %d (%s) runs: its history has %v, not host %d alone: look into sched.log and oned.log",
			id, machineName, m.History, host)
	}
	return id, nil
}

// Running returns when a virtual machine that Machine has made runs.
func (t Target) Running(ctx context.Context, id int) error {
	return t.until(ctx, fmt.Sprintf("wait until virtual machine %d (%s) runs", id, machineName),
		"look into oned.log, for the scheduler (SCM) while it is PENDING, for its host (VMM, TM) after that",
		func(ctx context.Context) (string, bool, error) {
			m, err := t.machine(ctx, id)
			switch {
			case err != nil:
				return "", false, err
			case m.failed() || m.State == vmDone:
				return "", false, fmt.Errorf("%v: look into its log, vms/%d.log or %d.log", m, id, id)
			}
			return m.String(), m.running(), nil
		})
}

// Terminate ends a virtual machine, and returns when it has.
func (t Target) Terminate(ctx context.Context, id int) error {
	if _, err := t.call(ctx, "one.vm.action", xmlrpc.Text("terminate-hard"), xmlrpc.Number(id)); err != nil {
		return fmt.Errorf("terminate virtual machine %d: %w; look into oned.log for the reason", id, err)
	}
	return t.done(ctx, id)
}

// done waits until a machine is over.
func (t Target) done(ctx context.Context, id int) error {
	err := t.until(ctx, fmt.Sprintf("wait until virtual machine %d is terminated", id), "look into oned.log for its host (VMM, TM)",
		func(ctx context.Context) (string, bool, error) {
			m, err := t.machine(ctx, id)
			if err != nil {
				return "", false, err
			}
			if m.failed() {
				return "", false, fmt.Errorf("%v: look into oned.log", m)
			}
			return m.String(), m.State == vmDone, nil
		})
	if err == nil {
		t.over(id)
	}
	return err
}
