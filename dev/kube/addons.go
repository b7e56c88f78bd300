package kube

import (
	"context"
	"errors"

	core "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"
	storage "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// These are told to the components in node/.
const (
	nodeName        = "node"
	dnsAddress      = "10.96.0.10"
	provisionerName = "opennebula-kube/local"
)

// StorageClass is the name of the default StorageClass: volumes that can be written to from one node, which is all there is.
const StorageClass = "standard"

// applyAddons makes the objects that clusters come with, unless an earlier start has.
func (c *Cluster) applyAddons(ctx context.Context) error {
	classes := c.client.StorageV1().StorageClasses()
	services := c.client.CoreV1().Services(meta.NamespaceSystem)
	slices := c.client.DiscoveryV1().EndpointSlices(meta.NamespaceSystem)
	return errors.Join(
		ensure(ctx, classes.Get, classes.Create, storageClass()),
		ensure(ctx, services.Get, services.Create, dnsService()),
		ensure(ctx, slices.Get, slices.Create, dnsEndpoints()),
	)
}

// ensure creates an object that is not there.
func ensure[T meta.Object](
	ctx context.Context, get func(context.Context, string, meta.GetOptions) (T, error), create func(context.Context, T, meta.CreateOptions) (T, error), object T,
) error {
	_, err := get(ctx, object.GetName(), meta.GetOptions{})
	if apierrors.IsNotFound(err) {
		_, err = create(ctx, object, meta.CreateOptions{})
	}
	return err
}

func storageClass() *storage.StorageClass {
	return &storage.StorageClass{
		ObjectMeta:        meta.ObjectMeta{Name: StorageClass, Annotations: map[string]string{"storageclass.kubernetes.io/is-default-class": "true"}},
		Provisioner:       provisionerName,
		VolumeBindingMode: ptr.To(storage.VolumeBindingWaitForFirstConsumer),
	}
}

// dnsService has no selector, for the name server is a process of the node.
func dnsService() *core.Service {
	return &core.Service{
		ObjectMeta: meta.ObjectMeta{Name: "kube-dns", Labels: map[string]string{"k8s-app": "kube-dns"}},
		Spec: core.ServiceSpec{ClusterIP: dnsAddress, Ports: []core.ServicePort{
			{Name: "dns", Protocol: core.ProtocolUDP, Port: 53}, {Name: "dns-tcp", Protocol: core.ProtocolTCP, Port: 53},
		}},
	}
}

func dnsEndpoints() *discovery.EndpointSlice {
	var ports []discovery.EndpointPort
	for _, port := range dnsService().Spec.Ports {
		ports = append(ports, discovery.EndpointPort{Name: ptr.To(port.Name), Protocol: ptr.To(port.Protocol), Port: ptr.To(port.Port)})
	}
	return &discovery.EndpointSlice{
		ObjectMeta:  meta.ObjectMeta{Name: "kube-dns", Labels: map[string]string{discovery.LabelServiceName: "kube-dns"}},
		AddressType: discovery.AddressTypeIPv4,
		Endpoints:   []discovery.Endpoint{{Addresses: []string{NodeAddress}, NodeName: ptr.To(nodeName)}},
		Ports:       ports,
	}
}
