// Package oci is an OCI registry on disk: the reference implementation's own handlers over a directory, for the sandbox and for
// tests.
package oci

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry/handlers"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem" // the storage that New configures
	"github.com/opencontainers/go-digest"
	"github.com/sirupsen/logrus"
)

// Registry is a registry over a directory. It is an http.Handler; see New.
type Registry struct {
	app    *handlers.App
	dir    string
	logger *logrus.Entry

	mu    sync.RWMutex
	login *login
}

// login is what a part of the registry asks for.
type login struct {
	prefix             string
	username, password [sha256.Size]byte
}

// New returns a registry that keeps everything in dir, which is made when it does not exist, and finds there what an earlier
// one left. Registries over different directories can live in one process. It writes no log.
func New(dir string) (*Registry, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("open registry: %w", err)
	}
	config := &configuration.Configuration{
		Storage: configuration.Storage{
			"filesystem": {"rootdirectory": dir},
			// The purger logs past the context and would outlive the registry by an hour.
			"maintenance": {"uploadpurging": map[any]any{"enabled": false}},
		},
	}
	config.Catalog.MaxEntries = 1000
	config.Tags.MaxTags = 1000
	logger := discard()
	return &Registry{app: handlers.NewApp(quiet{context.Background(), logger}, config), dir: dir, logger: logger}, nil
}

// Close ends what the registry does in the background.
func (r *Registry) Close() error { return r.app.Shutdown() }

// ServeHTTP serves the distribution API, below /v2/.
func (r *Registry) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if !r.allowed(req) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Docker-Distribution-API-Version", "registry/2.0")
		w.Header().Set("WWW-Authenticate", `Basic realm="sandbox"`)
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required","detail":null}]}`+"\n")
		return
	}
	r.app.ServeHTTP(w, req.WithContext(quiet{req.Context(), r.logger}))
}

// RequireLogin asks for a username and password, from the next request on, for the repositories below prefix ("acme/") and
// for the ping that tells clients so. What else is there stays open, as images are on Docker Hub that anybody pulls.
func (r *Registry) RequireLogin(prefix, username, password string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.login = &login{prefix: "/v2/" + prefix, username: sha256.Sum256([]byte(username)), password: sha256.Sum256([]byte(password))}
}

// AllowAnonymous takes RequireLogin back.
func (r *Registry) AllowAnonymous() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.login = nil
}

func (r *Registry) allowed(req *http.Request) bool {
	r.mu.RLock()
	login := r.login
	r.mu.RUnlock()
	if login == nil || req.URL.Path != "/v2/" && !strings.HasPrefix(req.URL.Path, login.prefix) {
		return true
	}
	username, password, _ := req.BasicAuth()
	u, p := sha256.Sum256([]byte(username)), sha256.Sum256([]byte(password))
	return subtle.ConstantTimeCompare(u[:], login.username[:])&subtle.ConstantTimeCompare(p[:], login.password[:]) == 1
}

// Forget loses a blob that was pushed, from all repositories, behind the back of the manifests that name it: what a registry
// with broken storage does. The blob can be pushed again. A blob that is not there is an error.
func (r *Registry) Forget(blob string) error {
	d, err := digest.Parse(blob)
	if err != nil {
		return fmt.Errorf("forget blob %q: %w", blob, err)
	}
	root := filepath.Join(r.dir, "docker", "registry", "v2")
	if err := os.Remove(filepath.Join(root, "blobs", d.Algorithm().String(), d.Encoded()[:2], d.Encoded(), "data")); err != nil {
		return fmt.Errorf("forget blob %s: %w", blob, err)
	}
	return filepath.WalkDir(filepath.Join(root, "repositories"), func(name string, entry os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		layer := filepath.Join("_layers", d.Algorithm().String(), d.Encoded(), "link")
		if entry.IsDir() || !strings.HasSuffix(name, string(filepath.Separator)+layer) {
			return nil
		}
		if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("forget blob %s: %w", blob, err)
		}
		return nil
	})
}
