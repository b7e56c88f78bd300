package standin

import (
	"fmt"
	"strings"

	"github.com/Masterminds/semver/v3"
)

// object are the columns that all pools begin with, rights those of who may do what.
const (
	object = "oid INTEGER PRIMARY KEY, name VARCHAR(128), body MEDIUMTEXT"
	rights = "owner_u INTEGER, group_u INTEGER, other_u INTEGER"
	owned  = object + ", uid INTEGER, gid INTEGER, " + rights
)

// table is a table of OpenNebula's database.
type table struct{ name, columns string }

// noQuota is what oned writes where there are no quotas.
const noQuota = "<DATASTORE_QUOTA></DATASTORE_QUOTA><NETWORK_QUOTA></NETWORK_QUOTA><VM_QUOTA></VM_QUOTA><IMAGE_QUOTA></IMAGE_QUOTA>"

// logTable makes the table that comes first. A start that was cut off after its indexes fails at these the next time, as with oned.
func logTable() []string {
	return append(create([]table{{"logdb", "log_index BIGINT UNSIGNED PRIMARY KEY, term INTEGER, sqlcmd MEDIUMTEXT, timestamp INTEGER, " +
		"fed_index BIGINT UNSIGNED, applied BOOLEAN"}}),
		"CREATE INDEX fed_index_idx ON logdb (fed_index)", "CREATE INDEX applied_idx ON logdb (applied)")
}

// localTables are those that each zone of a federation has for itself.
func localTables(release *semver.Version) []table {
	tables := []table{
		{"vm_pool", object + ", uid INTEGER, gid INTEGER, state INTEGER, lcm_state INTEGER, resched INTEGER, " + rights +
			", short_body MEDIUMTEXT, body_json JSON"},
		{"vm_monitoring", "vmid INTEGER, last_poll INTEGER, body MEDIUMTEXT, PRIMARY KEY(vmid, last_poll)"},
		{"history", "vid INTEGER, seq INTEGER, body MEDIUMTEXT, stime INTEGER, etime INTEGER, PRIMARY KEY(vid, seq)"},
		{"vm_showback", "vmid INTEGER, year INTEGER, month INTEGER, body MEDIUMTEXT, PRIMARY KEY(vmid, year, month)"},
		{"host_pool", object + ", state INTEGER, uid INTEGER, gid INTEGER, " + rights + ", cid INTEGER"},
		{"host_monitoring", "hid INTEGER, last_mon_time INTEGER, body MEDIUMTEXT, PRIMARY KEY(hid, last_mon_time)"},
		{"network_pool", owned + ", pid INTEGER, UNIQUE(name, uid)"},
		{"network_vlan_bitmap", "id INTEGER, map LONGTEXT, PRIMARY KEY(id)"},
		{"image_pool", owned + ", UNIQUE(name, uid)"},
		{"template_pool", owned},
		{"datastore_pool", owned},
		{"cluster_pool", owned + ", UNIQUE(name)"},
		{"cluster_datastore_relation", "cid INTEGER, oid INTEGER, PRIMARY KEY(cid, oid)"},
		{"cluster_network_relation", "cid INTEGER, oid INTEGER, PRIMARY KEY(cid, oid)"},
		{"cluster_vnc_bitmap", "id INTEGER, map LONGTEXT, PRIMARY KEY(id)"},
		{"document_pool", object + ", type INTEGER, uid INTEGER, gid INTEGER, " + rights},
		{"user_quotas", "user_oid INTEGER PRIMARY KEY, body MEDIUMTEXT"},
		{"group_quotas", "group_oid INTEGER PRIMARY KEY, body MEDIUMTEXT"},
		{"secgroup_pool", owned + ", UNIQUE(name, uid)"},
		{"vrouter_pool", owned},
		{"vmgroup_pool", owned + ", UNIQUE(name, uid)"},
		{"vn_template_pool", owned},
		{"hook_pool", owned + ", type INTEGER"},
		{"hook_log", "hkid INTEGER, exeid INTEGER, timestamp INTEGER, rc INTEGER, body MEDIUMTEXT, PRIMARY KEY(hkid, exeid)"},
		{"backupjob_pool", owned + ", priority INTEGER, outdated_vms INTEGER"},
		{"schedaction_pool", "oid INTEGER PRIMARY KEY, parent_id INTEGER, type VARCHAR(128), body MEDIUMTEXT, time INTEGER, done INTEGER"},
		{"plan_pool", "cid INTEGER PRIMARY KEY, state INTEGER, body MEDIUMTEXT"},
	}
	if !release.LessThan(semver.New(7, 4, 0, "", "")) {
		tables = append(tables, groupVLANs())
	}
	return tables
}

// vmIndex is the index of the table of virtual machines.
const vmIndex = "CREATE INDEX state_oid_idx ON vm_pool (state, oid)"

// groupVLANs came with the schema 7.4.0.
func groupVLANs() table {
	return table{"group_vlans", "group_oid INTEGER PRIMARY KEY, body MEDIUMTEXT"}
}

// versions are the columns of the tables that say which schema the others have.
const versions = "oid INTEGER PRIMARY KEY, version VARCHAR(256), timestamp INTEGER, comment VARCHAR(256)"

// systemTables make the last tables of a zone. oned does not ask whether the first two are there.
func systemTables() []string {
	return append([]string{
		"CREATE TABLE pool_control (tablename VARCHAR(32) PRIMARY KEY, last_oid BIGINT UNSIGNED)",
		"CREATE TABLE local_db_versioning (" + versions + ", is_slave BOOLEAN)",
	}, create([]table{{"system_attributes", "name VARCHAR(128) PRIMARY KEY, body MEDIUMTEXT"}})...)
}

// sharedTables make those that are the same in all zones of a federation. oned does not ask whether the last one is there.
func sharedTables() []string {
	return append(create([]table{
		{"group_pool", owned + ", UNIQUE(name)"},
		userTable(),
		{"acl", "oid INT PRIMARY KEY, userset BIGINT, resource BIGINT, rights BIGINT, zone BIGINT, UNIQUE(userset, resource, rights, zone)"},
		{"zone_pool", owned + ", UNIQUE(name)"},
		{"vdc_pool", owned + ", UNIQUE(name)"},
		{"marketplace_pool", owned},
		{"marketplaceapp_pool", owned + ", UNIQUE(name, uid)"},
	}), "CREATE TABLE db_versioning ("+versions+")")
}

func userTable() table { return table{"user_pool", owned + ", UNIQUE(name)"} }

// create are the statements that make tables which are not there.
func create(tables []table) []string {
	statements := make([]string, len(tables))
	for i, t := range tables {
		statements[i] = fmt.Sprintf("CREATE TABLE IF NOT EXISTS %s (%s)", t.name, t.columns)
	}
	return statements
}

// script joins statements to one transaction.
func script(statements ...string) string {
	return "BEGIN;\n" + strings.Join(statements, ";\n") + ";\nCOMMIT;"
}
