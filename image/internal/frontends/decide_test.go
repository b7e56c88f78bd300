package frontends_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/Masterminds/semver/v3"

	"opennebula-kube/image/internal/frontends"
)

// database is one of 7.2, the version of the software, with a log of which all is applied.
func database(index int) frontends.FrontEnd {
	return frontends.FrontEnd{
		Contents: frontends.Filled, Version: semver.MustParse("7.2.0"), Passwords: 2, Position: frontends.Position{Term: 1, Index: index, Applied: index},
	}
}

func older(f frontends.FrontEnd) frontends.FrontEnd {
	f.Version = semver.MustParse("7.0.0")
	return f
}

func with(f frontends.FrontEnd, change func(f *frontends.FrontEnd)) frontends.FrontEnd {
	change(&f)
	return f
}

func runs(f frontends.FrontEnd, oned frontends.Oned) frontends.FrontEnd {
	return with(f, func(f *frontends.FrontEnd) { f.Oned = oned })
}

func changed(f frontends.FrontEnd, generation string) frontends.FrontEnd {
	return with(f, func(f *frontends.FrontEnd) { f.Generation = generation })
}

func TestDecide(t *testing.T) {
	empty := frontends.FrontEnd{Contents: frontends.Empty}
	unknown := frontends.FrontEnd{Reason: "refused"}
	halfApplied := func(f frontends.FrontEnd) frontends.FrontEnd {
		return with(f, func(f *frontends.FrontEnd) { f.Position.Applied-- })
	}
	unseen := runs(unknown, frontends.Member)
	member, leader := runs(database(5), frontends.Member), runs(database(5), frontends.Leading)
	// A leader that is cut off does not know that there is another.
	former, latest := with(leader, func(f *frontends.FrontEnd) { f.Term = 3 }), with(leader, func(f *frontends.FrontEnd) { f.Term = 4 })
	for _, c := range []struct {
		name string
		self int
		all  []frontends.FrontEnd
		want string
	}{
		{"all empty, the first", 0, []frontends.FrontEnd{empty, empty, empty}, "begin: no front-end has a database"},
		{"all empty, another", 2, []frontends.FrontEnd{empty, empty, empty}, "wait: one-0 is to begin"},
		{"the first does not see a database", 0, []frontends.FrontEnd{empty, empty, unknown}, "wait: the database of one-2 does not answer: refused"},
		{"the first has lost its database", 0, []frontends.FrontEnd{empty, database(5), empty}, "wait: one-1 has a database"},
		{"oned alone is no source", 1, []frontends.FrontEnd{runs(database(0), frontends.Alone), empty, empty}, "wait: one-0 begins"},
		{"the first is up", 1, []frontends.FrontEnd{member, empty, empty}, "copy 0"},
		{"the first is up, one is not seen", 1, []frontends.FrontEnd{member, empty, unknown}, "wait: one-0 runs, and one-2"},
		{"the first is up, its database is not seen", 1, []frontends.FrontEnd{unseen, empty, database(6)}, "wait: one-0 runs, and one-2"},
		{"a leader, its database is not seen", 1, []frontends.FrontEnd{runs(unseen, frontends.Leading), empty, database(6)}, "wait: one-0 leads, and its database is not seen: refused"},
		{"two are up without a leader", 2, []frontends.FrontEnd{member, member, empty}, "wait: one-0 runs, and one-1"},
		{"one up, one down with a database", 2, []frontends.FrontEnd{database(5), member, empty}, "wait: one-1 runs, and one-0"},
		{"a leader", 0, []frontends.FrontEnd{empty, member, leader}, "copy 2"},
		{"a leader, one is not seen", 0, []frontends.FrontEnd{empty, leader, unknown}, "copy 1"},
		{"two leaders", 0, []frontends.FrontEnd{empty, former, latest}, "copy 2"},
		{"another password runs", 0, []frontends.FrontEnd{empty, leader, runs(database(5), frontends.Refusing)}, "wait: oned of one-2"},

		{"as it was", 1, []frontends.FrontEnd{database(5), database(3), database(5)}, "proceed"},
		{"as it was, nobody is seen", 1, []frontends.FrontEnd{unknown, database(3), unknown}, "wait: the database of one-0 does not answer: refused"},
		{"as it was, one is not seen", 1, []frontends.FrontEnd{unknown, database(3), database(3)}, "proceed"},
		{"as it was, beside those that are still to copy", 1, []frontends.FrontEnd{empty, database(3), empty}, "proceed"},
		{"upgraded long ago, the others went on, and are not seen yet", 0, []frontends.FrontEnd{changed(database(5), "a"), unknown, unknown}, "wait: the database of one-1"},
		{"the own database is not seen, with a leader", 1, []frontends.FrontEnd{leader, unknown, member}, "wait: the database of one-1, the own one"},
		{"the own database is not seen, and the others have none", 1, []frontends.FrontEnd{empty, unknown, empty}, "wait: the database of one-1, the own one"},
		{"as it was, with a leader", 1, []frontends.FrontEnd{leader, database(3), empty}, "proceed"},
		{"as it was, beside one that has not copied yet", 1, []frontends.FrontEnd{leader, database(3), older(database(5))}, "proceed"},
		{"as it was, beside an older version that runs", 1, []frontends.FrontEnd{runs(older(database(9)), frontends.Member), database(3), database(5)}, "wait: oned of one-0"},
		{"upgraded long ago, the others went on", 0, []frontends.FrontEnd{changed(database(5), "a"), older(database(9)), older(database(9))}, "wait: one-1, whose"},
		{"upgraded long ago, another has upgraded since", 0, []frontends.FrontEnd{changed(database(5), "a"), runs(changed(database(9), "b"), frontends.Member), older(database(9))}, "copy 1"},
		{"upgraded, and first of all", 0, []frontends.FrontEnd{changed(database(9), "a"), older(database(9)), older(database(5))}, "proceed"},
		{"upgraded, and somebody is not seen", 0, []frontends.FrontEnd{changed(database(9), "a"), older(database(9)), unknown}, "wait: the database of one-2"},

		{"upgrade, old ones run", 2, []frontends.FrontEnd{runs(older(database(5)), frontends.Leading), older(database(5)), older(database(5))}, "wait: oned of one-0"},
		{"upgrade, all equal, the first", 0, []frontends.FrontEnd{older(database(5)), older(database(5)), older(database(5))}, "upgrade"},
		{"upgrade, all equal, another", 1, []frontends.FrontEnd{older(database(5)), older(database(5)), older(database(5))}, "wait: one-0, whose"},
		{"upgrade, the last has most", 2, []frontends.FrontEnd{older(database(5)), older(database(4)), older(database(6))}, "upgrade"},
		{"upgrade, what is applied counts", 1, []frontends.FrontEnd{halfApplied(older(database(5))), older(database(5)), older(database(3))}, "upgrade"},
		{"upgrade, more in the log, less applied", 1, []frontends.FrontEnd{halfApplied(older(database(6))), older(database(5)), older(database(5))}, "wait: one-0, whose"},
		{"upgrade, the last record was never acknowledged", 0, []frontends.FrontEnd{halfApplied(older(database(5))), older(database(3)), older(database(3))}, "upgrade"},
		{"upgrade, the last record may have been acknowledged", 0, []frontends.FrontEnd{halfApplied(older(database(5))), older(database(3)), empty}, "wait: the last records"},
		{"upgrade, of a backup", 0, []frontends.FrontEnd{halfApplied(older(database(5))), empty, empty}, "upgrade"},
		{"upgrade, one has lost its database, the log counts", 1, []frontends.FrontEnd{older(database(5)), older(database(6)), empty}, "upgrade"},
		{"upgrade, a database is not seen", 0, []frontends.FrontEnd{older(database(5)), unknown, older(database(5))}, "wait: the database of one-1"},
		{"upgraded by another, not up", 1, []frontends.FrontEnd{changed(database(9), "a"), older(database(9)), older(database(5))}, "wait: one-0, whose"},
		{"upgraded by another, up", 1, []frontends.FrontEnd{runs(changed(database(9), "a"), frontends.Member), older(database(9)), older(database(5))}, "copy 0"},
		{"upgraded by another, with less", 1, []frontends.FrontEnd{runs(changed(database(5), "a"), frontends.Member), older(database(9)), older(database(5))}, "wait: one-0 is the first, and its database has 5 records of the zone's log, of the 9 here"},
		{"upgraded, two up", 2, []frontends.FrontEnd{runs(changed(database(9), "a"), frontends.Member), runs(changed(database(9), "a"), frontends.Member), older(database(5))}, "wait: one-0 runs, and one-1"},
		{"upgraded, a leader", 2, []frontends.FrontEnd{runs(changed(database(9), "a"), frontends.Member), runs(changed(database(9), "a"), frontends.Leading), older(database(5))}, "copy 1"},
		{"upgraded half of the way before, all are outdated", 1, []frontends.FrontEnd{
			older(database(5)), with(older(database(5)), func(f *frontends.FrontEnd) { f.Version = semver.MustParse("7.1.0") }), older(database(5)),
		}, "upgrade"},
	} {
		t.Run(c.name, func(t *testing.T) {
			all := named(c.all)
			if got := describe(frontends.Decide(all, c.self, isOutdated(all[c.self]))); !strings.HasPrefix(got, c.want) {
				t.Errorf("decides %q, want %q", got, c.want)
			}
		})
	}
}

