package startup

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestBackupsOfAnotherClock upgrades beside backups that are dated by clocks that were wrong, or by a clock that is wrong now.
func TestBackupsOfAnotherClock(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		now    time.Time
		before []string
		// want are the backups to be kept; the last of them is the one that was made.
		want []string
	}{
		{"dated in the future", date(2026, 5), []string{"20260401T000000Z", "20310101T000000Z"}, []string{"20260401T000000Z", "20260501T000000Z"}},
		{"all dated in the future", date(2020, 1), []string{"20260301T000000Z", "20260401T000000Z"}, []string{"20260401T000000Z", "20200101T000000Z"}},
		{"dated as this one", date(2026, 5), []string{"20260501T000000Z"}, []string{"20260501T000000Z", "20260501T000001Z"}},
		{"years later", date(2060, 1), []string{"20260301T000000Z", "20260401T000000Z"}, []string{"20260401T000000Z", "20600101T000000Z"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newMachine(t, "7.0.1")
			m.boot()
			for _, name := range c.before {
				m.write(databaseBackupDir+"/"+name+backupSuffix, name)
			}
			m.install("7.2.0")
			for range 2 {
				m.now = c.now
				m.boot()
				found, err := filepath.Glob(m.host.Path(databaseBackupDir + "/*"))
				if err != nil {
					t.Fatal(err)
				}
				names := make(map[string]bool)
				for _, file := range found {
					names[strings.TrimSuffix(filepath.Base(file), backupSuffix)] = true
				}
				want := make(map[string]bool)
				for _, name := range c.want {
					want[name] = true
				}
				if diff := cmp.Diff(want, names); diff != "" {
					t.Errorf("backups (-want +got):\n%s", diff)
				}
			}
			for _, name := range c.want[:len(c.want)-1] {
				if got := m.read(databaseBackupDir + "/" + name + backupSuffix); got != name {
					t.Errorf("backup %s has %q: it was replaced", name, got)
				}
			}
			made := m.host.Path(databaseBackupDir + "/" + c.want[len(c.want)-1] + backupSuffix)
			if got := m.sqlOf(made, "SELECT version FROM db_versioning"); got != "7.0.0" {
				t.Errorf("the backup that was made has schema %q, want 7.0.0", got)
			}
		})
	}
}

// TestFilesOfAnotherClock starts with all files dated years ahead, and years back.
func TestFilesOfAnotherClock(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "7.2.0")
	m.boot()
	m.boot()
	before := m.volume()
	for _, at := range []time.Time{date(2060, 1), date(1980, 1)} {
		for path := range before {
			if err := os.Chtimes(m.host.Path(path), at, at); err != nil {
				t.Fatal(err)
			}
		}
		m.boot()
		if diff := cmp.Diff(before, m.volume()); diff != "" {
			t.Errorf("files of %d: the start changed (-before +after):\n%s", at.Year(), diff)
		}
	}
}

func date(year int, month time.Month) time.Time {
	return time.Date(year, month, 1, 0, 0, 0, 0, time.UTC)
}
