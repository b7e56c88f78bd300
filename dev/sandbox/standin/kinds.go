package standin

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// defaultCluster is the only cluster that the stand-in knows.
const defaultCluster = 0

// Types of datastores, and of documents.
const (
	imageDatastore = iota
	systemDatastore
	fileDatastore
)

// vmOwner is how an address range names a virtual machine that has one of its addresses.
const vmOwner = 0x1000000000

// States of images, networks and hosts.
const (
	imageReady, imageUsed, imageLocked, imageDelete = 1, 2, 4, 7

	networkReady = 1

	hostInit, hostMonitored, hostError int = 0, 2, 3
)

func hosts() *kind {
	return &kind{
		call: "host", tag: "HOST", table: "host_pool", label: "host", right: "HOST", unowned: true, shared: true,
		columns: map[string]string{"state": "STATE", "cid": "CLUSTER_ID"},
		build: func(_ *daemon, _ *user, params []value, _ *node) (*node, *rpcError) {
			if len(params) < 3 {
				return nil, failure(codeAPI, "Not enough parameters: a name and the drivers of a host are needed.")
			}
			for i, name := range []string{"", "IM_MAD_NAME", "VMM_MAD_NAME"} {
				if name != "" && params[i].string() == "" {
					return nil, failure(codeInternal, name+" cannot be empty.")
				}
			}
			made := elem("HOST", leaves("NAME", params[0].string(), "STATE", hostInit, "PREV_STATE", hostInit)...)
			share := elem("HOST_SHARE", leaves("MEM_USAGE", 0, "CPU_USAGE", 0, "TOTAL_MEM", 0, "TOTAL_CPU", 0, "MAX_MEM", 0, "MAX_CPU", 0,
				"RUNNING_VMS", 0, "VMS_THREAD", 1)...)
			share.children = append(share.children, elem("DATASTORES"), elem("PCI_DEVICES"), elem("NUMA_NODES"))
			made.children = append(made.children, quoted("IM_MAD", params[1].string()), quoted("VM_MAD", params[2].string()),
				leaf("CLUSTER_ID", defaultCluster), leaf("CLUSTER", "default"), share, elem("VMS"),
				elem("TEMPLATE", quoted("RESERVED_CPU", ""), quoted("RESERVED_MEM", "")), elem("MONITORING"))
			return made, nil
		},
		joined: func(d *daemon, made *node) ([]string, error) { return d.inCluster("HOSTS", made.number("ID"), true) },
		remove: func(d *daemon, object *node) ([]string, error) {
			if running := len(object.ids("VMS")); running > 0 {
				return nil, fmt.Errorf("Can not remove a host with running VMs")
			}
			statements, err := d.inCluster("HOSTS", object.number("ID"), false)
			return append(statements, dropped("host_pool", object)), err
		},
	}
}

// inCluster puts an object into a list of the cluster, or takes it out.
func (d *daemon) inCluster(list string, id int, in bool) ([]string, error) {
	k := d.kinds["cluster"]
	cluster, failed := d.object(k, defaultCluster)
	if failed != nil {
		return nil, errors.New(failed.message)
	}
	cluster.setID(list, id, in)
	statements := []string{d.statement(k, cluster)}
	if relation := map[string]string{"DATASTORES": "cluster_datastore_relation", "VNETS": "cluster_network_relation"}[list]; relation != "" {
		statements = append(statements, fmt.Sprintf("DELETE FROM %s WHERE cid = %d AND oid = %d", relation, defaultCluster, id))
		if in {
			statements = append(statements, fmt.Sprintf("INSERT INTO %s VALUES (%d, %d)", relation, defaultCluster, id))
		}
	}
	return statements, nil
}

func datastores() *kind {
	return &kind{
		call: "datastore", tag: "DATASTORE", table: "datastore_pool", label: "datastore", right: "DATASTORE", shared: true,
		build: func(d *daemon, caller *user, _ []value, template *node) (*node, *rpcError) {
			made, err := newDatastore(caller, template)
			if err == nil {
				err = d.checkDrivers(made)
			}
			if err != nil {
				return nil, failure(codeInternal, err.Error())
			}
			return made, nil
		},
		joined: func(d *daemon, made *node) ([]string, error) {
			made.set("BASE_PATH", fmt.Sprintf("/var/lib/one//datastores/%s", made.get("ID")))
			return d.inCluster("DATASTORES", made.number("ID"), true)
		},
		remove: func(d *daemon, object *node) ([]string, error) {
			if len(object.ids("IMAGES")) > 0 {
				return nil, fmt.Errorf("Datastore %s is not empty.", object.get("ID"))
			}
			statements, err := d.inCluster("DATASTORES", object.number("ID"), false)
			return append(statements, dropped("datastore_pool", object)), err
		},
		updated: func(d *daemon, object *node) error {
			if err := datastoreType(object); err != nil {
				return err
			}
			return d.checkDrivers(object)
		},
	}
}