func isOutdated(f frontends.FrontEnd) bool {
	return f.Contents != frontends.Filled || f.Passwords != 2 || f.Version.LessThan(semver.MustParse("7.2.0"))
}

// TestDecideTogether goes through all that three front-ends can be. Whatever it is, at most one of them changes its database, nobody does so
// beside an oned that runs or without having seen every database, and nobody gives up records that are applied nowhere else. Where nothing
// runs and all is seen, somebody acts.
func TestDecideTogether(t *testing.T) {
	kinds := []frontends.FrontEnd{{Contents: frontends.Unknown}, {Contents: frontends.Unknown, Oned: frontends.Member}, {Contents: frontends.Empty}}
	for _, oned := range []frontends.Oned{frontends.Silent, frontends.Alone, frontends.Member, frontends.Leading} {
		for _, position := range []frontends.Position{{1, 5, 5}, {1, 6, 5}, {2, 6, 6}} {
			f := runs(database(0), oned)
			f.Position = position
			half := older(f)
			half.Passwords = 1
			kinds = append(kinds, older(f), half, changed(f, "a"), changed(f, "b"))
		}
	}
	kinds = append(kinds, runs(database(5), frontends.Refusing))
	for _, a := range kinds {
		for _, b := range kinds {
			for _, c := range kinds {
				checkTogether(t, named([]frontends.FrontEnd{a, b, c}))
			}
		}
	}
}

