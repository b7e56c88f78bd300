package startup

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"opennebula-kube/image/internal/database"
	"opennebula-kube/image/internal/onedconf"
)

// firstBoot empties a database in which oned has begun its first boot without coming to its end. oned itself does not recover from that:
// it makes some tables without asking whether they exist, and does not make serveradmin once there is an oneadmin.
func (s *Start) firstBoot(ctx context.Context) error {
	tables, err := s.database.Tables(ctx)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(tables, database.Own) {
		return nil
	}
	complete, err := s.firstBootComplete(ctx, tables)
	if err != nil || complete {
		return err
	}
	// What a person has made must not go, however odd the database is otherwise.
	for _, table := range []string{"host_pool", "vm_pool", "image_pool", "network_pool", "document_pool"} {
		if !slices.Contains(tables, table) {
			continue
		}
		rows, err := s.count(ctx, "SELECT COUNT(*) FROM "+table)
		if err != nil {
			return err
		}
		if rows > 0 {
			return fmt.Errorf("%s has no users and yet %d rows in %s: it is damaged; restore a backup, or give an empty database",
				s.database, rows, table)
		}
	}
	s.host.Log("an earlier first boot was cut off: emptying %s, to begin again", s.database)
	return s.database.Clear(ctx)
}

// firstBootComplete tells whether oned has made both of its users, which is the last thing that it does not do again. Another user has
// been made by somebody, so it was complete then.
func (s *Start) firstBootComplete(ctx context.Context, tables []string) (bool, error) {
	if slave, err := s.isSlave(); err != nil || slave {
		// A slave's users come from the master of its federation.
		return true, err
	}
	if !slices.Contains(tables, "user_pool") || !slices.Contains(tables, "db_versioning") {
		return false, nil
	}
	others, err := s.count(ctx, "SELECT COUNT(*) FROM user_pool WHERE oid > 0")
	return others > 0, err
}

func (s *Start) isSlave() (bool, error) {
	mode, err := s.federation("MODE")
	return strings.EqualFold(mode, "SLAVE"), err
}

func (s *Start) federation(member string) (string, error) {
	content, err := s.host.ReadFile(onedConf)
	if err != nil {
		return "", err
	}
	f, err := onedconf.Parse(onedConf, string(content))
	if err != nil {
		return "", err
	}
	value, _, err := f.Get(onedconf.Key{Name: "FEDERATION", Member: member})
	return value, err
}

func (s *Start) count(ctx context.Context, query string) (int, error) {
	out, err := s.database.Query(ctx, query)
	if err != nil {
		return 0, err
	}
	n, err := strconv.Atoi(strings.TrimSpace(out))
	if err != nil {
		return 0, errors.New("the database answers " + strconv.Quote(out) + " to " + query)
	}
	return n, nil
}
