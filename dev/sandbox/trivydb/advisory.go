package trivydb

// Advisory says that a package of Debian has a vulnerability.
type Advisory struct {
	// ID names the vulnerability, such as CVE-2099-0001.
	ID string
	// SourcePackage is Debian's source package, such as openssl: all binary packages made from it count as vulnerable.
	SourcePackage string
	// FixedVersion is the version of the source package that has the fix: older ones are vulnerable. Empty is no fix yet.
	FixedVersion string
	// Severity is CRITICAL, HIGH, MEDIUM, LOW or UNKNOWN.
	Severity string
	// Title is the one line that reports show.
	Title string
}

// future is a version above all that a package will have: a fix that is out, and not in the image.
const future = "99:1-1"

// Passing returns advisories that match the base image without touching its release: medium and low ones, fixed and unfixed, and
// a high one that was fixed long ago. The vulnerabilities are invented, and dated so that nobody takes them for real ones.
func Passing() []Advisory {
	return []Advisory{
		{ID: "CVE-2099-1001", SourcePackage: "openssl", FixedVersion: future, Severity: "MEDIUM",
			Title: "openssl: invented, medium, fix not installed"},
		{ID: "CVE-2099-1002", SourcePackage: "glibc", Severity: "LOW",
			Title: "glibc: invented, low, no fix"},
		{ID: "CVE-2099-1003", SourcePackage: "ncurses", Severity: "MEDIUM",
			Title: "ncurses: invented, medium, no fix"},
		{ID: "CVE-2099-1004", SourcePackage: "shadow", FixedVersion: future, Severity: "LOW",
			Title: "shadow: invented, low, fix not installed"},
		{ID: "CVE-2099-1005", SourcePackage: "zlib", FixedVersion: "1:1.2.3-1", Severity: "HIGH",
			Title: "zlib: invented, high, fix installed"},
	}
}

// Critical returns advisories that match the base image and block its release: a critical one with a fix and a high one without.
func Critical() []Advisory {
	return []Advisory{
		{ID: "CVE-2099-9001", SourcePackage: "openssl", FixedVersion: future, Severity: "CRITICAL",
			Title: "openssl: invented, critical, fix not installed"},
		{ID: "CVE-2099-9002", SourcePackage: "zlib", Severity: "HIGH",
			Title: "zlib: invented, high, no fix"},
	}
}
