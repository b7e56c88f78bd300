package gate

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// maxClockSkew is how far the clocks of this machine and of whoever made the database may differ.
const maxClockSkew = time.Hour

// Policy says what stops a release.
type Policy struct {
	// Threshold are the severities that block. It must not be empty.
	Threshold []Severity
	// IgnoreUnfixed lets vulnerabilities pass for which there is no fixed package yet.
	IgnoreUnfixed bool
	// MaxDatabaseAge is how old the vulnerability database may be. It must be positive.
	MaxDatabaseAge time.Duration
	// Exceptions are the vulnerabilities that are let through.
	Exceptions []Exception
}

// ParsePolicy makes a policy of what a person gives: severities by name (CRITICAL, HIGH, MEDIUM, LOW, UNKNOWN), and a file of
// exceptions with its name, for the errors.
func ParsePolicy(severities []string, ignoreUnfixed bool, maxDatabaseAge time.Duration, file string, exceptions []byte) (Policy, error) {
	policy := Policy{IgnoreUnfixed: ignoreUnfixed, MaxDatabaseAge: maxDatabaseAge}
	for _, name := range severities {
		severity, err := ParseSeverity(name)
		if err != nil {
			return Policy{}, fmt.Errorf("--severity: %w", err)
		}
		policy.Threshold = append(policy.Threshold, severity)
	}
	var err error
	if policy.Exceptions, err = ParseExceptions(file, exceptions); err != nil {
		return Policy{}, err
	}
	return policy, policy.check()
}

func (p Policy) check() error {
	if len(p.Threshold) == 0 {
		return errors.New("the policy has no severity that blocks, so that everything would pass: name one or more")
	}
	for _, s := range p.Threshold {
		if !s.valid() {
			return fmt.Errorf("the policy has the unknown severity %q: want some of %s", s, join(Severities()))
		}
	}
	if p.MaxDatabaseAge <= 0 {
		return fmt.Errorf("the policy allows a vulnerability database an age of %s: it must be more than 0", p.MaxDatabaseAge)
	}
	return nil
}

// checkDatabase returns an error unless a database made at the time updated is recent enough.
func (p Policy) checkDatabase(updated, now time.Time) error {
	if updated.IsZero() {
		return errors.New("the age of the vulnerability database is unknown")
	}
	at := updated.UTC().Format(time.RFC3339)
	switch age := now.Sub(updated); {
	case age > p.MaxDatabaseAge:
		return fmt.Errorf("the vulnerability database of %s is %s old, more than the %s allowed: update it",
			at, age.Round(time.Minute), p.MaxDatabaseAge)
	case age < -maxClockSkew:
		return fmt.Errorf("the vulnerability database is of %s, %s in the future: check the clock of this machine",
			at, -age.Round(time.Minute))
	}
	return nil
}

// blocks reports whether a vulnerability is one that stops a release, exceptions aside.
func (p Policy) blocks(f Finding) bool {
	return p.overThreshold(f) && !(p.IgnoreUnfixed && f.Fixed == "")
}

func (p Policy) overThreshold(f Finding) bool { return slices.Contains(p.Threshold, f.Severity) }
