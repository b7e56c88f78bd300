package ocilayout

import (
	"archive/tar"
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

func TestLeftovers(t *testing.T) {
	const (
		byName      = "etc/ssl/certs/x.pem"
		byHash      = "etc/ssl/certs/6ca38420.0"
		certificate = "/usr/local/share/ca-certificates/x.crt"
	)
	for name, test := range map[string]struct {
		entries []tar.Header
		want    []string
	}{
		"nothing":               {nil, nil},
		"a link by name":        {[]tar.Header{link(byName, certificate)}, []string{byName}},
		"and one by hash":       {[]tar.Header{link(byName, certificate), link(byHash, "x.pem")}, []string{byHash, byName}},
		"the hash first":        {[]tar.Header{link(byHash, "x.pem"), link(byName, certificate)}, []string{byHash, byName}},
		"an absolute hash link": {[]tar.Header{link(byName, certificate), link(byHash, "/"+byName)}, []string{byHash, byName}},
		"a relative link":       {[]tar.Header{link(byName, "../../../usr/local/share/ca-certificates/x.crt")}, []string{byName}},
		"a certificate deeper":  {[]tar.Header{link(byName, "/usr/local/share/ca-certificates/acme/x.crt")}, []string{byName}},
		"names with a dot":      {[]tar.Header{link("./"+byName, certificate), link("./"+byHash, "x.pem")}, []string{byHash, byName}},
		"another certificate there": {[]tar.Header{
			file("usr/local/share/ca-certificates/y.crt", older), link(byName, certificate),
		}, []string{byName}},
		"the certificate is there": {[]tar.Header{
			{Name: "usr/local/share/ca-certificates/", Typeflag: tar.TypeDir}, file("usr/local/share/ca-certificates/x.crt", older),
			link(byName, certificate), link(byHash, "x.pem"),
		}, nil},
		"the certificate comes later": {[]tar.Header{
			link(byName, certificate), link(byHash, "x.pem"), file("./usr/local/share/ca-certificates/x.crt", older),
		}, nil},
		"the distribution's": {[]tar.Header{
			link("etc/ssl/certs/ISRG.pem", "/usr/share/ca-certificates/mozilla/ISRG.crt"), link("etc/ssl/certs/4042bcee.0", "ISRG.pem"),
		}, nil},
		"a hash of what an earlier layer has": {[]tar.Header{link(byHash, "ISRG.pem")}, nil},
		"in a circle":                         {[]tar.Header{link(byName, "6ca38420.0"), link(byHash, "x.pem")}, nil},
		"a link elsewhere":                    {[]tar.Header{link("opt/x.pem", certificate), link("etc/ssl/certs/acme/x.pem", certificate)}, nil},
		"a hard link":                         {[]tar.Header{{Name: byName, Typeflag: tar.TypeLink, Linkname: certificate}}, nil},
		"no link":                             {[]tar.Header{file(byName, newer)}, nil},
		"a directory with a name like it":     {[]tar.Header{link(byName, "/usr/local/share/ca-certificates-of-acme/x.crt")}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			found, err := leftovers(layerOf(t, test.entries...))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, slices.Sorted(maps.Keys(found))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// An image does not tell whether the engine that built it had certificates of its own.
func TestRedateDropsLeftovers(t *testing.T) {
	base := baseImage(t, "amd64")
	const certificates = "usr/local/share/ca-certificates/"
	own := []tar.Header{
		file(certificates+"acme.crt", older), link("etc/ssl/certs/acme.pem", "/"+certificates+"acme.crt"), link("etc/ssl/certs/11111111.0", "acme.pem"),
		link("etc/ssl/certs/ISRG.pem", "/usr/share/ca-certificates/mozilla/ISRG.crt"), link("etc/ssl/certs/4042bcee.0", "ISRG.pem"),
	}
	left := []tar.Header{link("etc/ssl/certs/x.pem", "/"+certificates+"x.crt"), link("etc/ssl/certs/6ca38420.0", "x.pem")}

	_, want := redated(t, builtOn(t, base, layerOf(t, own...)), base)
	dir, got := redated(t, builtOn(t, base, layerOf(t, append(left, own...)...)), base)
	if got.Digest != want.Digest {
		t.Errorf("digest %s with certificates of the engine's, %s without", got.Digest, want.Digest)
	}
	names, _ := entries(t, layersOf(t, opened[v1.Image](t, dir))[2])
	var kept []string
	for _, header := range own {
		kept = append(kept, header.Name)
	}
	if diff := cmp.Diff(kept, names); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Certificates may lie in another layer than the links to them, and be removed in a third.
func TestLeftoversOfSeveralLayers(t *testing.T) {
	certificate := layerOf(t, file("usr/local/share/ca-certificates/x.crt", older))
	links := layerOf(t, link("etc/ssl/certs/x.pem", "/usr/local/share/ca-certificates/x.crt"))
	removed := layerOf(t, file("usr/local/share/ca-certificates/.wh.x.crt", older))
	for name, test := range map[string]struct {
		layers []v1.Layer
		want   int
	}{
		"in an earlier layer": {[]v1.Layer{certificate, links}, 0},
		"in a later layer":    {[]v1.Layer{links, certificate}, 0},
		"removed":             {[]v1.Layer{certificate, links, removed}, 1},
		"made again":          {[]v1.Layer{certificate, links, removed, certificate}, 0},
	} {
		if found, err := leftovers(test.layers...); err != nil || len(found) != test.want {
			t.Errorf("%s: %v, %v, want %d", name, found, err, test.want)
		}
	}
}
