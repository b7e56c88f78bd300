package cli

import (
	"fmt"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"opennebula-kube/ci/helmrepo"
	"opennebula-kube/ci/pipeline"
)

func chartCommand(env Environment) *cobra.Command {
	c := &cobra.Command{Use: "chart", Short: "Check, package and publish the Helm chart"}
	c.AddCommand(chartLintCommand(env), chartPackageCommand(env), chartPublishCommand(env))
	return c
}

func chartLintCommand(env Environment) *cobra.Command {
	var source sourceOptions
	c := &cobra.Command{
		Use:     "lint",
		Short:   "Check the chart with Helm's linter; fails on warnings too",
		Example: "  pipeline chart lint",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			messages, err := helmrepo.Lint(source.chart())
			if err != nil {
				return err
			}
			for _, message := range messages {
				fmt.Fprintln(env.Stdout, message)
			}
			if bad := helmrepo.Unfit(messages); bad > 0 {
				return fmt.Errorf("check the chart in %s: %d warnings and errors, see above", source.chart(), bad)
			}
			return nil
		},
	}
	source.add(c)
	return c
}

// chartReleaseOptions say which OpenNebula release a chart is packaged for.
type chartReleaseOptions struct {
	source    sourceOptions
	upstream  upstreamOptions
	selection selectionOptions
}

func (o *chartReleaseOptions) add(c *cobra.Command) {
	o.source.add(c)
	o.upstream.add(c)
	o.selection.add(c)
}

// archive packages the chart for the selected release. The release's date dates the archive, so that it comes out the same each time.
func (o *chartReleaseOptions) archive(c *cobra.Command, env Environment) (helmrepo.Archive, error) {
	all, err := o.upstream.catalog(c, env, o.source)
	if err != nil {
		return helmrepo.Archive{}, err
	}
	picked, err := o.selection.Pick(all)
	if err != nil {
		return helmrepo.Archive{}, err
	}
	return helmrepo.Package(o.source.chart(), picked.Version, picked.Date)
}

func chartPackageCommand(env Environment) *cobra.Command {
	var options chartReleaseOptions
	var output string
	c := &cobra.Command{
		Use:     "package",
		Short:   "Package the chart for an OpenNebula release",
		Example: "  pipeline chart package --version 7.0.1 --output out",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			archive, err := options.archive(c, env)
			if err != nil {
				return err
			}
			path := filepath.Join(output, archive.Filename)
			if err := writeFile(path, bytesWriter(archive.Data)); err != nil {
				return err
			}
			_, err = fmt.Fprintln(env.Stdout, path)
			return err
		},
	}
	options.add(c)
	c.Flags().StringVar(&output, "output", "out", "directory to write the archive to")
	return c
}

func chartPublishCommand(env Environment) *cobra.Command {
	var options chartReleaseOptions
	var to chartOptions
	var login registryOptions
	c := &cobra.Command{
		Use:     "publish",
		Short:   "Package the chart for an OpenNebula release and publish it",
		Example: "  pipeline chart publish --chart-registry ghcr.io/acme/charts/opennebula",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			login.Repository = to.Registry
			keychain, err := login.keychain(env)
			if err != nil {
				return err
			}
			places, err := to.open(env, options.source, keychain)
			if err != nil {
				return err
			}
			archive, err := options.archive(c, env)
			if err != nil {
				return err
			}
			results, err := places.Publish(c.Context(), archive, env.Now().UTC().Truncate(time.Second))
			for _, result := range results {
				fmt.Fprintln(env.Stdout, pipeline.PublishedLine(result))
			}
			return err
		},
	}
	options.add(c)
	to.add(c)
	login.addCredentials(c)
	return c
}
