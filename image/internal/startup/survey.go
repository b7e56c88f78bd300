package startup

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/Masterminds/semver/v3"

	"opennebula-kube/image/internal/database"
	"opennebula-kube/image/internal/frontends"
	"opennebula-kube/image/internal/host"
	"opennebula-kube/image/internal/oned"
	"opennebula-kube/image/internal/settings"
)

const (
	// askLimit is how long another front-end may take to answer.
	askLimit = 3 * time.Second
	// databaseLimit is how long its database may take.
	databaseLimit = 10 * time.Second
	// generationName is where in OpenNebula's table of attributes, which goes along with every copy, the mark of a change is.
	generationName = "ONE_CONTAINER_GENERATION"
	// passwords is how many of the users log in with passwords of the settings.
	passwords = 2
)

// databases are those of all front-ends; the own one is that of the settings.
func databases(h *host.Host, s settings.Settings) []database.Interface {
	var all []database.Interface
	for _, server := range s.HA.Databases {
		of := s.Database
		of.Host = server
		all = append(all, database.New(h, of))
	}
	return all
}

// survey asks all front-ends at the same time.
func (s *Start) survey(ctx context.Context) []frontends.FrontEnd {
	all := make([]frontends.FrontEnd, len(s.settings.HA.Servers))
	done := make(chan struct{})
	for i := range all {
		go func() {
			defer func() { done <- struct{}{} }()
			all[i] = s.look(ctx, i)
		}()
	}
	for range all {
		<-done
	}
	return all
}

// look asks for the state of one front-end.
func (s *Start) look(ctx context.Context, i int) frontends.FrontEnd {
	f := frontends.FrontEnd{Name: s.settings.HA.Servers[i]}
	if i != s.settings.HA.Self {
		// Its oned first: a database that is seen after that was not changed by it in between, if it does not run.
		s.lookAtOned(ctx, &f, i)
	}
	if err := s.lookAtDatabase(ctx, s.databases[i], &f); err != nil {
		f.Contents = frontends.Unknown
		f.Reason = err.Error()
	}
	return f
}

// lookAtOned does not ask for the version: oned tells that while there is a leader only.
func (s *Start) lookAtOned(ctx context.Context, f *frontends.FrontEnd, i int) {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	status, err := s.oned(oned.Endpoint(s.settings.HA.Servers[i])).Status(ctx)
	f.Term = status.Term
	_, refuses := errors.AsType[*oned.RefusedError](err)
	_, unclear := errors.AsType[*oned.UnclearError](err)
	switch {
	case unclear:
		f.Oned, f.Reason = frontends.Refusing, err.Error()
	case refuses:
		f.Oned, f.Reason = frontends.Refusing, err.Error()+"; either its password of oneadmin is another, or it does not reach its database"
	case err != nil:
		f.Oned, f.Reason = frontends.Silent, err.Error()
	case status.State == oned.Solo:
		f.Oned = frontends.Alone
	case status.State == oned.Leader:
		f.Oned = frontends.Leading
	default:
		f.Oned = frontends.Member
	}
}

// oned makes calls as oneadmin.
func (s *Start) oned(url string) oned.Client {
	return oned.Client{HTTP: &http.Client{Transport: s.transport}, URL: url, Session: adminName + ":" + s.settings.OneadminPassword}
}

func (s *Start) lookAtDatabase(ctx context.Context, db database.Interface, f *frontends.FrontEnd) error {
	ctx, cancel := context.WithTimeout(ctx, databaseLimit)
	defer cancel()
	tables, err := db.Tables(ctx)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(tables, database.Own) {
		f.Contents = frontends.Empty
		return nil
	}
	// Tables go and come back one after the other while a backup is restored, and while migrators run.
	for _, table := range []string{"db_versioning", "user_pool"} {
		if !slices.Contains(tables, table) {
			return fmt.Errorf("%s has no table %s: it is being made, restored or upgraded, or that was cut off", db, table)
		}
	}
	f.Contents = frontends.Filled
	if f.Version, err = s.databaseVersion(ctx, db, tables); err != nil {
		return err
	}
	if f.Version == nil {
		return fmt.Errorf("%s has no version in db_versioning: it is being made, restored or upgraded, or that was cut off", db)
	}
	for id, password := range []string{adminID: s.settings.OneadminPassword, serverID: s.settings.HA.Secrets.ServerAdmin} {
		user, err := s.user(ctx, db, id)
		if err != nil {
			return err
		}
		// A password that setPassword would leave alone counts as well.
		if user == nil || user.Driver != authDriver(id) || user.Password == hash(password) {
			f.Passwords++
		}
	}
	if slices.Contains(tables, "system_attributes") {
		generation, err := db.Query(ctx, "SELECT body FROM system_attributes WHERE name = "+db.Literal(generationName))
		if err != nil {
			return err
		}
		f.Generation = strings.TrimSpace(generation)
	}
	f.Position, err = s.position(ctx, db, tables)
	return err
}

// databaseVersion is the newest that a database was upgraded to: it has a row for each. It is nil for a database without one.
func (s *Start) databaseVersion(ctx context.Context, db database.Interface, tables []string) (*semver.Version, error) {
	var newest *semver.Version
	for _, table := range []string{"db_versioning", "local_db_versioning"} {
		if !slices.Contains(tables, table) {
			continue
		}
		versions, err := db.Query(ctx, "SELECT version FROM "+table)
		if err != nil {
			return nil, err
		}
		for _, text := range strings.Fields(versions) {
			version, err := semver.NewVersion(text)
			if err != nil {
				return nil, fmt.Errorf("%s in %s has version %q: %w", table, db, text, err)
			}
			if newest == nil || version.GreaterThan(newest) {
				newest = version
			}
		}
	}
	return newest, nil
}

func (s *Start) position(ctx context.Context, db database.Interface, tables []string) (frontends.Position, error) {
	var p frontends.Position
	if !slices.Contains(tables, "logdb") {
		return p, nil
	}
	out, err := db.Query(ctx, "SELECT term, log_index, (SELECT MAX(log_index) FROM logdb WHERE applied = '1') FROM logdb ORDER BY log_index DESC LIMIT 1")
	if err != nil || strings.TrimSpace(out) == "" {
		return p, err
	}
	numbers := []*int{&p.Term, &p.Index, &p.Applied}
	fields := strings.Fields(out)
	if len(fields) != len(numbers) {
		return p, fmt.Errorf("the last record of the log in %s is %q, three numbers were expected", db, out)
	}
	for i, field := range fields {
		if *numbers[i], err = strconv.Atoi(field); err != nil && field != "NULL" {
			return p, fmt.Errorf("the last record of the log in %s is %q: %w", db, out, err)
		}
	}
	return p, nil
}
