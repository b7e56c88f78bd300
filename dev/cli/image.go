package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"opennebula-kube/ci/gate"
	"opennebula-kube/ci/pipeline"
	"opennebula-kube/ci/release"
)

func planCommand(env Environment) *cobra.Command {
	var image imageOptions
	var scan gateOptions
	var to registryOptions
	var format string
	c := &cobra.Command{
		Use:     "plan",
		Short:   "Say what a release would do for each release line, and why",
		Example: "  pipeline plan --registry ghcr.io/acme/opennebula",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if to.Repository == "" {
				return errors.New("plan: name the repository to compare with (--registry)")
			}
			return env.with(c.Context(), image, &scan, to, func(s *session) error {
				plans, err := s.Plan(c.Context(), s.options)
				if err != nil {
					return err
				}
				if format == "json" {
					return writeJSON(env.Stdout, plans)
				}
				return release.WritePlans(env.Stdout, plans)
			})
		},
	}
	image.add(c)
	ofEachLine(c)
	scan.add(c)
	to.add(c)
	formatFlag(c, &format, "text", "json")
	return c
}

func buildCommand(env Environment) *cobra.Command {
	var image imageOptions
	var output string
	c := &cobra.Command{
		Use:     "build",
		Short:   "Build the image and keep it as an OCI layout",
		Example: "  pipeline build --version 7.0.1 --platform linux/amd64 --output opennebula-7.0.1",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if _, err := os.Stat(output); err == nil {
				return fmt.Errorf("write the image to %s: it exists; name a new directory", output)
			}
			return env.with(c.Context(), image, nil, registryOptions{}, func(s *session) error {
				built, _, err := s.Build(c.Context(), s.options)
				if err != nil {
					return err
				}
				if err := os.CopyFS(output, os.DirFS(built.Dir)); err != nil {
					return fmt.Errorf("write the image to %s: %w", output, err)
				}
				_, err = fmt.Fprintln(env.Stdout, built.Digest)
				return err
			})
		},
	}
	image.add(c)
	c.Flags().StringVar(&output, "output", filepath.Join("out", "image"), "directory to write the OCI layout to")
	return c
}

func scanCommand(env Environment) *cobra.Command {
	var image imageOptions
	var scan gateOptions
	var format string
	writers := map[string]func(gate.Verdict, io.Writer) error{
		"table": gate.Verdict.WriteTable, "json": gate.Verdict.WriteJSON,
		"sarif": gate.Verdict.WriteSARIF, "markdown": gate.Verdict.WriteMarkdown,
	}
	c := &cobra.Command{
		Use:     "scan",
		Short:   "Build the image, look for known vulnerabilities, and judge them; fails when the gate does not pass",
		Example: "  pipeline scan --version 7.0.1 --format sarif > opennebula.sarif",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return env.with(c.Context(), image, &scan, registryOptions{}, func(s *session) error {
				report, err := s.Scan(c.Context(), s.options)
				if report.Gate == nil {
					return err
				}
				if writeErr := writers[format](*report.Gate, env.Stdout); writeErr != nil {
					return writeErr
				}
				return err
			})
		},
	}
	image.add(c)
	scan.add(c)
	formatFlag(c, &format, "table", "json", "sarif", "markdown")
	return c
}

func sbomCommand(env Environment) *cobra.Command {
	var image imageOptions
	c := &cobra.Command{
		Use:     "sbom",
		Short:   "Build the image for one platform and print what it consists of, as CycloneDX JSON",
		Example: "  pipeline sbom --version 7.0.1 --platform linux/amd64 > opennebula.cdx.json",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if len(image.build.Platforms) != 1 {
				return fmt.Errorf("list the contents of the image: name one --platform, not %d", len(image.build.Platforms))
			}
			return env.with(c.Context(), image, nil, registryOptions{}, func(s *session) error {
				built, _, err := s.Build(c.Context(), s.options)
				if err != nil {
					return err
				}
				sbom, err := pipeline.Scanner{Engine: s.engine}.SBOM(c.Context(), built, image.build.Platforms[0])
				if err != nil {
					return err
				}
				_, err = env.Stdout.Write(sbom)
				return err
			})
		},
	}
	image.add(c)
	return c
}

func pushCommand(env Environment) *cobra.Command {
	return runCommand(env, &cobra.Command{
		Use:     "push",
		Short:   "Release the image, without the chart",
		Example: "  pipeline push --registry ghcr.io/acme/opennebula --line 7.0",
	}, nil, (*pipeline.Pipeline).Push)
}

func releaseCommand(env Environment) *cobra.Command {
	return runCommand(env, &cobra.Command{
		Use:   "release",
		Short: "Release the image and the chart: detect, plan, build, scan, gate, trial, push, promote, package, publish",
		Example: "  pipeline release --registry ghcr.io/acme/opennebula --chart-registry ghcr.io/acme/charts/opennebula\n" +
			"  pipeline release --registry ghcr.io/acme/opennebula --dry-run",
	}, &chartOptions{}, (*pipeline.Pipeline).Release)
}
