// Package kube runs a real Kubernetes on this machine: a cluster of one node, which runs pods, in a container of its own. Its processes, mounts,
// control groups, interfaces and packet filter are the container's, and end with it.
//
// The node has no way out but to the servers that it is told of. What it does not do: it enforces no NetworkPolicy, has no load balancer, and
// forwards no port of the machine.
package kube

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/gofrs/flock"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"opennebula-kube/ci/pipeline"
	"opennebula-kube/dev/toolchain"
)

// startLimit is how long a cluster may take to be ready, on a machine that is busy.
const startLimit = 5 * time.Minute

// Options say what a cluster is made of.
type Options struct {
	// Dir keeps the cluster: its certificates, data, volumes and logs (log/). A cluster that is started on the Dir of an earlier one, which
	// has been closed, has all of that one's objects. It has to be on a file system that overlayfs can write to.
	Dir string
	// Root is the root directory of the repository, which Kubernetes is compiled from.
	Root string
	// Toolchain compiles Kubernetes and installs what it needs.
	Toolchain *toolchain.Toolchain
	// Servers are servers on this machine's loopback interface, such as a registry at 127.0.0.1:5000. The node finds them at the same address,
	// and pods at the same port of NodeAddress.
	Servers []string
	// ServerOnly starts the API server and its controllers alone, as processes of the caller's user: objects are checked, defaulted and kept,
	// but no pod is ever scheduled. That is for where CanRunPods has an error. Such a server has Services of both IP families.
	ServerOnly bool
	// Log hears what takes time; nil is silence.
	Log func(format string, args ...any)
}

// Cluster is a running cluster. Its fields are set by Start and for reading.
type Cluster struct {
	// Kubeconfig is the path of a file with which kubectl and Helm reach the cluster, as its administrator.
	Kubeconfig string
	// Config is the same for client-go.
	Config *rest.Config

	dir        string
	id         string
	program    string
	servers    []string
	serverOnly bool

	lock   *flock.Flock
	client kubernetes.Interface
	// mu guards instance, which connections use from outside.
	mu       sync.Mutex
	instance instance
	// server is the address of the API server in the node's network.
	server string
	// address is where the API server is reached from outside of the node, by way of api.
	address string
	api     *forwarder
}

// instance is the cluster between a start and its end.
type instance interface {
	// dial connects to an address of the node's network.
	dial(ctx context.Context, network, address string) (net.Conn, error)
	// ended is closed when the cluster's processes are gone.
	ended() <-chan struct{}
	// stop ends the processes at once, as a power cut does, and removes what they leave on the machine.
	stop() error
}

// Start starts a cluster and waits until it is ready for pods. ctx bounds the start alone; Close ends the cluster, and so does the end of this
// process, whatever ends it.
func Start(ctx context.Context, o Options) (_ *Cluster, err error) {
	if o.Log == nil {
		o.Log = func(string, ...any) {}
	}
	c := &Cluster{servers: o.Servers, serverOnly: o.ServerOnly}
	defer func() {
		if err != nil {
			err = fmt.Errorf("start Kubernetes: %w", errors.Join(err, c.Close()))
		}
	}()
	if err := c.open(o.Dir); err != nil {
		return nil, err
	}
	if err := c.prepare(ctx, o); err != nil {
		return nil, err
	}
	begin := time.Now()
	if err := c.boot(ctx); err != nil {
		return nil, err
	}
	o.Log("Kubernetes is ready after %s", time.Since(begin).Round(100*time.Millisecond))
	return c, nil
}

// open takes the directory for this cluster alone.
func (c *Cluster) open(dir string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(dir, "log"), 0o755); err != nil {
		return err
	}
	// The id goes into names that have to be the same for a later start, which removes what one that was killed has left.
	sum := sha256.Sum256([]byte(dir))
	c.dir, c.id = dir, "opennebula-kube-"+hex.EncodeToString(sum[:6])
	lock := flock.New(filepath.Join(dir, "lock"))
	if got, err := lock.TryLock(); err != nil {
		return fmt.Errorf("lock %s: %w", lock.Path(), err)
	} else if !got {
		return fmt.Errorf("%s is in use by another cluster: close that one, or take another directory", dir)
	}
	c.lock = lock
	return nil
}

