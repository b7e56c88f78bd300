package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/spf13/cobra"

	"opennebula-kube/ci/gate"
	"opennebula-kube/ci/helmrepo"
	"opennebula-kube/ci/pipeline"
	"opennebula-kube/ci/registry"
	"opennebula-kube/ci/release"
	"opennebula-kube/ci/trivy"
)

// upstreamOptions say where releases come from, and who signs them.
type upstreamOptions struct{ URL, Fingerprint string }

func (o *upstreamOptions) add(c *cobra.Command) {
	c.Flags().StringVar(&o.URL, "upstream", "https://downloads.opennebula.io", "where OpenNebula's packages come from")
	c.Flags().StringVar(&o.Fingerprint, "upstream-fingerprint", "",
		"fingerprint of the key that signs the packages, for a mirror with a key of its own (default: OpenNebula's, which image/Dockerfile pins)")
}

// open makes the upstream. Without a fingerprint, the packages have to be signed by the key that the sources' Dockerfile pins.
func (o *upstreamOptions) open(env Environment, source sourceOptions) (*release.Upstream, error) {
	fingerprint := o.Fingerprint
	if fingerprint == "" {
		dockerfile, err := os.ReadFile(filepath.Join(source.image(), "Dockerfile"))
		if err != nil {
			return nil, fmt.Errorf("find out which key signs the packages: %w; run this from the root of the project, or give --source or "+
				"--upstream-fingerprint", err)
		}
		if fingerprint, err = pipeline.DefaultFingerprint(dockerfile); err != nil {
			return nil, err
		}
	}
	return release.NewUpstream(o.URL, fingerprint, release.WithClock(env.Now))
}

// catalog reads what the upstream has, and says what it lists besides.
func (o *upstreamOptions) catalog(c *cobra.Command, env Environment, source sourceOptions) (release.Catalog, error) {
	upstream, err := o.open(env, source)
	if err != nil {
		return release.Catalog{}, err
	}
	all, err := upstream.Releases(c.Context())
	for _, p := range all.PassedOver {
		fmt.Fprintln(env.Stderr, "passed over", p)
	}
	return all, err
}

// selectionOptions say which release is meant.
type selectionOptions struct{ release.Selection }

func (o *selectionOptions) add(c *cobra.Command) {
	c.Flags().StringVar(&o.Constraint, "constraint", ">=7.0.0", "range of versions, in the notation of Masterminds/semver; the highest in it is taken")
	c.Flags().StringVar(&o.Line, "line", "", "release line to stay in, such as 7.0 (default: any)")
	c.Flags().StringVar(&o.Version, "version", "", "exact version, such as 7.0.1 (default: the highest)")
}

// ofEachLine has the help of a verb that is about the newest release of each line say so.
func ofEachLine(c *cobra.Command) {
	for name, usage := range map[string]string{
		"constraint": "range of versions, in the notation of Masterminds/semver; of each release line the highest in it is taken",
		"line":       "release line to stay in, such as 7.0 (default: all)",
		"version":    "exact version, such as 7.0.1 (default: the highest of each line)",
	} {
		c.Flags().Lookup(name).Usage = usage
	}
}

// sourceOptions say where the project's sources are.
type sourceOptions struct{ Dir string }

func (o *sourceOptions) add(c *cobra.Command) {
	c.Flags().StringVar(&o.Dir, "source", ".", "directory of the project's sources")
}

func (o *sourceOptions) image() string { return filepath.Join(o.Dir, "image") }
func (o *sourceOptions) chart() string { return filepath.Join(o.Dir, "chart", "opennebula") }

// buildOptions say what is built.
type buildOptions struct {
	Platforms []string
	BaseImage string
	Project   string
}

func (o *buildOptions) add(c *cobra.Command) {
	c.Flags().StringSliceVar(&o.Platforms, "platform", nil, "platform to build for, such as linux/amd64; may be repeated (default: all that the release has)")
	c.Flags().StringVar(&o.BaseImage, "base-image", "", "image to build on (default: the one that image/Dockerfile pins)")
	c.Flags().StringVar(&o.Project, "project", "",
		"address of the project that releases, such as https://github.com/acme/opennebula-kube, which the image names as its source (default: git's remote origin)")
}

// project is the project that releases: what git knows of it, unless its address is given.
func (o *buildOptions) project(ctx context.Context, source sourceOptions) (pipeline.Project, error) {
	dir, err := filepath.Abs(filepath.Join(source.Dir, ".git"))
	if err != nil {
		return pipeline.Project{}, err
	}
	return pipeline.ReadProject(ctx, dir, o.Project)
}

func (o *buildOptions) base(source sourceOptions) (string, error) {
	if o.BaseImage != "" {
		return o.BaseImage, nil
	}
	dockerfile, err := os.ReadFile(filepath.Join(source.image(), "Dockerfile"))
	if err != nil {
		return "", fmt.Errorf("find out the base image: %w; run this from the root of the project, or give --source or --base-image", err)
	}
	return pipeline.DefaultBaseImage(dockerfile)
}

// gateOptions say what the gate lets pass.
type gateOptions struct {
	Severities         []string
	IgnoreUnfixed      bool
	DatabaseAge        time.Duration
	DatabaseRepository string
	Exceptions         string
}

