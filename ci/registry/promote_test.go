package registry_test

import (
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"

	"opennebula-kube/ci/httpfault"
	"opennebula-kube/ci/registry"
)

func TestPromote(t *testing.T) {
	s := start(t)
	r := s.open(t)
	older := push(t, r, randomImage(t), "7.0.1-1")
	index := buildkitIndex(t)
	newer := push(t, r, index, "7.0.1-2")
	s.take()
	tags := []string{"7.0.1", "7.0", "7", "latest"}
	var toOlder, toNewer []registry.Move
	var puts []string
	for _, tag := range tags {
		toOlder = append(toOlder, registry.Move{Tag: tag})
		toNewer = append(toNewer, registry.Move{Tag: tag, From: older})
		puts = append(puts, "PUT "+manifest+tag)
	}
	for _, step := range []struct {
		what   string
		digest string
		moves  []registry.Move
		writes []string
	}{
		{"new tags", older, toOlder, puts},
		{"moved tags", newer, toNewer, puts},
		{"moved already", newer, toNewer, nil},
		{"nothing to move", newer, nil, nil},
	} {
		if err := r.Promote(t.Context(), step.digest, step.moves); err != nil {
			t.Fatalf("%s: %v", step.what, err)
		}
		if diff := cmp.Diff(step.writes, s.take()); diff != "" {
			t.Errorf("%s: %s", step.what, diff)
		}
	}
	for _, tag := range tags {
		wantWhole(t, r, tag, index)
	}
	if at(t, r, "7.0.1-1") != older {
		t.Error("the older revision moved")
	}
}

func TestPromoteSeesTagsThatOthersMoved(t *testing.T) {
	for name, test := range map[string]struct {
		from func(older string) string
		now  func(t *testing.T, r *registry.Repository) string
	}{
		"moved elsewhere": {
			func(older string) string { return older },
			func(t *testing.T, r *registry.Repository) string { return push(t, r, randomImage(t), "latest") },
		},
		"made": {
			func(string) string { return "" },
			func(t *testing.T, r *registry.Repository) string { return push(t, r, randomImage(t), "latest") },
		},
		"removed": {
			func(older string) string { return older },
			func(*testing.T, *registry.Repository) string { return "" },
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t)
			r := s.open(t)
			from := test.from(push(t, r, randomImage(t), "7.0.1-1"))
			digest := push(t, r, randomImage(t), "7.0.1-2")
			now := test.now(t, r)
			s.take()
			err := r.Promote(t.Context(), digest, []registry.Move{{Tag: "7.0.1"}, {Tag: "latest", From: from}})
			mustFail(t, err, registry.ErrTagMoved, "latest", orNone(from), orNone(now), "no tag was moved")
			if writes := s.take(); len(writes) > 0 {
				t.Errorf("sent %v", writes)
			}
		})
	}
}

func orNone(digest string) string {
	if digest == "" {
		return "no such tag"
	}
	return digest
}

func TestPromoteSeesATagMovedMeanwhile(t *testing.T) {
	s := start(t)
	r := s.open(t)
	digest := push(t, r, randomImage(t), "7.0.1-1")
	rival := randomImage(t)
	s.Inject(httpfault.Fault{Method: http.MethodPut, Path: manifest + "7.0.1", Effect: func(w http.ResponseWriter, req *http.Request, next http.Handler) {
		next.ServeHTTP(w, req)
		push(t, s.open(t), rival, "latest")
	}})
	err := r.Promote(t.Context(), digest, []registry.Move{{Tag: "7.0.1"}, {Tag: "latest"}})
	mustFail(t, err, registry.ErrTagMoved, "tag latest", digestOf(t, rival), "moved already: 7.0.1")
	if at(t, r, "latest") != digestOf(t, rival) {
		t.Error("the rival's tag was overwritten")
	}
}

func TestPromoteCutInTheMiddle(t *testing.T) {
	s := start(t)
	r := s.open(t)
	digest := push(t, r, randomImage(t), "7.0.1-1")
	moves := []registry.Move{{Tag: "7.0.1"}, {Tag: "7.0"}, {Tag: "7"}, {Tag: "latest"}}
	s.Inject(httpfault.Fault{Method: http.MethodPut, Path: manifest + "7", Effect: httpfault.CutUpload(10)})
	err := r.Promote(t.Context(), digest, moves)
	mustFail(t, err, nil, "move tag 7:", "moved already: 7.0.1, 7.0")
	if at(t, r, "latest") != "" {
		t.Error("latest was moved before the tags ahead of it")
	}
	s.Clear()
	s.take()
	if err := r.Promote(t.Context(), digest, moves); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"PUT " + manifest + "7", "PUT " + manifest + "latest"}, s.take()); diff != "" {
		t.Error("running again:", diff)
	}
}

func TestPromoteNeedsTheDigestWhole(t *testing.T) {
	s := start(t)
	r := s.open(t)
	index := buildkitIndex(t)
	digest := push(t, r, index, "7.0.1-1")
	latest := []registry.Move{{Tag: "latest"}}

	mustFail(t, r.Promote(t.Context(), nowhere, latest), registry.ErrNotFound, nowhere)
	mustFail(t, r.Promote(t.Context(), "7.0.1-1", latest), nil, "no digest")
	mustFail(t, r.Promote(t.Context(), digest, []registry.Move{{Tag: "a b"}}), nil, "a b")

	children, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	lost := children.Manifests[0].Digest.String()
	s.Inject(httpfault.Fault{Method: http.MethodGet, Path: manifest + lost, Effect: httpfault.Status(http.StatusNotFound)})
	mustFail(t, r.Promote(t.Context(), digest, latest), registry.ErrNotFound, lost)
	s.Clear()

	s.Inject(httpfault.Fault{Method: http.MethodHead, Path: blobs, Times: 1, Effect: httpfault.Status(http.StatusNotFound)})
	mustFail(t, r.Promote(t.Context(), digest, latest), registry.ErrNotFound, "not whole")
	if at(t, r, "latest") != "" {
		t.Error("the tag was moved to what is not whole")
	}
}
