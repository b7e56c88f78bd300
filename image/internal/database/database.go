// Package database reaches OpenNebula's database with the clients that OpenNebula's own tools use, while oned does not run.
package database

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"opennebula-kube/image/internal/host"
	"opennebula-kube/image/internal/settings"
)

// Interface is a database of either backend.
type Interface interface {
	// Query runs statements and returns what they select: a line for each row, with tabs between columns.
	Query(ctx context.Context, statements string) (string, error)
	// Literal is how statements have a text, whatever is in it.
	Literal(text string) string
	// Tables are the names of all tables.
	Tables(ctx context.Context) ([]string, error)
	// Backup writes a file that Restore can put back. The file belongs to oneadmin.
	Backup(ctx context.Context, path string) error
	// Restore makes the database what it was when the backup was made. It may be called again after it was cut off.
	Restore(ctx context.Context, path string) error
	// Clear removes all that OpenNebula has in it.
	Clear(ctx context.Context) error
	// String names the database in messages.
	String() string
}

// New returns the database that the settings are for.
func New(h *host.Host, s settings.Database) Interface {
	if s.Backend == settings.MySQL {
		return &mysql{host: h, settings: s}
	}
	return &sqlite{host: h}
}

// interval is the time between two tries to reach the database.
const interval = 2 * time.Second

// Wait returns when the database answers. It gives up after a time, with the last reason.
func Wait(ctx context.Context, h *host.Host, db Interface, limit time.Duration) error {
	var reason string
	for deadline := h.Now().Add(limit); ; {
		_, err := db.Query(ctx, "SELECT 1")
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if h.Now().After(deadline) {
			return fmt.Errorf("%s does not answer after %s: %w; check that it runs, and the settings OPENNEBULA_DB_*", db, limit, err)
		}
		if said := err.Error(); said != reason {
			reason = said
			h.Log("waiting for %s, %s at most: %s", db, limit, reason)
		}
		if err := h.Sleep(ctx, interval); err != nil {
			return err
		}
	}
}

// ownTables are OpenNebula's: a database may have others in it.
func ownTables() []string {
	return []string{
		"acl", "backupjob_pool", "cluster_datastore_relation", "cluster_network_relation", "cluster_pool", "cluster_vnc_bitmap", "datastore_pool",
		"db_versioning", "document_pool", "fed_logdb", "group_pool", "group_quotas", "group_vlans", "history", "hook_log", "hook_pool",
		"host_monitoring", "host_pool", "image_pool", "local_db_versioning", "logdb", "marketplace_pool", "marketplaceapp_pool",
		"network_pool", "network_vlan_bitmap", "plan_pool", "pool_control", "schedaction_pool", "secgroup_pool", "system_attributes",
		"template_pool", "user_pool", "user_quotas", "vdc_pool", "vm_import", "vm_monitoring", "vm_pool", "vm_showback", "vmgroup_pool",
		"vn_template_pool", "vrouter_pool", "zone_pool",
	}
}

// Own tells whether a table is one of OpenNebula's. Migrators keep old_<table> for as long as they run.
func Own(table string) bool { return slices.Contains(ownTables(), strings.TrimPrefix(table, "old_")) }

func lines(text string) []string {
	return slices.Collect(strings.FieldsFuncSeq(text, func(c rune) bool { return c == '\n' }))
}
