// Package frontends is about several front-ends of one zone: what one of them does with its database before its oned may start, and what
// it is among the others then.
package frontends

import (
	"cmp"
	"fmt"

	"github.com/Masterminds/semver/v3"
)

// Contents is what there is in the database of a front-end.
type Contents int

// What there may be.
const (
	// Unknown is what is in a database that does not answer.
	Unknown Contents = iota
	Empty
	Filled
)

// Oned is how oned of a front-end answers.
type Oned int

// How it may answer.
const (
	// Silent is an oned that does not run.
	Silent Oned = iota
	// Refusing is one that refuses to tell what it is.
	Refusing
	// Alone is one that has no part in the zone yet.
	Alone
	// Member is one that waits for a leader or has one.
	Member
	// Leading is the leader.
	Leading
)

// Position is how much of the zone's log a database has.
type Position struct {
	// Term and Index are those of its last record; Applied is the last record that is in the tables too.
	Term, Index, Applied int
}

// FrontEnd is what is known of one.
type FrontEnd struct {
	// Name is what messages call it.
	Name     string
	Contents Contents
	// Version is that of the database, Passwords how many of those in it are as the settings have them.
	Version   *semver.Version
	Passwords int
	// Generation is another one after each change of the database that is not in the zone's log.
	Generation string
	Position   Position
	Oned       Oned
	// Term is that of the election, for the leader.
	Term int
	// Reason is why something is not known.
	Reason string
}

// same tells whether two databases can go on together, each with the records of the zone's log that it lacks.
func (f FrontEnd) same(other FrontEnd) bool {
	return f.sameKind(other) && f.Generation == other.Generation
}

// sameKind tells whether front-ends with the same software and settings use the databases.
func (f FrontEnd) sameKind(other FrontEnd) bool {
	return f.Passwords == other.Passwords && f.Version.Equal(other.Version)
}

func (f FrontEnd) runs() bool { return f.Oned >= Alone }

// Action is what to do.
type Action int

// What there is to do.
const (
	// Wait is to look again later.
	Wait Action = iota
	// Proceed is to start with the database as it is.
	Proceed
	// Begin is to fill the empty database as the first of the zone.
	Begin
	// Upgrade is to bring the database to the version of the software, and to the passwords of the settings.
	Upgrade
	// Copy is to replace the database by that of another front-end.
	Copy
)

// Decision is what to do and why.
type Decision struct {
	Action Action
	// Source is the front-end to copy from.
	Source int
	Reason string
}

// Decide tells what the front-end self does. Its database is outdated when it is empty, of an older version than the software, or has other
// passwords than the settings. Each decides by itself, and no two may begin, or upgrade, what the others do not copy: so nobody does while
// an oned runs, or while a database is not seen.
//
// What the zone has acknowledged is in the tables of the leader that did so, and in the log of most front-ends. So a database is given up only
// for one that has as many records at least.
func Decide(all []FrontEnd, self int, outdated bool) Decision {
	s := survey{all, self, all[self], outdated}
	if s.own.Contents == Unknown {
		return wait("the database of %s, the own one, does not answer: %s", s.own.Name, s.own.Reason)
	}
	if i := s.find(func(f FrontEnd) bool { return f.Oned == Refusing }); i >= 0 {
		return wait("oned of %s does not tell what it is: %s", all[i].Name, all[i].Reason)
	}
	if i := s.find(s.strange); i >= 0 {
		return wait("oned of %s runs with another version of the database, or other passwords, than this front-end is to have: front-ends of both do "+
			"not go together; stop all of them, then start all anew", all[i].Name)
	}
	if !outdated {
		conflict := s.find(func(f FrontEnd) bool { return f.Contents == Filled && !f.same(s.own) })
		running := s.find(func(f FrontEnd) bool { return f.Oned >= Member && f.Contents == Filled && f.same(s.own) })
		if running >= 0 || conflict < 0 && s.most() {
			return Decision{Action: Proceed}
		}
	}
	if i := s.leader(); i >= 0 {
		return s.copy(i, "leads")
	}
	if i := s.find(func(f FrontEnd) bool { return f.Oned == Member }); i >= 0 {
		if other := s.find(func(f FrontEnd) bool {
			return f.Name != all[i].Name && (f.Contents == Unknown || f.Contents == Filled && (all[i].Contents != Filled || f.same(all[i])))
		}); other >= 0 {
			return wait("%s runs, and %s has the same database, or may have: one of them is to become the leader", all[i].Name, all[other].Name)
		}
		return s.copy(i, "is the first")
	}
	if i := s.find(func(f FrontEnd) bool { return f.Oned == Alone }); i >= 0 {
		return wait("%s begins, and its oned has no part in the zone yet", all[i].Name)
	}
	if i := s.find(func(f FrontEnd) bool { return f.Contents == Unknown }); i >= 0 {
		return wait("the database of %s does not answer: %s", all[i].Name, all[i].Reason)
	}
	if s.own.Contents == Empty {
		return s.empty()
	}
	return s.filled()
}

