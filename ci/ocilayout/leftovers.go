package ocilayout

import (
	"archive/tar"
	"io"
	"path"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

const (
	// localCertificates is where update-ca-certificates finds certificates that the distribution does not bring.
	localCertificates = "/usr/local/share/ca-certificates/"
	// trustStore is where it links to them.
	trustStore = "etc/ssl/certs"
	// whiteout begins the name of an entry that removes what an earlier layer has.
	whiteout = ".wh."
)

// leftovers names what an engine with certificates of its own leaves in the layers of an image: it gives them to every step and takes
// them back after it, but not the links to them. Without that, the image would depend on whose engine built it.
func leftovers(layers ...v1.Layer) (map[string]bool, error) {
	links := map[string]string{}
	certificates := map[string]bool{}
	for _, layer := range layers {
		if err := findCertificates(layer, links, certificates); err != nil {
			return nil, err
		}
	}
	found := map[string]bool{}
	for name, target := range links {
		if next, ok := links[clean(target)]; ok { // by hash, to the link by name
			target = next
		}
		if strings.HasPrefix(target, localCertificates) && !certificates[target] {
			found[name] = true
		}
	}
	return found, nil
}

// findCertificates adds a layer's links in the trust store, and its local certificates.
func findCertificates(layer v1.Layer, links map[string]string, certificates map[string]bool) error {
	content, err := layer.Uncompressed()
	if err != nil {
		return err
	}
	defer func() { _ = content.Close() }()
	return eachEntry(content, func(header *tar.Header, _ io.Reader) error {
		name := clean(header.Name)
		dir, file := path.Split("/" + name)
		switch {
		case path.Dir(name) == trustStore && header.Typeflag == tar.TypeSymlink:
			links[name] = path.Clean(header.Linkname)
			if !path.IsAbs(header.Linkname) {
				links[name] = path.Join(dir, links[name])
			}
		case !strings.HasPrefix(dir, localCertificates):
		case strings.HasPrefix(file, whiteout):
			delete(certificates, dir+strings.TrimPrefix(file, whiteout))
		default:
			certificates[dir+file] = true
		}
		return nil
	})
}

// clean is a path in an archive without what may stand before it.
func clean(name string) string { return strings.TrimPrefix(path.Clean("/"+name), "/") }
