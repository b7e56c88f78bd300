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
	"opennebula-kube/image/internal/onedconf"
	"opennebula-kube/image/internal/settings"
)

const (
	// copyFile is there while the database is replaced by a copy of another front-end's: half of it counts for nothing.
	copyFile = ownDir + "/copying"
	// copiedDatabase is where the copy is in between.
	copiedDatabase = ownDir + "/copy" + backupSuffix
	// askLimit is how long another front-end may take to answer.
	askLimit = 3 * time.Second
	// databaseLimit is how long its database may take.
	databaseLimit = 10 * time.Second
	// joinInterval is how often the others are asked.
	joinInterval = 2 * time.Second
	// settleTime is longer than a container takes from its start to an oned that answers.
	settleTime = 30 * time.Second
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

// join gives a front-end that is one of several its database: one that is outdated is replaced by that of another front-end, unless it falls to
// this one to begin or to upgrade.
func (s *Start) join(ctx context.Context) error {
	if !s.settings.HA.Enabled() {
		return nil
	}
	for {
		status, _, err := s.onedb(ctx, "version", "-v")
		if err != nil || status == schemaNewer {
			// The next step says so.
			return err
		}
		decision, err := s.decide(ctx, status != 0)
		if err != nil {
			return err
		}
		switch decision.Action {
		case frontends.Copy:
			// What is copied may be of an older version, and be in use by that.
			if err := s.copyDatabase(ctx, decision); err != nil {
				return err
			}
			continue
		case frontends.Upgrade:
			s.sole = true
			return s.leaveLog(ctx)
		case frontends.Begin:
			s.sole = true
		}
		return nil
	}
}

// leaveLog prepares a change that is not in the zone's log: records that are in no tables were never acknowledged, and would be put into them
// after the change, and the database gets a mark by which others know that they cannot go on with theirs.
func (s *Start) leaveLog(ctx context.Context) error {
	tables, err := s.database.Tables(ctx)
	if err != nil {
		return err
	}
	var statements []string
	if slices.Contains(tables, "logdb") {
		statements = append(statements, "DELETE FROM logdb WHERE applied = '0'")
	}
	if slices.Contains(tables, "system_attributes") {
		generation := fmt.Sprintf("%s of %s", stamp(s.host.Now()), s.settings.HA.Servers[s.settings.HA.Self])
		statements = append(statements, fmt.Sprintf("REPLACE INTO system_attributes (name, body) VALUES ('%s', '%s')", generationName, generation))
	}
	if len(statements) == 0 {
		return nil
	}
	_, err = s.database.Query(ctx, strings.Join(statements, ";\n"))
	return err
}

// passwordOf is the hash of a user's password, "" for none that setPassword would change.
func (s *Start) passwordOf(ctx context.Context, db database.Interface, id int) (string, error) {
	body, err := db.Query(ctx, fmt.Sprintf("SELECT body FROM user_pool WHERE oid = %d", id))
	driver := driverElement.FindStringSubmatch(body)
	if found := passwordElement.FindStringSubmatch(body); found != nil && driver != nil && driver[1] == driverOf(id) {
		return found[1], err
	}
	return "", err
}

// begins tells whether it falls to this front-end, the database of which is empty, to begin. One alone always does.
func (s *Start) begins(ctx context.Context) (bool, error) {
	if !s.settings.HA.Enabled() {
		return true, nil
	}
	decision, err := s.decide(ctx, true)
	return decision.Action == frontends.Begin, err
}

// decide returns what this front-end is to do, when there is something to do. Whether its database is of another version than the software is
// given; with other passwords it is outdated too: the front-ends log in to each other with oneadmin's, so that cannot be another on some of
// them only.
func (s *Start) decide(ctx context.Context, otherVersion bool) (frontends.Decision, error) {
	var told string
	var since time.Time
	for deadline := s.host.Now().Add(s.settings.Database.Wait); ; {
		all := s.survey(ctx)
		if ctx.Err() != nil {
			return frontends.Decision{}, context.Cause(ctx)
		}
		decision := frontends.Decide(all, s.settings.HA.Self, otherVersion || all[s.settings.HA.Self].Passwords < passwords)
		reason := decision.Reason
		switch decision.Action {
		case frontends.Upgrade:
			// An oned that starts does not answer yet.
			if since.IsZero() {
				since = s.host.Now()
			}
			if s.host.Now().Sub(since) >= settleTime {
				return decision, nil
			}
			reason = "they may just start; " + reason
		case frontends.Wait:
			since = time.Time{}
		default:
			return decision, nil
		}
		if since.IsZero() && s.host.Now().After(deadline) {
			return decision, fmt.Errorf("waited %s for the other front-ends: %s", s.settings.Database.Wait, reason)
		}
		if reason != told {
			told = reason
			s.host.Log("waiting for the other front-ends, %s at most: %s", s.settings.Database.Wait, told)
		}
		if err := s.host.Sleep(ctx, joinInterval); err != nil {
			return decision, err
		}
	}
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
	switch {
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
	for id, password := range []string{adminID: s.settings.OneadminPassword, serverID: s.settings.HA.Secrets.ServerAdmin} {
		has, err := s.passwordOf(ctx, db, id)
		if err != nil {
			return err
		}
		if has == "" || has == hash(password) {
			f.Passwords++
		}
	}
	if slices.Contains(tables, "system_attributes") {
		generation, err := db.Query(ctx, "SELECT body FROM system_attributes WHERE name = '"+generationName+"'")
		if err != nil {
			return err
		}
		f.Generation = strings.TrimSpace(generation)
	}
	f.Position, err = s.position(ctx, db, tables)
	return err
}

// databaseVersion is the newest that a database was upgraded to: it has a row for each.
func (s *Start) databaseVersion(ctx context.Context, db database.Interface, tables []string) (*semver.Version, error) {
	newest := semver.New(0, 0, 0, "", "")
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
			if version.GreaterThan(newest) {
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

// copyDatabase replaces the own database by a copy of another. What was in it is backed up first.
func (s *Start) copyDatabase(ctx context.Context, decision frontends.Decision) error {
	source := s.databases[decision.Source]
	s.host.Log("copying the database of %s: %s", s.settings.HA.Servers[decision.Source], decision.Reason)
	if _, err := s.host.Remove(copiedDatabase); err != nil {
		return err
	}
	if err := source.Backup(ctx, copiedDatabase); err != nil {
		return fmt.Errorf("copy %s: %w", source, err)
	}
	// After what fails again and again while the other does not answer: each time would leave a backup.
	tables, err := s.database.Tables(ctx)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(tables, database.Own) {
		former, err := s.backup(ctx)
		if err != nil {
			return fmt.Errorf("back up %s before another takes its place: %w", s.database, err)
		}
		s.host.Log("the backup of the database as it was is %s", former)
	}
	if err := s.host.WriteFile(copyFile, []byte(source.String()+"\n"), 0o600, host.Oneadmin()); err != nil {
		return err
	}
	if err := s.database.Restore(ctx, copiedDatabase); err != nil {
		return fmt.Errorf("put the copy of %s into %s: %w", source, s.database, err)
	}
	for _, file := range []string{copiedDatabase, copyFile} {
		if _, err := s.host.Remove(file); err != nil {
			return err
		}
	}
	return nil
}

// undoCopy empties a database into which a copy was not put whole.
func (s *Start) undoCopy(ctx context.Context) error {
	if has, err := s.exists(copyFile); err != nil || !has {
		return err
	}
	s.host.Log("copying the database of another front-end was cut off: emptying %s, to begin again", s.database)
	if err := s.database.Clear(ctx); err != nil {
		return err
	}
	_, err := s.host.Remove(copyFile)
	return err
}

func serverIDKey() onedconf.Key { return onedconf.Key{Name: "FEDERATION", Member: "SERVER_ID"} }

// sharedKeys writes the keys that a front-end alone makes for itself.
func (s *Start) sharedKeys(context.Context) error {
	if !s.settings.HA.Enabled() {
		return nil
	}
	const oneKey, fireedgeKey = authDir + "/one_key", authDir + "/fireedge_key"
	secrets := s.settings.HA.Secrets
	has, err := s.host.ReadFile(oneKey)
	if err != nil {
		return err
	}
	if key := strings.TrimSpace(string(has)); key != "" && key != secrets.OneKey {
		return fmt.Errorf("%s has another key than OPENNEBULA_HA_ONE_KEY, and what is encrypted in the database can be read with that only: "+
			"give all front-ends the key in this file", oneKey)
	}
	return errors.Join(
		s.host.WriteFile(oneKey, []byte(secrets.OneKey+"\n"), 0o600, host.Oneadmin()),
		s.host.WriteFile(fireedgeKey, []byte(secrets.FireEdgeKey), 0o600, host.Oneadmin()),
	)
}
