package release

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// WriteTable lists releases for people, one on a line, in the order given.
func WriteTable(out io.Writer, releases []Release) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "VERSION\tLINE\tDATE\tPACKAGE\tARCHITECTURES")
	for _, r := range releases {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", r.Version, r.Line, r.Date.Format("2006-01-02"), r.PackageVersion, strings.Join(r.Architectures, ","))
	}
	return w.Flush()
}
