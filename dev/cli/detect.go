package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"opennebula-kube/ci/release"
)

// formatFlag adds --format with the formats that a verb knows, the default first.
func formatFlag(c *cobra.Command, format *string, known ...string) {
	c.Flags().StringVar(format, "format", known[0], "how to print it: "+strings.Join(known, ", "))
	c.PreRunE = func(*cobra.Command, []string) error {
		for _, k := range known {
			if *format == k {
				return nil
			}
		}
		return fmt.Errorf("--format %s: want one of %s", *format, strings.Join(known, ", "))
	}
}

func releasesCommand(env Environment) *cobra.Command {
	var source sourceOptions
	var upstream upstreamOptions
	var format string
	c := &cobra.Command{
		Use:     "releases",
		Short:   "List the OpenNebula releases that can be installed on Ubuntu 24.04",
		Example: "  pipeline releases --format json",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			all, err := upstream.catalog(c, env, source)
			if err != nil {
				return err
			}
			if format == "json" {
				return writeJSON(env.Stdout, all.Releases)
			}
			return release.WriteTable(env.Stdout, all.Releases)
		},
	}
	source.add(c)
	upstream.add(c)
	formatFlag(c, &format, "table", "json")
	return c
}

func writeJSON(out io.Writer, value any) error {
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	return encoder.Encode(value)
}

func detectVersionCommand(env Environment) *cobra.Command {
	var source sourceOptions
	var upstream upstreamOptions
	var selection selectionOptions
	c := &cobra.Command{
		Use:     "detect-version",
		Short:   "Print the newest OpenNebula release that can be installed on Ubuntu 24.04",
		Example: "  pipeline detect-version --line 7.0",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			all, err := upstream.catalog(c, env, source)
			if err != nil {
				return err
			}
			picked, err := selection.Pick(all)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(env.Stdout, picked.Version)
			return err
		},
	}
	source.add(c)
	upstream.add(c)
	selection.add(c)
	return c
}