func checkTogether(t *testing.T, all []frontends.FrontEnd) {
	t.Helper()
	changing, acting, settled := 0, 0, true
	for self, own := range all {
		settled = settled && own.Contents != frontends.Unknown && own.Oned == frontends.Silent
		if own.Contents == frontends.Unknown || own.Oned != frontends.Silent {
			continue
		}
		decision := frontends.Decide(all, self, isOutdated(own))
		switch decision.Action {
		case frontends.Wait:
			if decision.Reason == "" {
				t.Errorf("%+v: %d waits without a reason", all, self)
			}
			continue
		case frontends.Proceed:
			if isOutdated(own) {
				t.Errorf("%+v: %d proceeds with a database that is outdated", all, self)
			}
		case frontends.Copy:
			source := all[decision.Source]
			if source.Oned < frontends.Member || own.Contents == frontends.Filled && source.Position.Applied < own.Position.Applied {
				t.Errorf("%+v: %d copies from %d", all, self, decision.Source)
			}
		case frontends.Begin, frontends.Upgrade:
			changing++
			for i, f := range all {
				if i != self && (f.Oned != frontends.Silent || f.Contents == frontends.Unknown) {
					t.Errorf("%+v: %d acts in spite of %d", all, self, i)
				}
				if decision.Action == frontends.Begin && f.Contents != frontends.Empty {
					t.Errorf("%+v: %d begins in spite of the database of %d", all, self, i)
				}
				if decision.Action == frontends.Upgrade && f.Contents == frontends.Filled && f.Position.Applied > own.Position.Applied && f.Position.Index <= own.Position.Index {
					t.Errorf("%+v: %d upgrades, and %d has more in its tables", all, self, i)
				}
			}
		}
		acting++
	}
	if changing > 1 {
		t.Errorf("%+v: %d of them change their databases", all, changing)
	}
	// Of what one that has lost its database may have acknowledged a person has to decide.
	if settled && acting == 0 && !hasEmpty(all) {
		t.Errorf("%+v: all wait for each other", all)
	}
}

func hasEmpty(all []frontends.FrontEnd) bool {
	for _, f := range all {
		if f.Contents == frontends.Empty {
			return true
		}
	}
	return false
}

func named(all []frontends.FrontEnd) []frontends.FrontEnd {
	for i := range all {
		all[i].Name = fmt.Sprintf("one-%d", i)
	}
	return all
}

func describe(d frontends.Decision) string {
	switch d.Action {
	case frontends.Proceed:
		return "proceed"
	case frontends.Begin:
		return "begin: " + d.Reason
	case frontends.Upgrade:
		return "upgrade"
	case frontends.Copy:
		return fmt.Sprintf("copy %d", d.Source)
	}
	return "wait: " + d.Reason
}