// prepare makes everything that outlives a restart.
func (c *Cluster) prepare(ctx context.Context, o Options) (err error) {
	if c.program, err = o.Toolchain.Tool(ctx, "kubernetes-node"); err != nil {
		return err
	}
	if !c.serverOnly {
		if err := CanRunPods(); err != nil {
			return err
		}
		if err := o.Toolchain.OSPackages(ctx, needs()...); err != nil {
			return err
		}
		if err := writePauseImage(ctx, o.Root, filepath.Join(c.dir, "pause.tar")); err != nil {
			return fmt.Errorf("make the pause image: %w", err)
		}
	}
	if err := c.listen(ctx); err != nil {
		return err
	}
	c.Kubeconfig = filepath.Join(c.dir, "kubeconfig")
	if err := writeCredentials(c.dir, c.server, c.address, c.Kubeconfig); err != nil {
		return fmt.Errorf("make the certificates: %w", err)
	}
	if c.Config, err = clientcmd.BuildConfigFromFlags("", c.Kubeconfig); err != nil {
		return err
	}
	// Nobody is to wait for the client's own brake.
	c.Config.QPS = -1
	c.client, err = kubernetes.NewForConfig(c.Config)
	return err
}

const (
	// NodeAddress is the node's, in a network of its own, which nothing else is in.
	NodeAddress = "10.0.0.2"
	nodePort    = "6443"
	loopback    = "127.0.0.1"
)

// listen finds the API server its addresses, the same for all starts: clients know them.
func (c *Cluster) listen(ctx context.Context) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort(loopback, "0"))
	if err != nil {
		return err
	}
	c.address = listener.Addr().String()
	if c.serverOnly {
		// Of the machine's own ports; the server takes this one next.
		c.server = c.address
		return listener.Close()
	}
	c.server = net.JoinHostPort(NodeAddress, nodePort)
	c.api = forward(ctx, listener, func(ctx context.Context) (net.Conn, error) { return c.DialContext(ctx, "tcp", c.server) })
	return nil
}

// DialContext connects to an address that the node reaches, such as a pod's or a service's.
func (c *Cluster) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	c.mu.Lock()
	running := c.instance
	c.mu.Unlock()
	if running == nil {
		return nil, errors.New("the node is not running")
	}
	return running.dial(ctx, network, address)
}

// boot starts the processes and waits until the cluster is ready.
func (c *Cluster) boot(ctx context.Context) error {
	bootID, begin := rand.Text(), time.Now()
	running, err := c.start(ctx, bootID)
	if err != nil {
		return err
	}
	c.set(running)
	ctx, cancel := context.WithTimeoutCause(ctx, startLimit, fmt.Errorf("it is not ready after %s", startLimit))
	defer cancel()
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	go func() {
		select {
		case <-running.ended():
			fail(errors.New("its processes ended"))
		case <-ctx.Done():
		}
	}()
	err = c.ready(ctx, bootID, begin)
	if err == nil {
		return nil
	}
	if said, readErr := os.ReadFile(c.supervisorLog()); readErr == nil && len(said) > 0 {
		err = fmt.Errorf("%w:\n%s", err, pipeline.LastLines(string(said)))
	}
	return fmt.Errorf("%w; what its components said is in %s", err, filepath.Dir(c.supervisorLog()))
}

func (c *Cluster) supervisorLog() string { return filepath.Join(c.dir, "log", "supervisor.log") }

// start starts the supervisor, which starts all others.
func (c *Cluster) start(ctx context.Context, bootID string) (instance, error) {
	log, err := os.Create(c.supervisorLog())
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }()
	host, port, err := net.SplitHostPort(c.server)
	if err != nil {
		return nil, err
	}
	args := []string{c.program, "supervise", "--dir", c.dir, "--address", host, "--port", port}
	if c.serverOnly {
		return startProcess(ctx, log, args)
	}
	return startContainer(ctx, c.dir, c.id, c.servers, log, append(args, "--pods", "--boot-id", bootID))
}

// set replaces the running instance and returns the one before.
func (c *Cluster) set(next instance) (before instance) {
	c.mu.Lock()
	defer c.mu.Unlock()
	before, c.instance = c.instance, next
	return before
}

// Restart cuts the node's power and turns it on again: every process is killed, and the cluster starts on what is on its disk. It returns when the
// cluster is ready and no pod is said to run that has not been started again.
func (c *Cluster) Restart(ctx context.Context) error {
	if err := c.powerOff(); err != nil {
		return fmt.Errorf("restart Kubernetes: %w", err)
	}
	if err := c.boot(ctx); err != nil {
		return fmt.Errorf("restart Kubernetes: %w", err)
	}
	return nil
}

func (c *Cluster) powerOff() error {
	if running := c.set(nil); running != nil {
		return running.stop()
	}
	return nil
}

// Close ends the cluster at once. What is in its directory stays; nothing else does.
func (c *Cluster) Close() error {
	err := c.powerOff()
	if c.api != nil {
		c.api.close()
	}
	if c.lock != nil {
		err = errors.Join(err, c.lock.Close())
	}
	return err
}