func wait(format string, args ...any) Decision {
	return Decision{Action: Wait, Reason: fmt.Sprintf(format, args...)}
}

type survey struct {
	all      []FrontEnd
	self     int
	own      FrontEnd
	outdated bool
}

// find returns the first other front-end of a kind, -1 if there is none.
func (s survey) find(is func(FrontEnd) bool) int {
	for i, f := range s.all {
		if i != s.self && is(f) {
			return i
		}
	}
	return -1
}

// most tells whether the databases of most front-ends are seen. Fewer cannot elect a leader, and those that are not seen may have gone on without
// this one, with changes that are not in the log.
func (s survey) most() bool {
	seen := 0
	for _, f := range s.all {
		if f.Contents != Unknown {
			seen++
		}
	}
	return seen > len(s.all)/2
}

// strange tells whether the oned of another front-end must not run beside this one.
func (s survey) strange(f FrontEnd) bool {
	// With what is outdated here, or, if that is up to date, with something else.
	return f.runs() && f.Contents == Filled && s.own.Contents == Filled && f.sameKind(s.own) == s.outdated
}

// leader is the one that was elected last: one that is cut off from the others may not know of its successor.
func (s survey) leader() int {
	leader := -1
	for i, f := range s.all {
		if i != s.self && f.Oned == Leading && (leader < 0 || f.Term > s.all[leader].Term) {
			leader = i
		}
	}
	return leader
}

func (s survey) copy(i int, why string) Decision {
	source := s.all[i]
	if source.Contents != Filled {
		return wait("%s %s, and its database is not seen: %s", source.Name, why, source.Reason)
	}
	if s.own.Contents == Filled && s.own.Position.Applied > source.Position.Applied {
		return wait("%s %s, and its database has %d records of the zone's log, of the %d here: one of the two is out of date; stop all "+
			"front-ends, remove the volumes of those that are to lose their database, then start all anew", source.Name, why, source.Position.Applied,
			s.own.Position.Applied)
	}
	return Decision{Copy, i, source.Name + " " + why}
}

func (s survey) empty() Decision {
	if i := s.find(func(f FrontEnd) bool { return f.Contents == Filled }); i >= 0 {
		return wait("%s has a database, and its oned does not run yet", s.all[i].Name)
	}
	if s.self != 0 {
		return wait("%s is to begin", s.all[0].Name)
	}
	return Decision{Action: Begin, Reason: "no front-end has a database"}
}

// filled decides among databases that differ, while no oned runs.
func (s survey) filled() Decision {
	best, others, lost := s.self, 0, false
	for i, f := range s.all {
		lost = lost || f.Contents == Empty
		if f.Contents == Filled && i != s.self {
			others++
		}
	}
	for i, f := range s.all {
		if order := f.compare(s.all[best], lost); f.Contents == Filled && (order > 0 || order == 0 && i < best) {
			best = i
		}
	}
	switch {
	case best != s.self:
		return wait("%s, whose database has the most of the zone's log, is to be the first that starts", s.all[best].Name)
	case !s.outdated:
		return Decision{Action: Proceed}
	case lost && others > 0 && s.own.Position.Applied < s.own.Position.Index:
		// The front-end that has lost its database may have acknowledged them.
		return wait("the last records of the zone's log are not in the tables yet, cannot get there after a change, and another front-end has lost its " +
			"database: start the front-ends as they were before, until all have a database, then stop all of them and try again")
	}
	return Decision{Action: Upgrade, Reason: "no other database has more of the zone's log"}
}

// compare orders databases by what they have of the zone's log. With all databases at hand nothing was acknowledged that is not in the tables
// of one. If they have the same, those come first that have been changed already.
func (f FrontEnd) compare(other FrontEnd, lost bool) int {
	if f.Contents != Filled || other.Contents != Filled {
		return cmp.Compare(f.Contents, other.Contents)
	}
	log := cmp.Compare(f.Position.Applied, other.Position.Applied)
	if lost {
		log = cmp.Or(cmp.Compare(f.Position.Term, other.Position.Term), cmp.Compare(f.Position.Index, other.Position.Index), log)
	}
	return cmp.Or(log, f.Version.Compare(other.Version), cmp.Compare(f.Passwords, other.Passwords), cmp.Compare(f.Generation, other.Generation))
}
