package main

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"opennebula-kube/image/internal/settings"
)

func TestAdaptToTest(t *testing.T) {
	own := settings.Override{File: "/etc/one/oned.conf", Key: "PORT", Value: "2633"}
	s := settings.Settings{MonitorAddress: "192.0.2.1", Overrides: []settings.Override{own}}
	if err := adaptToTest(&s); err != nil {
		t.Fatal(err)
	}
	if s.Overrides[0] != own || s.MonitorAddress != "auto" || s.OneGateEndpoint == "" {
		t.Errorf("settings %+v, want what was set, that the host is the container, and where guests call OneGate", s)
	}
	for _, want := range []settings.Override{
		{File: "/etc/one/oned.conf", Key: "VM_MAD[NAME=dummy]/EXECUTABLE", Value: "one_vmm_dummy"},
		{File: "/etc/one/monitord.conf", Key: "IM_MAD[NAME=dummy]/EXECUTABLE", Value: "one_im_sh"},
	} {
		if !slices.Contains(s.Overrides, want) {
			t.Errorf("overrides %v, want %v among them", s.Overrides, want)
		}
	}
	for want, refused := range map[string]settings.Settings{
		"OPENNEBULA_HA_SERVERS": {HA: settings.HA{Servers: []string{"a", "b", "c"}}},
		"OPENNEBULA_SERVICES":   {Services: []string{"oned"}},
	} {
		if err := adaptToTest(&refused); err == nil || !strings.Contains(err.Error(), want+" is set") {
			t.Errorf("error %v, want one about %s", err, want)
		}
	}
}

func TestLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	unlock, err := lock(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lock(path); err == nil || !strings.Contains(err.Error(), "another process runs OpenNebula's services") {
		t.Errorf("error %v, want that another process has it", err)
	}
	unlock()
	if unlock, err = lock(path); err != nil {
		t.Errorf("after it is unlocked: %v", err)
	} else {
		unlock()
	}
	if _, err := lock(filepath.Join(path, "none")); err == nil || !strings.Contains(err.Error(), "writable") {
		t.Errorf("error %v, want one that says what to do", err)
	}
}
