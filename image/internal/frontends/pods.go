package frontends

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"opennebula-kube/image/internal/host"
)

// accountDir has what Kubernetes gives a pod to log in to its API with.
const accountDir = "/var/run/secrets/kubernetes.io/serviceaccount"

// labelLimit is how long Kubernetes may take.
const labelLimit = 3 * time.Second

// Pods are the pods of the front-ends, in Kubernetes.
type Pods struct {
	host   *host.Host
	client *http.Client
	url    string
	label  string
}

// NewPods reads how Kubernetes is reached. getenv is the environment of the container.
func NewPods(h *host.Host, label string, getenv func(string) string) (*Pods, error) {
	address, port := getenv("KUBERNETES_SERVICE_HOST"), getenv("KUBERNETES_SERVICE_PORT")
	if address == "" || port == "" {
		return nil, errors.New("KUBERNETES_SERVICE_HOST or KUBERNETES_SERVICE_PORT is not set: this is no pod; leave OPENNEBULA_HA_POD_LABEL unset")
	}
	namespace, err := readAccount(h, "namespace")
	if err != nil {
		return nil, err
	}
	ca, err := readAccount(h, "ca.crt")
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(ca)) {
		return nil, fmt.Errorf("%s/ca.crt has no certificate in it", accountDir)
	}
	return &Pods{
		host: h, label: label,
		// A connection that is kept may lead to a node that is gone.
		client: &http.Client{Timeout: labelLimit, Transport: &http.Transport{
			DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12},
		}},
		url: fmt.Sprintf("https://%s/api/v1/namespaces/%s/pods/", net.JoinHostPort(address, port), url.PathEscape(namespace)),
	}, nil
}

func readAccount(h *host.Host, name string) (string, error) {
	path := accountDir + "/" + name
	content, err := h.ReadFile(path)
	if err == nil && len(content) == 0 {
		err = fmt.Errorf("%s is missing or empty: let the pod have the token of its service account", path)
	}
	return strings.TrimSpace(string(content)), err
}

// Label gives a pod the label. A pod that is not there needs none.
func (p *Pods) Label(ctx context.Context, pod, role string) error {
	// It is exchanged from time to time.
	token, err := readAccount(p.host, "token")
	if err != nil {
		return err
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"labels": map[string]string{p.label: role}}})
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPatch, p.url+url.PathEscape(pod), bytes.NewReader(patch))
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+token)
	request.Header.Set("Content-Type", "application/merge-patch+json")
	response, err := p.client.Do(request)
	if err != nil {
		return fmt.Errorf("label pod %s: %w", pod, err)
	}
	defer func() { _ = response.Body.Close() }()
	const enough = 2000
	said, err := io.ReadAll(io.LimitReader(response.Body, enough))
	if response.StatusCode == http.StatusOK || response.StatusCode == http.StatusNotFound {
		return nil
	}
	return errors.Join(fmt.Errorf("label pod %s: Kubernetes answers %s: %s", pod, response.Status, bytes.TrimSpace(said)), err)
}

// PodOf is the pod at an endpoint: the first part of the name that a headless Service gives it.
func PodOf(endpoint string) (string, error) {
	at, err := url.Parse(endpoint)
	if err != nil {
		return "", err
	}
	name, _, _ := strings.Cut(at.Hostname(), ".")
	return name, nil
}
