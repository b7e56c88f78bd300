package startup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/Masterminds/semver/v3"

	"opennebula-kube/image/internal/frontends"
	"opennebula-kube/image/internal/host"
	"opennebula-kube/image/internal/linelog"
	"opennebula-kube/image/internal/oned"
	"opennebula-kube/image/internal/onedconf"
	"opennebula-kube/image/internal/xmlrpc"
)

// formLimit is how long oned may take to answer when it is started alone, to make the zone.
const formLimit = 3 * time.Minute

// zone sees to it that the zone in the database has all front-ends, and tells oned which of them it is.
func (s *Start) zone(ctx context.Context) error {
	if !s.settings.HA.Enabled() {
		return frontends.Write(s.host, frontends.Zone{})
	}
	if s.sole {
		// oned counts as one alone as yet, so passwords are changed in the database.
		if err := s.accounts(ctx); err != nil {
			return err
		}
	}
	servers, err := s.zoneServers(ctx)
	if err != nil {
		return err
	}
	own := s.wantedEndpoints()[s.settings.HA.Self]
	if !same(endpoints(servers), s.wantedEndpoints()) {
		if err := s.nobodyElse(ctx, servers); err != nil && slices.Contains(endpoints(servers), own) {
			// It is needed for a majority, whatever the others are called.
			s.host.Log("%v", err)
		} else if err != nil {
			return err
		} else if err := s.formZone(ctx, servers); err != nil {
			return err
		}
		if servers, err = s.zoneServers(ctx); err != nil {
			return err
		}
	}
	i := slices.IndexFunc(servers, func(server oned.Server) bool { return server.Endpoint == own })
	if i < 0 {
		return fmt.Errorf("zone 0 in %s has no server %s: it has %v", s.database, own, endpoints(servers))
	}
	err = s.editOnedSyntax(onedConf, func(f *onedconf.File) error { return f.Set(serverIDKey(), strconv.Itoa(servers[i].ID)) })
	if err != nil {
		return err
	}
	if s.grpcEndpoints() != nil && slices.ContainsFunc(servers, func(server oned.Server) bool { return server.GRPC == "" }) {
		s.host.Log("some servers of zone 0 have no ENDPOINT_GRPC, so other front-ends than the leader refuse calls with gRPC: the next upgrade of " +
			"OpenNebula adds it, and so does a start of all front-ends, when all are stopped, with another password of oneadmin")
	}
	return frontends.Write(s.host, frontends.Zone{Endpoints: s.wantedEndpoints(), Self: s.settings.HA.Self, PodLabel: s.settings.HA.PodLabel})
}

func serverIDKey() onedconf.Key { return onedconf.Key{Name: "FEDERATION", Member: "SERVER_ID"} }

func (s *Start) wantedEndpoints() []string {
	var all []string
	for _, server := range s.settings.HA.Servers {
		all = append(all, oned.Endpoint(server))
	}
	return all
}

// grpcEndpoints are where the front-ends answer gRPC, by where they answer XML-RPC; nil for an OpenNebula that does not.
func (s *Start) grpcEndpoints() map[string]string {
	if s.version.LessThan(semver.New(7, 2, 0, "", "")) {
		return nil
	}
	all := make(map[string]string)
	for _, server := range s.settings.HA.Servers {
		all[oned.Endpoint(server)] = oned.GRPCEndpoint(server)
	}
	return all
}

// addGRPC returns a statement that gives the servers of a zone that an older OpenNebula has made their end points for gRPC, "" when there is
// nothing to do. There is no call for it, but to remove a server and add it as another.
func (s *Start) addGRPC(ctx context.Context) (string, error) {
	document, err := s.zoneDocument(ctx)
	if err != nil || document == "" {
		return "", err
	}
	changed, err := oned.AddGRPC(document, s.grpcEndpoints())
	if err != nil {
		return "", s.damagedZone(err)
	}
	if changed == document {
		return "", nil
	}
	return fmt.Sprintf("UPDATE zone_pool SET body = REPLACE(body, %s, %s) WHERE oid = 0", s.database.Literal(document), s.database.Literal(changed)), nil
}

func endpoints(servers []oned.Server) []string {
	var all []string
	for _, server := range servers {
		all = append(all, server.Endpoint)
	}
	return all
}