func newDatastore(owner *user, template *node) (*node, error) {
	made := header(owner, "DATASTORE", template.take("NAME"))
	made.set("PERMISSIONS/GROUP_U", 1)
	made.children = append(made.children, quoted("DS_MAD", "-"), quoted("TM_MAD", ""), quoted("BASE_PATH", ""),
		leaf("TYPE", 0), leaf("DISK_TYPE", 0), leaf("STATE", 0), elem("CLUSTERS", leaf("ID", defaultCluster)),
		leaf("TOTAL_MB", 0), leaf("FREE_MB", 0), leaf("USED_MB", 0), elem("IMAGES"), template)
	return made, datastoreType(made)
}

// checkDrivers refuses a datastore whose drivers are not in oned's configuration.
func (d *daemon) checkDrivers(store *node) error {
	if driver := store.get("DS_MAD"); driver != "-" && driverNamed(d.config, "DS_MAD_CONF", driver) == nil {
		return fmt.Errorf("DS_MAD named %q is not defined in oned.conf", driver)
	}
	transfer := driverNamed(d.config, "TM_MAD_CONF", store.get("TM_MAD"))
	if transfer == nil {
		return fmt.Errorf("TM_MAD named %q is not defined in oned.conf", store.get("TM_MAD"))
	}
	if template := store.at("TEMPLATE"); store.number("TYPE") == systemDatastore {
		template.merge(elem("", quoted("SHARED", cmp.Or(transfer.get("SHARED"), "NO"))))
	}
	return nil
}

// datastoreType takes over the type and the drivers of a datastore from its template.
func datastoreType(made *node) error {
	template := made.at("TEMPLATE")
	kind := strings.ToUpper(cmp.Or(template.get("TYPE"), "IMAGE_DS"))
	number := slices.Index([]string{"IMAGE_DS", "SYSTEM_DS", "FILE_DS"}, kind)
	driver, transfer := template.get("DS_MAD"), template.get("TM_MAD")
	switch {
	case number < 0:
		number = imageDatastore
	case number == systemDatastore && driver != "" && driver != "-":
		return errors.New("DS_MAD cannot be set for system datastores.")
	case number == systemDatastore:
		driver = "-"
	case driver == "":
		return errors.New("No DS_MAD in template.")
	}
	if transfer == "" {
		return errors.New("No TM_MAD in template.")
	}
	made.set("DS_MAD", driver)
	made.set("TM_MAD", transfer)
	made.set("TYPE", number)
	return nil
}

// driverNamed is the list of a configuration that has a name in it, nil when there is none.
func driverNamed(config *node, list, name string) *node {
	for _, driver := range config.all(list) {
		if driver.get("NAME") == name {
			return driver
		}
	}
	return nil
}

