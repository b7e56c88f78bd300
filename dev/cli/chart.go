package cli

import (
	"cmp"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/spf13/cobra"

	"opennebula-kube/ci/helmrepo"
	"opennebula-kube/ci/pipeline"
	"opennebula-kube/ci/registry"
	"opennebula-kube/ci/release"
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

// chartReleaseOptions say which OpenNebula release a chart is packaged for, and where its image is.
type chartReleaseOptions struct {
	source    sourceOptions
	upstream  upstreamOptions
	selection selectionOptions
	images    registryOptions
}

// add adds the flags; without is what becomes of a chart whose image is in no repository.
func (o *chartReleaseOptions) add(c *cobra.Command, without string) {
	o.source.add(c)
	o.upstream.add(c)
	o.selection.add(c)
	c.Flags().StringVar(&o.images.Repository, "registry", "", "repository that has the image, such as ghcr.io/acme/opennebula: the chart refers to the "+
		"release's newest revision there"+without)
	o.images.addCredentials(c)
}

// subject is the selected release, and the repository of its image, nil for none.
func (o *chartReleaseOptions) subject(c *cobra.Command, env Environment, keychain authn.Keychain) (of release.Release, images *registry.Repository, err error) {
	if o.images.Repository != "" {
		if images, err = registry.Open(o.images.Repository, registry.WithKeychain(keychain)); err != nil {
			return of, nil, err
		}
	}
	all, err := o.upstream.catalog(c, env, o.source)
	if err != nil {
		return of, nil, err
	}
	of, err = o.selection.Pick(all)
	return of, images, err
}

func chartPackageCommand(env Environment) *cobra.Command {
	var options chartReleaseOptions
	var output string
	c := &cobra.Command{
		Use:     "package",
		Short:   "Package the chart for an OpenNebula release",
		Example: "  pipeline chart package --version 7.0.1 --registry ghcr.io/acme/opennebula --output out",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			keychain, err := options.images.keychain(env)
			if err != nil {
				return err
			}
			of, images, err := options.subject(c, env, keychain)
			if err != nil {
				return err
			}
			archive, err := pipeline.ChartOptions{Dir: options.source.chart()}.Package(c.Context(), of, images)
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
	options.add(c, " (default: none; the chart refers to the image that its sources name)")
	c.Flags().StringVar(&output, "output", "out", "directory to write the archive to")
	return c
}

func chartPublishCommand(env Environment) *cobra.Command {
	var options chartReleaseOptions
	var to chartOptions
	c := &cobra.Command{
		Use:     "publish",
		Short:   "Package the chart for an OpenNebula release and publish it",
		Example: "  pipeline chart publish --registry ghcr.io/acme/opennebula --chart-registry ghcr.io/acme/charts/opennebula",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			// The login is that of one registry, as a rule the one that both are in.
			login := options.images
			login.Repository = cmp.Or(to.Registry, login.Repository)
			keychain, err := login.keychain(env)
			if err != nil {
				return err
			}
			places, err := to.open(env, options.source, keychain)
			if err != nil {
				return err
			}
			if options.images.Repository == "" {
				return errors.New("publish the chart: name the repository of the image that it is to refer to (--registry)")
			}
			of, images, err := options.subject(c, env, keychain)
			if err != nil {
				return err
			}
			results, err := places.Publish(c.Context(), of, images, env.Now().UTC().Truncate(time.Second))
			for _, result := range results {
				fmt.Fprintln(env.Stdout, pipeline.PublishedLine(result))
			}
			return err
		},
	}
	options.add(c, "")
	to.add(c)
	return c
}
