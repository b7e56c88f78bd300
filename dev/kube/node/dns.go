package main

import (
	"fmt"

	"github.com/coredns/caddy"
	_ "github.com/coredns/coredns/core/dnsserver"     // the server type
	_ "github.com/coredns/coredns/plugin/bind"        // and what the Corefile names
	_ "github.com/coredns/coredns/plugin/cache"       //
	_ "github.com/coredns/coredns/plugin/errors"      //
	_ "github.com/coredns/coredns/plugin/kubernetes"  //
	_ "github.com/coredns/coredns/plugin/loadbalance" //
)

// serveDNS is CoreDNS with the cluster's names and no others.
func serveDNS(args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("coredns: want an address and a kubeconfig, got %q", args)
	}
	instance, err := caddy.Start(caddy.CaddyfileInput{ServerTypeName: "dns", Contents: []byte(corefile(args[0], args[1]))})
	if err != nil {
		return fmt.Errorf("coredns: %w", err)
	}
	instance.Wait()
	return nil
}

// corefile is kubeadm's, less what asks other servers.
func corefile(address, kubeconfig string) string {
	return fmt.Sprintf(`.:53 {
	bind %s
	errors
	kubernetes cluster.local in-addr.arpa ip6.arpa {
		kubeconfig %s
		pods insecure
		fallthrough in-addr.arpa ip6.arpa
		ttl 30
	}
	cache 30 {
		disable success cluster.local
		disable denial cluster.local
	}
	loadbalance
}
`, address, kubeconfig)
}
