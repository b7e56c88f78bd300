package cli

import (
	"context"
	"errors"
	"io"
	"path/filepath"

	"github.com/spf13/cobra"

	"opennebula-kube/ci/pipeline"
)

// runCommand completes a verb that does a whole run: flags, progress, the files that the run made, and the summary. chart is nil
// where the verb leaves the chart alone.
func runCommand(env Environment, c *cobra.Command, chart *chartOptions,
	run func(*pipeline.Pipeline, context.Context, pipeline.Options) (pipeline.Reports, error)) *cobra.Command {
	var image imageOptions
	var scan gateOptions
	var to registryOptions
	var output string
	var skipTrial string
	var rebuild, dryRun bool
	c.Args = cobra.NoArgs
	c.RunE = func(c *cobra.Command, _ []string) error {
		return env.with(c.Context(), image, &scan, to, func(s *session) error {
			s.options.Rebuild, s.options.DryRun = rebuild, dryRun
			if c.Flags().Changed("skip-trial") {
				s.options.SkipTrial = &skipTrial
			}
			if chart != nil {
				var err error
				if s.options.Chart, err = chart.open(env, image.source, s.keychain); err != nil {
					return err
				}
				if err := s.options.Chart.Check(s.Images); err != nil {
					return err
				}
			}
			reports, err := run(s.Pipeline, c.Context(), s.options)
			if writeErr := writeOutput(output, reports); writeErr != nil {
				return errors.Join(err, writeErr)
			}
			s.progress.Say("")
			return errors.Join(err, reports.WriteSummary(env.Stdout, output))
		})
	}
	image.add(c)
	ofEachLine(c)
	scan.add(c)
	to.add(c)
	if chart != nil {
		chart.add(c)
	}
	c.Flags().BoolVar(&rebuild, "rebuild", false, "build, and release a new revision, whatever is published")
	c.Flags().StringVar(&skipTrial, "skip-trial", "", "why the image is released without having been tried; the report has it (default: it is tried)")
	c.Flags().BoolVar(&dryRun, "dry-run", false, "build, scan, try and package, but send nothing anywhere and move no tag")
	c.Flags().StringVar(&output, "output", "out", "directory for release.json and the files that the run makes")
	return c
}

// writeOutput keeps what a run made: its files, and release.json last, so that it never speaks of a file that is not there yet.
func writeOutput(dir string, reports pipeline.Reports) error {
	files, err := reports.Files()
	if err != nil {
		return err
	}
	for _, file := range files {
		if err := writeFile(filepath.Join(dir, file.Name), bytesWriter(file.Data)); err != nil {
			return err
		}
	}
	return nil
}

func bytesWriter(data []byte) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	}
}
