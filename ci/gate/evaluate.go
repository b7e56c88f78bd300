package gate

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Evaluate judges the scans of all platforms of one image by a policy at the time now.
//
// An exception lets a finding through that has its id and package. It is spent on findings that would block, and on no others:
// one for a finding below the threshold, or one that is ignored because unfixed, is unused.
//
// An error means that there is no verdict: no scans, a report that is missing or not understood, one on an image whose packages
// the scanner could not see, a database too old, or a policy that says nothing. Treat it as a failed gate.
func Evaluate(scans []Scan, policy Policy, now time.Time) (Verdict, error) {
	if err := policy.check(); err != nil {
		return Verdict{}, err
	}
	if len(scans) == 0 {
		return Verdict{}, errors.New("nothing was scanned: there is no report to judge")
	}
	v := Verdict{
		Threshold: sorted(policy.Threshold), Platforms: []string{},
		Counts: map[Severity]int{}, Fixed: map[Severity]int{},
		Blocking: []Finding{}, Excepted: []Excepted{}, Expired: []Exception{}, Unused: []Exception{},
	}
	found := findings{}
	for _, scan := range scans {
		if scan.Platform == "" {
			return Verdict{}, errors.New("a scan does not say which platform it is of")
		}
		if slices.Contains(v.Platforms, scan.Platform) {
			return Verdict{}, fmt.Errorf("there are two scans of %s: is another platform missing?", scan.Platform)
		}
		if err := policy.checkDatabase(scan.DatabaseUpdatedAt, now); err != nil {
			return Verdict{}, fmt.Errorf("scan of %s: %w", scan.Platform, err)
		}
		r, err := readReport(scan.Report)
		if err != nil {
			return Verdict{}, fmt.Errorf("scanner report on %s: %w", scan.Platform, err)
		}
		found.add(r, scan.Platform)
		v.Platforms = append(v.Platforms, scan.Platform)
		v.EndOfLife = v.EndOfLife || r.Metadata.OS.EOSL
		if updated := scan.DatabaseUpdatedAt.UTC(); v.DatabaseUpdatedAt.IsZero() || updated.Before(v.DatabaseUpdatedAt) {
			v.DatabaseUpdatedAt = updated
		}
	}
	slices.Sort(v.Platforms)
	v.judge(found.sorted(), policy, now)
	return v, nil
}

func (v *Verdict) judge(found []Finding, policy Policy, now time.Time) {
	for _, s := range Severities() {
		v.Counts[s], v.Fixed[s] = 0, 0
	}
	exceptions := map[matchKey]int{}
	for i, e := range policy.Exceptions {
		if _, ok := exceptions[e.matches()]; !ok {
			exceptions[e.matches()] = i
		}
	}
	used := make([]bool, len(policy.Exceptions))
	for _, f := range found {
		v.Counts[f.Severity]++
		if f.Fixed != "" {
			v.Fixed[f.Severity]++
		}
		if !policy.blocks(f) {
			if policy.overThreshold(f) {
				v.IgnoredUnfixed++
			}
			continue
		}
		i, ok := exceptions[matchKey{f.ID, f.Package}]
		if ok {
			used[i] = true
		}
		if ok && !policy.Exceptions[i].ExpiredAt(now) {
			v.Excepted = append(v.Excepted, Excepted{Finding: f, Exception: policy.Exceptions[i]})
		} else {
			v.Blocking = append(v.Blocking, f)
		}
	}
	for i, e := range policy.Exceptions {
		switch {
		case !used[i]:
			v.Unused = append(v.Unused, e)
		case e.ExpiredAt(now):
			v.Expired = append(v.Expired, e)
		}
	}
	v.Passed = len(v.Blocking) == 0
}

// findings are those of all platforms, by what makes two of them the same.
type findings map[findingKey]*Finding

type findingKey struct{ id, pkg, installed, fixed string }

func (all findings) add(r *report, platform string) {
	for _, result := range r.Results {
		for _, vuln := range result.Vulnerabilities {
			key := findingKey{vuln.VulnerabilityID, vuln.PkgName, vuln.InstalledVersion, vuln.FixedVersion}
			f, ok := all[key]
			if !ok {
				f = &Finding{ID: key.id, Package: key.pkg, Installed: key.installed, Fixed: key.fixed, Severity: vuln.Severity}
				all[key] = f
			}
			if vuln.Severity.rank() < f.Severity.rank() {
				f.Severity = vuln.Severity
			}
			f.Title = cmp.Or(f.Title, vuln.Title)
			f.URL = cmp.Or(f.URL, vuln.PrimaryURL)
			if !slices.Contains(f.Platforms, platform) {
				f.Platforms = append(f.Platforms, platform)
			}
		}
	}
}

// sorted returns the findings by severity, package and ID.
func (all findings) sorted() []Finding {
	list := make([]Finding, 0, len(all))
	for _, f := range all {
		slices.Sort(f.Platforms)
		list = append(list, *f)
	}
	slices.SortFunc(list, func(a, b Finding) int {
		return cmp.Or(a.Severity.rank()-b.Severity.rank(), strings.Compare(a.Package, b.Package), strings.Compare(a.ID, b.ID),
			strings.Compare(a.Installed, b.Installed), strings.Compare(a.Fixed, b.Fixed))
	})
	return list
}
