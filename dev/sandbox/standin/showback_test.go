package standin_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestShowback has a machine that runs from one month into the next.
func TestShowback(t *testing.T) {
	m := newObjectsMachine(t, objectsConfig+scheduler)
	now := make(chan time.Time, 1)
	now <- time.Date(2026, 4, 30, 22, 0, 0, 0, time.UTC)
	m.host.Now = func() time.Time {
		t := <-now
		now <- t
		return t
	}
	m.start()
	m.ask("one.host.allocate", "h1", "dummy", "dummy", -1)
	m.ask("one.datastore.update", 0, "TYPE = SYSTEM_DS\nTM_MAD = dummy", 1)
	m.ask("one.vm.allocate", "NAME = v0\nCPU = 0.5\nMEMORY = 64\nCPU_COST = 10\nMEMORY_COST = 0.25", 0)
	m.is(running, "one.vm.info", 0)
	<-now
	now <- time.Date(2026, 5, 1, 1, 30, 0, 0, time.UTC)
	if out := m.wantSuccess("oneshowback", "calculate"); out != "\n" {
		t.Errorf("oneshowback prints %q", out)
	}
	const april = "<SHOWBACK><VMID>0</VMID><VMNAME>v0</VMNAME><UID>0</UID><GID>0</GID><UNAME>oneadmin</UNAME><GNAME>oneadmin</GNAME><YEAR>2026</YEAR><MONTH>4</MONTH>" +
		"<CPU_COST>10</CPU_COST><MEMORY_COST>32</MEMORY_COST><DISK_COST>0</DISK_COST><TOTAL_COST>42</TOTAL_COST><HOURS>2</HOURS><RHOURS>2</RHOURS></SHOWBACK>"
	const may = "<SHOWBACK><VMID>0</VMID><VMNAME>v0</VMNAME><UID>0</UID><GID>0</GID><UNAME>oneadmin</UNAME><GNAME>oneadmin</GNAME><YEAR>2026</YEAR><MONTH>5</MONTH>" +
		"<CPU_COST>7.5</CPU_COST><MEMORY_COST>24</MEMORY_COST><DISK_COST>0</DISK_COST><TOTAL_COST>31.5</TOTAL_COST><HOURS>1.5</HOURS><RHOURS>1.5</RHOURS></SHOWBACK>"
	for _, c := range []struct {
		params []any
		want   string
	}{
		{[]any{-2, -1, -1, -1, -1}, april + may}, {[]any{-2, 5, 2026, -1, -1}, may}, {[]any{-2, 1, 2026, 4, 2026}, april}, {[]any{3, -1, -1, -1, -1}, ""},
	} {
		if diff := cmp.Diff("<SHOWBACK_RECORDS>"+c.want+"</SHOWBACK_RECORDS>", m.ask("one.vmpool.showback", c.params...)); diff != "" {
			t.Errorf("%v (-want +got):\n%s", c.params, diff)
		}
	}
	if got := m.sql("SELECT vmid, year, month FROM vm_showback ORDER BY month"); got != "0|2026|4\n0|2026|5\n" {
		t.Errorf("rows: %q", got)
	}
	m.ask("one.user.allocate", "bob", "his", "")
	if answer := m.askAs("bob:his", "one.vmpool.calculateshowback", -1, -1, -1, -1); !strings.HasSuffix(answer[1], "User [2] : Action reserved for group 0 only.") {
		t.Errorf("bob may calculate: %q", answer)
	}
	if answer := m.askAs("bob:his", "one.vmpool.showback", -2, -1, -1, -1, -1); answer[1] != "<SHOWBACK_RECORDS></SHOWBACK_RECORDS>" {
		t.Errorf("bob sees costs of others: %q", answer)
	}
}
