package sandbox

import (
	"net/http"
	"sync"

	"opennebula-kube/ci/httpfault"
)

// Stall makes the upstream accept requests and answer none, until UpstreamFaults is cleared. The channel is closed when a request
// hangs.
func (s *Sandbox) Stall() (hanging <-chan struct{}) {
	hangs := make(chan struct{})
	var once sync.Once
	hang := httpfault.Hang()
	s.UpstreamFaults.Inject(httpfault.Fault{Effect: func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		once.Do(func() { close(hangs) })
		hang(w, r, next)
	}})
	return hangs
}
