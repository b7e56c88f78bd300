package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/sig-storage-lib-external-provisioner/v13/controller"
)

// provisionerName is what the StorageClass names.
const provisionerName = "opennebula-kube/local"

// provision makes the volumes that claims ask for, as directories of the node, and removes them.
func provision(ctx context.Context, args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("provisioner: want a directory and a kubeconfig, got %q", args)
	}
	config, err := clientcmd.BuildConfigFromFlags("", args[1])
	if err != nil {
		return fmt.Errorf("provisioner: %w", err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("provisioner: %w", err)
	}
	controller.NewProvisionController(ctx, client, provisionerName, volumes{dir: args[0]}, controller.LeaderElection(false)).Run(ctx)
	return errors.New("provisioner: ended")
}

// volumes are directories. They are volumes of type "local", not "hostPath", because the kubelet gives only the former to a pod's fsGroup, as
// it does with a cloud's disks.
type volumes struct{ dir string }

// Provision implements controller.Provisioner.
func (v volumes) Provision(_ context.Context, o controller.ProvisionOptions) (*core.PersistentVolume, controller.ProvisioningState, error) {
	if modes := o.PVC.Spec.AccessModes; slices.Contains(modes, core.ReadWriteMany) || slices.Contains(modes, core.ReadOnlyMany) {
		return nil, controller.ProvisioningFinished, fmt.Errorf("access modes %v: a volume of one node is ReadWriteOnce", modes)
	}
	path := filepath.Join(v.dir, o.PVName)
	if err := os.MkdirAll(path, 0o755); err != nil {
		return nil, controller.ProvisioningFinished, err
	}
	return &core.PersistentVolume{
		ObjectMeta: meta.ObjectMeta{Name: o.PVName},
		Spec: core.PersistentVolumeSpec{
			PersistentVolumeReclaimPolicy: *o.StorageClass.ReclaimPolicy,
			AccessModes:                   o.PVC.Spec.AccessModes,
			Capacity:                      core.ResourceList{core.ResourceStorage: o.PVC.Spec.Resources.Requests[core.ResourceStorage]},
			PersistentVolumeSource:        core.PersistentVolumeSource{Local: &core.LocalVolumeSource{Path: path}},
			NodeAffinity: &core.VolumeNodeAffinity{Required: &core.NodeSelector{NodeSelectorTerms: []core.NodeSelectorTerm{{
				MatchExpressions: []core.NodeSelectorRequirement{{
					Key: core.LabelHostname, Operator: core.NodeSelectorOpIn, Values: []string{o.SelectedNodeName},
				}},
			}}}},
		},
	}, controller.ProvisioningFinished, nil
}

// Delete implements controller.Provisioner.
func (v volumes) Delete(_ context.Context, volume *core.PersistentVolume) error {
	return os.RemoveAll(filepath.Join(v.dir, volume.Name))
}