func images() *kind {
	return &kind{
		call: "image", tag: "IMAGE", table: "image_pool", label: "image", right: "IMAGE", users: true,
		build: func(d *daemon, caller *user, params []value, template *node) (*node, *rpcError) {
			id, err := paramInt(params, 1, -1)
			if err != nil || len(params) < 2 {
				return nil, failure(codeAPI, "Not enough parameters: a template and the id of a datastore are needed.")
			}
			store, failed := d.object(d.kinds["datastore"], id)
			if failed != nil {
				return nil, failed
			}
			refuse := func(why string) (*node, *rpcError) {
				return nil, failure(codeAllocate, "Error allocating a new image. "+why)
			}
			if store.number("TYPE") == systemDatastore {
				return refuse("New images can only be allocated in a files or image datastore.")
			}
			made := header(caller, "IMAGE", template.take("NAME"))
			types := []string{"OS", "CDROM", "DATABLOCK", "KERNEL", "RAMDISK", "CONTEXT"}
			number := slices.Index(types, strings.ToUpper(cmp.Or(template.take("TYPE"), "OS")))
			if number < 0 {
				return refuse("Unknown type in template.")
			}
			now, path, format, persistent := d.host.Now().Unix(), template.take("PATH"), cmp.Or(template.take("FORMAT"), "raw"), 0
			if strings.EqualFold(template.take("PERSISTENT"), "YES") {
				persistent = 1
			}
			if path == "" && number != 0 && number != 2 {
				return refuse("No PATH nor SOURCE in template.")
			}
			if path != "" {
				format = ""
			}
			size := cmp.Or(template.take("SIZE"), "1024")
			made.children = append(made.children, leaves("TYPE", number, "DISK_TYPE", 0, "PERSISTENT", persistent, "REGTIME", now, "MODTIME", now)...)
			made.children = append(made.children, quoted("SOURCE", ""), quoted("PATH", path), quoted("FORMAT", format), quoted("FS", template.take("FS")))
			made.children = append(made.children, leaves("SIZE", size, "STATE", imageLocked, "PREV_STATE", imageLocked, "RUNNING_VMS", 0,
				"CLONING_OPS", 0, "CLONING_ID", -1, "TARGET_SNAPSHOT", -1, "DATASTORE_ID", id, "DATASTORE", store.get("NAME"))...)
			if template.at("DEV_PREFIX") == nil && number <= 2 {
				template.add(quoted("DEV_PREFIX", "hd"))
			}
			made.children = append(made.children, elem("VMS"), elem("CLONES"), elem("APP_CLONES"), template, elem("SNAPSHOTS"))
			return made, nil
		},
		joined: func(d *daemon, made *node) ([]string, error) {
			d.later(func() error { return d.registerImage(made.number("ID")) })
			return d.inDatastore(made, true)
		},
		remove: func(d *daemon, object *node) ([]string, error) {
			if running := object.number("RUNNING_VMS"); running > 0 {
				return nil, fmt.Errorf("There are %d VMs using it.", running)
			}
			gone := func() ([]string, error) {
				statements, err := d.inDatastore(object, false)
				return append(statements, dropped("image_pool", object)), err
			}
			if object.get("SOURCE") == "" {
				return gone()
			}
			// The datastore's driver removes the file first.
			object.set("STATE", imageDelete)
			d.later(func() error {
				statements, err := gone()
				if err != nil {
					return err
				}
				return d.exec(statements...)
			})
			return []string{d.statement(d.kinds["image"], object)}, nil
		},
	}
}

// inDatastore puts an image into the list of its datastore, or takes it out.
func (d *daemon) inDatastore(image *node, in bool) ([]string, error) {
	k := d.kinds["datastore"]
	store, failed := d.object(k, image.number("DATASTORE_ID"))
	if failed != nil {
		return nil, errors.New(failed.message)
	}
	store.setID("IMAGES", image.number("ID"), in)
	return []string{d.statement(k, store)}, nil
}

// registerImage is what the datastore's driver does with a new image.
func (d *daemon) registerImage(id int) error {
	k := d.kinds["image"]
	image, failed := d.object(k, id)
	if failed != nil {
		return errors.New(failed.message)
	}
	image.set("SOURCE", "dummy_path")
	image.set("STATE", imageReady)
	image.set("PREV_STATE", imageReady)
	return d.saveObjects(k, image)
}

