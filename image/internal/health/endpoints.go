package health

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	"opennebula-kube/image/internal/host"
	"opennebula-kube/image/internal/onedconf"
	"opennebula-kube/image/internal/yamlconf"
)

// Files that tell where the services listen.
const (
	onedConf     = "/etc/one/oned.conf"
	fireedgeConf = "/etc/one/fireedge-server.conf"
	oneflowConf  = "/etc/one/oneflow-server.conf"
	onegateConf  = "/etc/one/onegate-server.conf"
)

// Endpoints are the URLs of a container's services, as they are reached from inside it.
type Endpoints struct{ Oned, FireEdge, OneFlow, OneGate string }

// Locate reads where the services of a container listen.
func Locate(h *host.Host) (Endpoints, error) {
	c := &checker{host: h}
	oned, onedErr := OnedURL(h)
	fireedge, fireedgeErr := c.fireedgeAddress()
	oneflow, oneflowErr := c.oneflowAddress()
	onegate, onegateErr := c.onegateAddress()
	return Endpoints{oned, "http://" + fireedge, "http://" + oneflow, "http://" + onegate}, errors.Join(onedErr, fireedgeErr, oneflowErr, onegateErr)
}

// OnedURL is where oned of this container is called, from its configuration.
func OnedURL(h *host.Host) (string, error) {
	content, err := h.ReadFile(onedConf)
	if err != nil {
		return "", err
	}
	f, err := onedconf.Parse(onedConf, string(content))
	if err != nil {
		return "", err
	}
	port, _, portErr := f.Get(onedconf.Key{Name: "PORT"})
	address, _, addressErr := f.Get(onedconf.Key{Name: "LISTEN_ADDRESS"})
	if port == "" {
		port = "2633"
	}
	return "http://" + net.JoinHostPort(reachable(address), port) + "/RPC2", errors.Join(portErr, addressErr)
}

// reachable is where something that listens at an address is reached from the machine itself.
func reachable(address string) string {
	switch ip := net.ParseIP(address); {
	case address == "", ip.IsUnspecified() && ip.To4() != nil:
		return "127.0.0.1"
	case ip.IsUnspecified():
		return "::1"
	}
	return address
}

func (c *checker) fireedgeAddress() (string, error) {
	return c.address(fireedgeConf, []string{"host"}, []string{"port"})
}

func (c *checker) oneflowAddress() (string, error) {
	return c.address(oneflowConf, []string{":host"}, []string{":port"})
}

func (c *checker) onegateAddress() (string, error) {
	content, err := c.host.ReadFile(onegateConf)
	if err != nil {
		return "", err
	}
	if ok, err := yamlconf.Get(onegateConf, content, []string{":server"}, new(any)); err != nil {
		return "", err
	} else if ok {
		return c.address(onegateConf, []string{":server", ":bind"}, []string{":server", ":port"})
	}
	return c.address(onegateConf, []string{":host"}, []string{":port"})
}

// address returns where a web server is reached, from its configuration.
func (c *checker) address(conf string, addressAt, portAt []string) (string, error) {
	content, err := c.host.ReadFile(conf)
	if err != nil {
		return "", err
	}
	var address string
	var port int
	if _, err := yamlconf.Get(conf, content, addressAt, &address); err != nil {
		return "", err
	}
	if ok, err := yamlconf.Get(conf, content, portAt, &port); err != nil {
		return "", err
	} else if !ok {
		return "", fmt.Errorf("%s has no %s: restore it", conf, strings.Join(portAt, "/"))
	}
	return net.JoinHostPort(reachable(address), strconv.Itoa(port)), nil
}
