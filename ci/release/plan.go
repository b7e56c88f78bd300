package release

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"pault.ag/go/debian/version"
)

// Labels of a published image that a later plan compares with what there is then.
const (
	// LabelBaseDigest says which base image the image was built on.
	LabelBaseDigest = "org.opencontainers.image.base.digest"
	// LabelPackages says which packaging of the release is in the image: the release's PackageVersion.
	LabelPackages = "io.opennebula-kube.packages"
	// LabelSources is the digest of the sources that the image was built from.
	LabelSources = "io.opennebula-kube.sources"
)

// Action is what a plan is for.
type Action string

// The actions, and what each is for.
const (
	Build   Action = "build"   // the version is new: build it and publish it as its first revision
	Rebuild Action = "rebuild" // what it is made of has changed: build it again and publish it as a new revision
	Promote Action = "promote" // the newest revision is published, but tags are not where they belong
	Nothing Action = "nothing"
)

// Base is the image to build on, with the digest that it has now.
type Base struct {
	Name   string `json:"name"`
	Digest string `json:"digest"`
}

// Wanted is what an image that is built now is made of, and what asks for a new revision besides.
type Wanted struct {
	Base Base
	// Sources is the digest of the image's sources.
	Sources string
	// Platforms are those to build for, as os/architecture; none means all that the release has.
	Platforms []string
	// Fixable are the IDs of those vulnerabilities of the published image that must not be there and need not, for a fix exists now.
	Fixable []string
	// Rebuild asks for a new revision whatever is published.
	Rebuild bool
}

// Published is the newest revision of a version in the registry. For an image of several platforms Digest is that of its index.
type Published struct {
	Ref       string            `json:"ref"`
	Digest    string            `json:"digest"`
	Platforms []string          `json:"platforms"`
	Labels    map[string]string `json:"labels"`
}

// State is what the registry says.
type State struct {
	// Tags are the names of all tags of the repository, those of others included.
	Tags []string
	// Digests are the digests of the target's CandidateTags. A tag that is not in it does not exist.
	Digests map[string]string
	// Published is the newest revision of the target's version; nil when it has none.
	Published *Published
}

// TagMove is a tag to be moved to another digest. From is empty for a tag that does not exist yet, To while the digest is not known.
type TagMove struct {
	Tag  string `json:"tag"`
	From string `json:"from"`
	To   string `json:"to"`
}

// Plan is what is to be done for a release, and why.
type Plan struct {
	Action  Action  `json:"action"`
	Release Release `json:"release"`
	// Revision is the one to publish, or for Promote and Nothing the one that is published.
	Revision int `json:"revision"`
	// Reasons has at least one sentence.
	Reasons []string `json:"reasons"`
	// Fixes are the IDs of the vulnerabilities whose fixes are a reason to rebuild.
	Fixes []string `json:"fixes,omitempty"`
	// Platforms are those that the image is to have, as os/architecture, sorted.
	Platforms []string `json:"platforms"`
	Base      Base     `json:"base"`
	// Sources is the digest of the image's sources.
	Sources string `json:"sources"`
	// Tags are the tags that are to stand for the revision once the plan is done, besides its RevisionTag.
	Tags []string `json:"tags"`
	// Moves are what Tags takes, in the order in which to do it.
	Moves     []TagMove  `json:"moves"`
	Published *Published `json:"published,omitempty"`
}

// RevisionTag is the tag of the plan's revision, such as 7.0.1-2.
func (p Plan) RevisionTag() string { return RevisionTag(p.Release.Version, p.Revision) }

// NewPlan compares a release, and what is wanted of its image, with what the registry has of it. all are the releases that there are. It
// is an error to want a platform that the release does not have.
func NewPlan(target Release, all []Release, state State, wanted Wanted) (Plan, error) {
	if _, err := target.semver(); err != nil {
		return Plan{}, err
	}
	switch {
	case wanted.Base.Digest == "":
		return Plan{}, fmt.Errorf("plan %s: the digest of base image %q is not known", target.Version, wanted.Base.Name)
	case wanted.Sources == "":
		return Plan{}, fmt.Errorf("plan %s: the digest of the image's sources is not known", target.Version)
	}
	platforms, err := target.Platforms(wanted.Platforms)
	if err != nil {
		return Plan{}, err
	}
	newest := newestRevision(target.Version, state.Tags)
	published := state.Published
	switch {
	case published == nil:
	case published.Digest == "":
		return Plan{}, fmt.Errorf("plan %s: the digest of the published image %s is not known", target.Version, published.Ref)
	case newest == 0:
		return Plan{}, fmt.Errorf("plan %s: %s is said to be published, but none of the repository's %d tags is a revision of it; "+
			"read the registry again", target.Version, published.Ref, len(state.Tags))
	}
	if published != nil {
		if err := target.checkPackages(*published); err != nil {
			return Plan{}, err
		}
	}
	p := Plan{
		Release:   target,
		Revision:  newest,
		Platforms: platforms,
		Base:      wanted.Base,
		Sources:   wanted.Sources,
		Tags:      MovingTags(target, all, state.Tags),
		Moves:     []TagMove{},
		Published: published,
	}
	if published == nil {
		p.Action = Build
		p.Reasons = []string{"OpenNebula " + target.Version + " is not published yet"}
		if newest > 0 {
			p.Reasons = []string{fmt.Sprintf("%s is listed in the registry, but there is no whole image under it", RevisionTag(target.Version, newest))}
		}
	} else if p.Reasons = p.rebuild(wanted); len(p.Reasons) > 0 {
		p.Action, p.Fixes = Rebuild, distinct(wanted.Fixable)
	}
	if p.Action == Build || p.Action == Rebuild {
		p.Revision = newest + 1
		p.move(state.Digests, "")
		return p, nil
	}
	p.move(state.Digests, published.Digest)
	if len(p.Moves) == 0 {
		p.Action = Nothing
		p.Reasons = []string{p.RevisionTag() + " is published and current, and its tags are in place"}
		return p, nil
	}
	p.Action = Promote
	for _, m := range p.Moves {
		if m.From == "" {
			p.Reasons = append(p.Reasons, fmt.Sprintf("tag %s does not exist and should be %s", m.Tag, p.RevisionTag()))
		} else {
			p.Reasons = append(p.Reasons, fmt.Sprintf("tag %s is %s and should be %s (%s)", m.Tag, m.From, p.RevisionTag(), m.To))
		}
	}
	return p, nil
}

