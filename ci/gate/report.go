package gate

import (
	"encoding/json"
	"errors"
	"fmt"
)

const (
	// schemaVersion is the one version of Trivy's report whose fields are known to mean what report says.
	schemaVersion = 2

	// maxReportSize bounds the memory that a report can take. One of 50,000 findings has about 80 MB.
	maxReportSize = 512 << 20

	// classOSPackages is the class of the result on the packages of the operating system.
	classOSPackages = "os-pkgs"

	// familyNone is what Trivy calls an operating system that it did not recognise while it did find packages.
	familyNone = "none"
)

// report is the part of Trivy's JSON report that a verdict depends on. Trivy's own types would do as well, but more than double
// what there is to compile: 241 packages and 28 s of processor time against 68 packages and 10 s for this.
type report struct {
	SchemaVersion int
	Metadata      struct {
		OS *struct {
			Family string
			EOSL   bool // end of service life
		}
	}
	Results []struct {
		Class           string
		Packages        []struct{} // only their number matters
		Vulnerabilities []vulnerability
	}
}

type vulnerability struct {
	VulnerabilityID  string
	PkgName          string
	InstalledVersion string
	FixedVersion     string // empty while there is no fix
	Severity         Severity
	Title            string
	PrimaryURL       string
}

// readReport reads a report and makes sure that it is one on an operating system whose packages were looked at.
func readReport(data []byte) (*report, error) {
	if len(data) == 0 {
		return nil, errors.New("it is empty: the scanner wrote no report; see what it said")
	}
	if len(data) > maxReportSize {
		return nil, fmt.Errorf("it has %d bytes, more than the %d that are read", len(data), maxReportSize)
	}
	var r report
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, fmt.Errorf("it is no JSON report of Trivy: %w", err)
	}
	if r.SchemaVersion != schemaVersion {
		return nil, fmt.Errorf("its SchemaVersion is %d and only %d is known: use the pinned Trivy, or teach the gate the new schema",
			r.SchemaVersion, schemaVersion)
	}
	if r.Metadata.OS == nil || r.Metadata.OS.Family == "" || r.Metadata.OS.Family == familyNone {
		return nil, errors.New("the scanner detected no operating system, so it looked for nothing: is /etc/os-release in the image?")
	}
	if err := r.checkPackages(); err != nil {
		return nil, err
	}
	return &r, r.checkVulnerabilities()
}

// checkPackages tells an image without vulnerabilities from one without a package database, which looks as clean.
func (r *report) checkPackages() error {
	detected := false
	for _, result := range r.Results {
		if result.Class != classOSPackages {
			continue
		}
		detected = true
		if len(result.Packages) > 0 || len(result.Vulnerabilities) > 0 {
			return nil
		}
	}
	if !detected {
		return fmt.Errorf("it has no result of class %s on %s: the scanner did not look at the packages of the operating system",
			classOSPackages, r.Metadata.OS.Family)
	}
	return fmt.Errorf("its result of class %s lists no packages: the package database of the image is gone, "+
		"or the scanner ran with --list-all-pkgs=false", classOSPackages)
}

func (r *report) checkVulnerabilities() error {
	for _, result := range r.Results {
		for i, v := range result.Vulnerabilities {
			if v.VulnerabilityID == "" || v.PkgName == "" {
				return fmt.Errorf("vulnerability %d of class %s lacks its id or package: id %q, package %q",
					i+1, result.Class, v.VulnerabilityID, v.PkgName)
			}
			if !v.Severity.valid() {
				return fmt.Errorf("%s in %s has the unknown severity %q: want one of %s",
					v.VulnerabilityID, v.PkgName, v.Severity, join(Severities()))
			}
		}
	}
	return nil
}
