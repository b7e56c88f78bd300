// Command node is a whole Kubernetes cluster of one node in one program: each of its components is a verb. Verb supervise starts the others.
// It is a module of its own, because k8s.io/kubernetes replaces modules that the rest of the repository has in other versions.
package main

import (
	"context"
	"fmt"
	"os"
	_ "time/tzdata" // time zones of cron jobs

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

func main() {
	if len(os.Args) < 2 {
		fail(fmt.Errorf("want the name of a component, as in `node kube-apiserver --help`"))
	}
	// Each component reads its flags as if it were alone.
	os.Args = os.Args[1:]
	switch name := os.Args[0]; name {
	case "supervise":
		fail(supervise(context.Background(), os.Args[1:]))
	case "etcd":
		etcdmain.Main(os.Args)
	case "kube-apiserver":
		run(apiserver.NewAPIServerCommand())
	case "kube-controller-manager":
		run(controllermanager.NewControllerManagerCommand())
	case "kube-scheduler":
		run(scheduler.NewSchedulerCommand())
	case "kubelet":
		run(kubelet.NewKubeletCommand(context.Background()))
	case "kube-proxy":
		run(proxy.NewProxyCommand())
	case "coredns":
		fail(serveDNS(os.Args[1:]))
	case "provisioner":
		fail(provision(context.Background(), os.Args[1:]))
	default:
		fail(fmt.Errorf("%q is no component", name))
	}
}

func run(command *cobra.Command) { os.Exit(cli.Run(command)) }

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}