func networks() *kind {
	return &kind{
		call: "vn", tag: "VNET", table: "network_pool", label: "virtual network", right: "NET",
		columns: map[string]string{"pid": "PARENT_NETWORK_ID"},
		build: func(d *daemon, caller *user, _ []value, template *node) (*node, *rpcError) {
			driver := template.get("VN_MAD")
			if driver == "" {
				return nil, failure(codeInternal, "No VN_MAD in template for Virtual Network.")
			}
			if driverNamed(d.config, "VN_MAD_CONF", driver) == nil {
				return nil, failure(codeInternal, fmt.Sprintf("VN_MAD named %q is not defined in oned.conf", driver))
			}
			made, ranges := header(caller, "VNET", template.take("NAME")), elem("AR_POOL")
			for i, given := range template.all("AR") {
				given.set("AR_ID", i)
				given.normalize()
				ranges.children = append(ranges.children, given)
			}
			template.drop("AR")
			template.set("SECURITY_GROUPS", cmp.Or(template.get("SECURITY_GROUPS"), "0"))
			made.children = append(made.children, elem("CLUSTERS", leaf("ID", defaultCluster)), quoted("BRIDGE", template.get("BRIDGE")),
				quoted("BRIDGE_TYPE", "linux"), quoted("STATE", networkReady), quoted("PREV_STATE", networkReady), leaf("PARENT_NETWORK_ID", ""),
				quoted("VN_MAD", driver), quoted("PHYDEV", template.get("PHYDEV")), leaf("VLAN_ID", ""), leaf("OUTER_VLAN_ID", ""),
				leaf("VLAN_ID_AUTOMATIC", 0), leaf("OUTER_VLAN_ID_AUTOMATIC", 0), leaf("USED_LEASES", 0), elem("VROUTERS"), elem("UPDATED_VMS"),
				elem("OUTDATED_VMS"), elem("UPDATING_VMS"), elem("ERROR_VMS"), template, ranges)
			return made, nil
		},
		joined: func(d *daemon, made *node) ([]string, error) { return d.inCluster("VNETS", made.number("ID"), true) },
		remove: func(d *daemon, object *node) ([]string, error) {
			if used := object.number("USED_LEASES"); used > 0 {
				return nil, fmt.Errorf("Can not remove a virtual network with leases in use")
			}
			statements, err := d.inCluster("VNETS", object.number("ID"), false)
			return append(statements, dropped("network_pool", object)), err
		},
	}
}

// lease takes the first free address of a network for a machine. An address range keeps a list of its leases: an index and who has it.
func lease(network *node, vm int) (ip, mac, in string, err error) {
	for _, r := range network.all("AR_POOL")[0].all("AR") {
		taken := strings.Fields(r.get("ALLOCATED"))
		first, err := netip.ParseAddr(r.get("IP"))
		if err != nil {
			continue
		}
		for i, address := 0, first; i < r.number("SIZE"); i, address = i+1, address.Next() {
			if index := strconv.Itoa(i); !isLeased(taken, index) {
				r.set("ALLOCATED", strings.Join(append(taken, index, strconv.Itoa(vmOwner|vm)), " "))
				network.set("USED_LEASES", network.number("USED_LEASES")+1)
				b := address.As4()
				return address.String(), fmt.Sprintf("02:00:%02x:%02x:%02x:%02x", b[0], b[1], b[2], b[3]), r.get("AR_ID"), nil
			}
		}
	}
	return "", "", "", fmt.Errorf("Cannot get IP/MAC lease from virtual network %s.", network.get("ID"))
}

func isLeased(pairs []string, index string) bool {
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i] == index {
			return true
		}
	}
	return false
}

// release gives back the addresses of a machine.
func release(network *node, vm int) {
	owner := strconv.Itoa(vmOwner | vm)
	for _, r := range network.all("AR_POOL")[0].all("AR") {
		pairs := strings.Fields(r.get("ALLOCATED"))
		var kept []string
		for i := 0; i+1 < len(pairs); i += 2 {
			if pairs[i+1] != owner {
				kept = append(kept, pairs[i], pairs[i+1])
			}
		}
		network.set("USED_LEASES", network.number("USED_LEASES")-(len(pairs)-len(kept))/2)
		if len(pairs) > 0 {
			r.set("ALLOCATED", strings.Join(kept, " "))
		}
	}
}

func templates() *kind {
	return &kind{
		call: "template", tag: "VMTEMPLATE", table: "template_pool", label: "virtual machine template", right: "TEMPLATE", users: true,
		build: func(d *daemon, caller *user, _ []value, template *node) (*node, *rpcError) {
			return header(caller, "VMTEMPLATE", template.take("NAME"), leaf("REGTIME", d.host.Now().Unix()), template), nil
		},
	}
}

func documents() *kind {
	return &kind{
		call: "document", tag: "DOCUMENT", table: "document_pool", label: "document", right: "DOCUMENT", users: true,
		columns: map[string]string{"type": "TYPE"},
		build: func(_ *daemon, caller *user, params []value, template *node) (*node, *rpcError) {
			kind, err := paramInt(params, 1, -1)
			if err != nil || len(params) < 2 {
				return nil, failure(codeAPI, "Not enough parameters: a template and a type are needed.")
			}
			made := header(caller, "DOCUMENT", template.take("NAME"))
			permissions := made.children[len(made.children)-1]
			made.children = append(made.children[:len(made.children)-1], leaf("TYPE", kind), permissions, template)
			return made, nil
		},
	}
}
