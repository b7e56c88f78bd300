//go:build linux

package install_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// api is the API of a release, called as oneadmin through its Service.
type api struct {
	client       *http.Client
	url, session string
}

// api returns the API; no call takes longer than the time that is given.
func (r *release) api(limit time.Duration) api {
	r.t.Helper()
	service, err := r.client.CoreV1().Services(r.namespace).Get(r.t.Context(), name, meta.GetOptions{})
	if err != nil {
		r.t.Fatal(err)
	}
	return api{
		// A connection of its own for each call, as it leads to the pod that was there when it was made.
		client:  &http.Client{Timeout: limit, Transport: &http.Transport{DialContext: r.DialContext, DisableKeepAlives: true}},
		url:     "http://" + service.Spec.ClusterIP + ":2633/RPC2",
		session: "oneadmin:" + r.password(),
	}
}

// call calls a method with parameters in XML, such as <i4>1</i4>. What oned refuses is an error too.
func (a api) call(ctx context.Context, method string, params ...string) error {
	body := "<?xml version='1.0'?><methodCall><methodName>" + method + "</methodName><params>"
	for _, param := range append([]string{"<string>" + a.session + "</string>"}, params...) {
		body += "<param><value>" + param + "</value></param>"
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, a.url, strings.NewReader(body+"</params></methodCall>"))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "text/xml")
	response, err := a.client.Do(request)
	if err != nil {
		return err
	}
	said, err := io.ReadAll(response.Body)
	if err := errors.Join(err, response.Body.Close()); err != nil {
		return err
	}
	if !strings.Contains(string(said), "<boolean>1</boolean>") {
		return errors.New(string(said))
	}
	return nil
}