func (o *gateOptions) add(c *cobra.Command) {
	f := c.Flags()
	f.StringSliceVar(&o.Severities, "severity", []string{"CRITICAL", "HIGH"}, "severities that stop a release")
	f.BoolVar(&o.IgnoreUnfixed, "ignore-unfixed", false, "let vulnerabilities pass that have no fix yet")
	f.DurationVar(&o.DatabaseAge, "db-max-age", 48*time.Hour, "oldest vulnerability database to trust")
	f.StringVar(&o.DatabaseRepository, "db-repository", trivy.DefaultDatabaseRepository, "where the vulnerability database comes from")
	f.StringVar(&o.Exceptions, "exceptions", "", "file of vulnerabilities to let through (default: image/exceptions.yaml of the sources)")
}

func (o *gateOptions) policy(source sourceOptions) (gate.Policy, error) {
	file := o.Exceptions
	if file == "" {
		file = filepath.Join(source.image(), "exceptions.yaml")
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return gate.Policy{}, fmt.Errorf("read the exceptions: %w", err)
	}
	return gate.ParsePolicy(o.Severities, o.IgnoreUnfixed, o.DatabaseAge, file, data)
}

// passwordVariable is the environment variable that a registry password may come in.
const passwordVariable = "REGISTRY_PASSWORD"

// registryOptions say where the image goes and how to log in there.
type registryOptions struct {
	Repository   string
	Username     string
	PasswordFile string
}

func (o *registryOptions) add(c *cobra.Command) {
	c.Flags().StringVar(&o.Repository, "registry", "", "repository to release the image to, such as ghcr.io/acme/opennebula (default: none, for a dry run)")
	o.addCredentials(c)
}

func (o *registryOptions) addCredentials(c *cobra.Command) {
	c.Flags().StringVar(&o.Username, "username", "", "user name at the registry (default: what `docker login` has kept)")
	c.Flags().StringVar(&o.PasswordFile, "password-file", "", "file that holds the password (default: the environment variable "+passwordVariable+")")
}

// credentials returns the user name and password that were given, or none.
func (o *registryOptions) credentials(env Environment) (username, password string, err error) {
	if o.Username == "" {
		if o.PasswordFile != "" {
			return "", "", errors.New("--password-file needs --username")
		}
		return "", "", nil
	}
	if o.PasswordFile == "" {
		if password = env.Getenv(passwordVariable); password == "" {
			return "", "", fmt.Errorf("--username needs a password: give --password-file, or set %s", passwordVariable)
		}
		return o.Username, password, nil
	}
	if password, err = readSecret(o.PasswordFile); err != nil {
		return "", "", fmt.Errorf("read the registry password: %w", err)
	}
	return o.Username, password, nil
}

// readSecret reads a file that holds nothing but a secret.
func readSecret(file string) (string, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	secret := strings.TrimRight(string(data), "\r\n")
	if secret == "" {
		return "", fmt.Errorf("%s is empty", file)
	}
	return secret, nil
}

func (o *registryOptions) keychain(env Environment) (authn.Keychain, error) {
	username, password, err := o.credentials(env)
	if err != nil {
		return nil, err
	}
	return registry.Keychain(o.Repository, username, password)
}

// chartOptions say where the chart goes.
type chartOptions struct {
	Registry      string
	Repository    string
	RepositoryURL string
	Pages         string
	TokenFile     string
}

// tokenVariable is the environment variable that the token for the pages may come in.
const tokenVariable = "PAGES_TOKEN"

func (o *chartOptions) add(c *cobra.Command) {
	c.Flags().StringVar(&o.Registry, "chart-registry", "", "OCI repository to publish the chart to, such as ghcr.io/acme/charts/opennebula (default: none)")
	c.Flags().StringVar(&o.Repository, "chart-repository", "", "directory of a chart repository to publish to, such as a checkout of gh-pages (default: none)")
	c.Flags().StringVar(&o.RepositoryURL, "chart-repository-url", "",
		"address that the chart repository is served at (default: that of GitHub Pages for --pages on GitHub, else archives are named relative to index.yaml)")
	c.Flags().StringVar(&o.Pages, "pages", "", "branch of a git repository to publish to, which GitHub Pages serves, such as "+
		"https://github.com/acme/charts#gh-pages; it is made when it does not exist (default: none)")
	c.Flags().StringVar(&o.TokenFile, "pages-token-file", "",
		"file that holds a token that may write to that repository (default: the environment variable "+tokenVariable+")")
}

func (o *chartOptions) open(env Environment, source sourceOptions, keychain authn.Keychain) (options pipeline.ChartOptions, err error) {
	options = pipeline.ChartOptions{Dir: source.chart(), RepositoryDir: o.Repository, RepositoryURL: o.RepositoryURL}
	if options.Pages, err = o.pages(env); err != nil || o.Registry == "" {
		return options, err
	}
	options.Registry, err = registry.Open(o.Registry, registry.WithKeychain(keychain))
	return options, err
}

// pages opens the branch that the chart is published to, if one was given.
func (o *chartOptions) pages(env Environment) (*helmrepo.Pages, error) {
	if o.Pages == "" {
		if o.TokenFile != "" {
			return nil, errors.New("--pages-token-file needs --pages")
		}
		return nil, nil
	}
	token := env.Getenv(tokenVariable)
	if o.TokenFile != "" {
		var err error
		if token, err = readSecret(o.TokenFile); err != nil {
			return nil, fmt.Errorf("read the token for the pages: %w", err)
		}
	}
	return helmrepo.OpenPages(o.Pages, helmrepo.PagesOptions{Token: token})
}