// checkPackages returns an error when a published image has a later packaging of the release than upstream has now. A label that is not a
// package version has none.
func (r Release) checkPackages(published Published) error {
	was, err := version.Parse(published.Labels[LabelPackages])
	if err != nil {
		return nil //nolint:nilerr // then the label differs, which is a reason to rebuild
	}
	now, err := version.Parse(r.PackageVersion)
	if err != nil {
		return fmt.Errorf("plan %s: its package version %q: %w", r.Version, r.PackageVersion, err)
	}
	if version.Compare(was, now) <= 0 {
		return nil
	}
	return fmt.Errorf("plan %s: upstream has package version %s, but %s has %s already: upstream is an old copy or has taken that back; use an "+
		"upstream that is up to date (--upstream), or remove that revision from the registry", r.Version, now, published.Ref, was)
}

// rebuild tells why the published image is not what a build would make now; nothing when it is.
func (p Plan) rebuild(wanted Wanted) []string {
	var reasons []string
	if wanted.Rebuild {
		reasons = append(reasons, "a new revision was asked for (--rebuild)")
	}
	differs := func(label, what, now string) {
		switch was, ok := p.Published.Labels[label]; {
		case !ok || was == "":
			reasons = append(reasons, fmt.Sprintf("%s does not say its %s (label %s); now it is %s", p.Published.Ref, what, label, now))
		case was != now:
			reasons = append(reasons, fmt.Sprintf("%s has changed from %s to %s", what, printable(was), now))
		}
	}
	differs(LabelBaseDigest, "base image", p.Base.Digest)
	differs(LabelPackages, "package version", p.Release.PackageVersion)
	differs(LabelSources, "digest of the image's sources", p.Sources)
	if has := distinct(p.Published.Platforms); !slices.Equal(has, p.Platforms) {
		reasons = append(reasons, fmt.Sprintf("it is published for %s and wanted for %s",
			printable(strings.Join(has, ", ")), strings.Join(p.Platforms, ", ")))
	}
	if ids := distinct(wanted.Fixable); len(ids) > 0 {
		reasons = append(reasons, "a fix exists now for "+strings.Join(ids, ", "))
	}
	return reasons
}

// move plans the moves of those tags that are not at digest yet; all, when it is not known.
func (p *Plan) move(digests map[string]string, digest string) {
	for _, tag := range p.Tags {
		if from := digests[tag]; from == "" || from != digest {
			p.Moves = append(p.Moves, TagMove{Tag: tag, From: from, To: digest})
		}
	}
}

// Platforms returns, sorted, which of the wanted platforms (os/architecture) to build for, or all that there are when none is wanted.
// It is an error to want one that the release does not have.
func (r Release) Platforms(wanted []string) ([]string, error) {
	var has []string
	for _, architecture := range r.Architectures {
		has = append(has, "linux/"+architecture)
	}
	has = distinct(has)
	if len(has) == 0 {
		return nil, fmt.Errorf("release %s: it has no architecture to build for", r.Version)
	}
	if len(wanted) == 0 {
		return has, nil
	}
	var errs []error
	wanted = distinct(wanted)
	for _, platform := range wanted {
		if !slices.Contains(has, platform) {
			errs = append(errs, fmt.Errorf("release %s: it cannot be built for platform %q, for upstream has it for %s only",
				r.Version, platform, strings.Join(has, ", ")))
		}
	}
	return wanted, errors.Join(errs...)
}

// distinct returns each of list once, sorted.
func distinct(list []string) []string {
	set := map[string]bool{}
	for _, s := range list {
		set[s] = true
	}
	return slices.Sorted(maps.Keys(set))
}

// printable quotes what a registry says if it could do harm on a terminal.
func printable(s string) string {
	if quoted := strconv.Quote(s); quoted != `"`+s+`"` {
		return quoted
	}
	return s
}
