package exercise

import (
	"context"
	"encoding/base64"
	"fmt"
	"time"

	"opennebula-kube/image/internal/xmlrpc"
)

const (
	hookName = Prefix + "hook"
	// hookedCall is what the hook is for: unlocking what is not locked changes nothing.
	hookedCall = "one.hook.unlock"
)

func (t Target) hooks(ctx context.Context) ([]object, error) {
	return t.pool(ctx, "one.hookpool.info", everything()...)
}

// Hook makes a hook for a call, makes that call until the hook manager has run the hook, and removes it. The hook manager has to be
// connected to oned when it begins: in OpenNebula 7.0 it does not survive the removal of a hook that it has not heard of.
func (t Target) Hook(ctx context.Context) error {
	template := fmt.Sprintf("NAME = %q\nTYPE = \"api\"\nCALL = %q\nCOMMAND = \"/bin/true\"\n", hookName, hookedCall)
	id, err := t.allocate(ctx, "one.hook.allocate", xmlrpc.Text(template))
	if err != nil {
		return fmt.Errorf("make the hook %s: %w; look into oned.log for the reason", hookName, err)
	}
	if err := t.awaitHook(ctx, id); err != nil {
		return err
	}
	if _, err := t.call(ctx, "one.hook.delete", xmlrpc.Number(id)); err != nil {
		return fmt.Errorf("remove hook %d (%s): %w; look into oned.log for the reason", id, hookName, err)
	}
	return nil
}

// execution is what the hook manager reports of a hook that it has run.
type execution struct {
	Command string `xml:"COMMAND"`
	Errors  string `xml:"STDERR"`
	Code    *int   `xml:"CODE"`
}

// awaitHook makes the call that a hook is for. What comes before the hook manager has heard of the hook is lost, so it makes it again
// when nothing has happened for some time.
func (t Target) awaitHook(ctx context.Context, id int) error {
	const again = 10
	asked := 0
	return t.until(ctx, fmt.Sprintf("wait until the hook manager has run hook %d (%s)", id, hookName),
		"look into onehem.log, and for the hook driver (HKM) in oned.log",
		func(ctx context.Context) (string, bool, error) {
			// Not in the first round: the hook manager has to be told of the hook first.
			if asked%again == 1 {
				if _, err := t.call(ctx, hookedCall, xmlrpc.Number(id)); err != nil {
					return "", false, err
				}
			}
			asked++
			var hook struct {
				Executions []execution `xml:"HOOKLOG>HOOK_EXECUTION_RECORD>EXECUTION_RESULT"`
			}
			if err := t.document(ctx, &hook, "one.hook.info", xmlrpc.Number(id), xmlrpc.Bool(false)); err != nil {
				return "", false, err
			}
			if len(hook.Executions) == 0 {
				return fmt.Sprintf("there is no record of that, and %s was called every %s", hookedCall, again*t.interval().Round(time.Millisecond)), false, nil
			}
			return "", true, hook.Executions[0].check()
		})
}

// check returns an error for an execution that failed.
func (e execution) check() error {
	if e.Code == nil {
		return fmt.Errorf("the record of %q has no status: look into onehem.log", clip(e.Command))
	}
	if *e.Code == 0 {
		return nil
	}
	said, err := base64.StdEncoding.DecodeString(e.Errors)
	if err != nil {
		said = []byte(e.Errors)
	}
	return fmt.Errorf("%q ended with status %d, %s: look into onehem.log", clip(e.Command), *e.Code, quoted(string(said), "without a message"))
}