// same tells whether two lists have the same in them, in whatever order.
func same(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

// zoneServers are those that the database knows; none before there is a zone.
func (s *Start) zoneServers(ctx context.Context) ([]oned.Server, error) {
	document, err := s.zoneDocument(ctx)
	if err != nil || document == "" {
		return nil, err
	}
	servers, err := oned.ZoneServers(document)
	if err != nil {
		return nil, s.damagedZone(err)
	}
	return servers, nil
}

// zoneDocument describes the zone in the database, "" when there is none.
func (s *Start) zoneDocument(ctx context.Context) (string, error) {
	tables, err := s.database.Tables(ctx)
	if err != nil || !slices.Contains(tables, "zone_pool") {
		return "", err
	}
	row, err := s.database.Query(ctx, "SELECT body FROM zone_pool WHERE oid = 0")
	return strings.TrimSuffix(row, "\n"), err
}

func (s *Start) damagedZone(err error) error {
	return fmt.Errorf("zone 0 in %s: %w; the database is damaged: restore a backup", s.database, err)
}

// formZone makes the front-ends the servers of the zone. What oned writes while it runs alone gets into no log, so it may be done only while
// no other front-end has a database. The last server comes last: a zone that has them all is complete.
func (s *Start) formZone(ctx context.Context, has []oned.Server) error {
	// On an empty database this removes what oned would not start with; on a filled one it sets the passwords, which oned knows at once.
	if err := s.accounts(ctx); err != nil {
		return err
	}
	s.host.Log("starting oned alone, to make a zone of the front-ends")
	command := host.Command{
		Args: []string{"/usr/lib/one-container/oned"}, As: host.Oneadmin(), Env: []string{"USER=" + adminName, "LOGNAME=" + adminName},
	}
	if err := s.host.Serve(ctx, command, func(ctx context.Context) error { return s.makeServers(ctx, has) }); err != nil {
		return fmt.Errorf("make a zone of the front-ends: %w", s.withLogged(err))
	}
	// oned was told to end, and has removed its lock, unless it had to be killed.
	return s.directories(ctx)
}

// onedLog is where oned writes its errors. It prints few of them.
const onedLog = "/var/log/one/oned.log"

// withLogged adds the last error in oned's log to what has become of oned. oned begins the log anew when it starts.
func (s *Start) withLogged(failed error) error {
	const end = 64 << 10
	// It is oneadmin's: a link or a pipe is not followed.
	log, err := os.OpenFile(s.host.Path(onedLog), os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return failed
	}
	defer func() { _ = log.Close() }()
	info, err := log.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return failed
	}
	content, err := io.ReadAll(io.NewSectionReader(log, max(0, info.Size()-end), end))
	if last := linelog.LastError(content); err == nil && last != "" {
		return fmt.Errorf("%w; the last error in oned's log is: %s", failed, last)
	}
	return failed
}

// nobodyElse wants all other databases to be empty.
func (s *Start) nobodyElse(ctx context.Context, has []oned.Server) error {
	for i, f := range s.survey(ctx) {
		if i == s.settings.HA.Self || f.Contents == frontends.Empty {
			continue
		}
		if f.Contents == frontends.Unknown {
			return fmt.Errorf("zone 0 has the servers %q, and the front-ends are %q: to change that all other databases must be empty, and that of %s does "+
				"not answer: %s", endpoints(has), s.wantedEndpoints(), f.Name, f.Reason)
		}
		return fmt.Errorf("zone 0 has the servers %q, and the front-ends are %q: with a database in %s too that cannot be changed from here; let the "+
			"front-ends be those of the zone, and change them with onezone server-add and server-del on the leader first", endpoints(has),
			s.wantedEndpoints(), f.Name)
	}
	return nil
}

// makeServers calls the oned that runs alone.
func (s *Start) makeServers(ctx context.Context, has []oned.Server) error {
	client := s.oned(oned.Endpoint("localhost"))
	if err := s.awaitAnswer(ctx, client); err != nil {
		return err
	}
	const zone = 0
	if _, err := client.Call(ctx, "one.user.passwd", xmlrpc.Number(serverID), xmlrpc.Text(hash(s.settings.HA.Secrets.ServerAdmin))); err != nil {
		return err
	}
	for _, server := range has {
		if _, err := client.Call(ctx, "one.zone.delserver", xmlrpc.Number(zone), xmlrpc.Number(server.ID)); err != nil {
			return err
		}
	}
	for i, url := range s.wantedEndpoints() {
		template := oned.ServerTemplate(s.settings.HA.Servers[i], url, s.grpcEndpoints()[url])
		if _, err := client.Call(ctx, "one.zone.addserver", xmlrpc.Number(zone), xmlrpc.Text(template)); err != nil {
			return err
		}
	}
	return nil
}

func (s *Start) awaitAnswer(ctx context.Context, client oned.Client) error {
	for deadline := s.host.Now().Add(formLimit); ; {
		_, err := client.Call(ctx, "one.user.info", xmlrpc.Number(adminID))
		if _, refused := errors.AsType[*oned.RefusedError](err); err == nil || refused || ctx.Err() != nil {
			return err
		}
		if s.host.Now().After(deadline) {
			return fmt.Errorf("oned does not answer after %s: %w", formLimit, err)
		}
		if err := s.host.Sleep(ctx, 500*time.Millisecond); err != nil {
			return err
		}
	}
}
