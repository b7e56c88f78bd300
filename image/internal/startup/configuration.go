package startup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"path/filepath"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"opennebula-kube/image/internal/host"
	"opennebula-kube/image/internal/onedconf"
	"opennebula-kube/image/internal/settings"
	"opennebula-kube/image/internal/yamlconf"
)

// installedConfig is the configuration of the image's OpenNebula.
const installedConfig = sharedDir + "/etc"

// Configuration files.
const (
	onedConf     = configDir + "/oned.conf"
	monitordConf = configDir + "/monitord.conf"
	fireedgeConf = configDir + "/fireedge-server.conf"
	oneflowConf  = configDir + "/oneflow-server.conf"
	onegateConf  = configDir + "/onegate-server.conf"
	networkConf  = driverDir + "/" + networkName
	networkName  = "etc/vnm/OpenNebulaNetwork.conf" // in the manifest
)

// configuration brings the settings into the files in /etc/one.
func (s *Start) configuration(context.Context) error {
	if err := s.fillConfigDir(); err != nil {
		return err
	}
	// The password of the database goes into it.
	if err := s.host.Attributes(onedConf, 0o640, host.Owner{GID: host.Oneadmin().GID}); err != nil {
		return err
	}
	for path, edit := range map[string]func(*onedconf.File) error{onedConf: s.editOned, monitordConf: s.editMonitord} {
		if err := s.editOnedSyntax(path, edit); err != nil {
			return err
		}
	}
	for path, edit := range map[string]func(*yamlFile){
		fireedgeConf: s.editFireEdge, oneflowConf: s.editOneFlow, onegateConf: s.editOneGate,
	} {
		if err := s.editYAML(path, edit); err != nil {
			return err
		}
	}
	for _, o := range s.settings.Overrides {
		if strings.HasPrefix(o.File, driverDir) {
			continue
		}
		if err := s.host.Edit(o.File, func(content []byte) ([]byte, error) { return s.override(o, content) }); err != nil {
			return explainOverride(o, err)
		}
	}
	return nil
}

// fillConfigDir puts what /etc/one lacks there: on a read-only root file system it is a mount, empty at first.
func (s *Start) fillConfigDir() error {
	empty := true
	if has, err := s.exists(configDir); err != nil {
		return err
	} else if has {
		err := s.walk(configDir, func(name string, entry fs.DirEntry) error {
			if entry.IsDir() || !host.IsLeftover(name) {
				empty = false
				return nil
			}
			_, err := s.host.Remove(filepath.Join(configDir, name))
			return err
		})
		if err != nil {
			return err
		}
	}
	if empty {
		if err := s.copyConfiguration("."); err != nil {
			return err
		}
	}
	return s.walk(installedConfig, func(name string, _ fs.DirEntry) error {
		if has, err := s.exists(filepath.Join(configDir, name)); err != nil || has {
			return err
		}
		return s.copyConfiguration(name)
	})
}

// copyConfiguration copies a file, a link, or a directory without what is in it, with its owner.
func (s *Start) copyConfiguration(name string) error {
	source := filepath.Join(installedConfig, name)
	owner, err := s.host.OwnerOf(s.host.Path(source))
	if err != nil {
		return err
	}
	return s.host.Copy(source, filepath.Join(configDir, name), owner)
}

func (s *Start) editOned(f *onedconf.File) error {
	db := s.settings.Database
	members := []onedconf.Pair{{Name: "BACKEND", Value: "sqlite"}, {Name: "TIMEOUT", Value: "2500"}}
	if db.Backend == settings.MySQL {
		members = []onedconf.Pair{
			{Name: "BACKEND", Value: "mysql"}, {Name: "SERVER", Value: db.Host}, {Name: "PORT", Value: strconv.Itoa(db.Port)},
			{Name: "USER", Value: db.User}, {Name: "PASSWD", Value: db.Password}, {Name: "DB_NAME", Value: db.Name},
			{Name: "CONNECTIONS", Value: strconv.Itoa(db.Connections)}, {Name: "COMPARE_BINARY", Value: "no"},
		}
	}
	name, err := s.hostname()
	if err != nil {
		return err
	}
	errs := []error{
		f.SetList("DB", members),
		f.Set(onedconf.Key{Name: "HOSTNAME"}, name),
		f.Set(onedconf.Key{Name: "LOG", Member: "DEBUG_LEVEL"}, strconv.Itoa(s.settings.LogLevel)),
	}
	if s.ipv6Only() {
		errs = append(errs, listenEverywhere(f))
	}
	if endpoint := s.settings.OneGateEndpoint; endpoint != "" {
		errs = append(errs, f.Set(onedconf.Key{Name: "ONEGATE_ENDPOINT"}, endpoint))
	}
	if s.settings.HA.Enabled() {
		// Until it has found its place in the zone.
		errs = append(errs, f.Set(serverIDKey(), "-1"))
	}
	return errors.Join(errs...)
}

// listenEverywhere has oned listen on IPv6; the second address is there from 7.2 on.
func listenEverywhere(f *onedconf.File) error {
	for _, setting := range []struct{ name, value string }{
		{"LISTEN_ADDRESS", "::"},
		// oned only puts a colon and the port behind this one.
		{"GRPC_LISTEN_ADDRESS", "[::]"},
	} {
		key := onedconf.Key{Name: setting.name}
		if _, ok, err := f.Get(key); err != nil || !ok {
			return err
		}
		if err := f.Set(key, setting.value); err != nil {
			return err
		}
	}
	return nil
}

func (s *Start) editMonitord(f *onedconf.File) error {
	errs := []error{
		f.Set(onedconf.Key{Name: "NETWORK", Member: "MONITOR_ADDRESS"}, s.settings.MonitorAddress),
		f.Set(onedconf.Key{Name: "LOG", Member: "DEBUG_LEVEL"}, strconv.Itoa(s.settings.LogLevel)),
	}
	if !s.hasIPv6() {
		// onemonitord cannot bind to :: then.
		errs = append(errs, f.Set(onedconf.Key{Name: "NETWORK", Member: "ADDRESS"}, "0.0.0.0"))
	}
	return errors.Join(errs...)
}

// Ports that the servers have by default.
const (
	fireedgePort = 2616
	oneflowPort  = 2474
	onegatePort  = 5030
)

func (s *Start) editFireEdge(f *yamlFile) {
	listen := s.listen(s.settings.FireEdge, fireedgePort)
	f.set(listen.Address, "host")
	f.set(listen.Port, "port")
	f.set(s.oneflowURL(), "oneflow_server")
	// FireEdge logs the beginning of every answer from level info on, and hashes of passwords are in some. It does not know the name that its
	// logging library has for warnings, and logs nothing with them. The number for debug is that library's.
	level := 0
	if s.settings.LogLevel > 2 {
		level = 5
	}
	f.set(level, "debug_level")
}

func (s *Start) editOneFlow(f *yamlFile) {
	listen := s.listen(s.settings.OneFlow, oneflowPort)
	f.set(listen.Address, ":host")
	f.set(listen.Port, ":port")
	f.set(min(s.settings.LogLevel, 3), ":log", ":level")
}

func (s *Start) editOneGate(f *yamlFile) {
	listen := s.listen(s.settings.OneGate, onegatePort)
	switch {
	case f.has(":server"): // from 7.3.80 on
		f.set(listen.Address, ":server", ":bind")
		f.set(listen.Port, ":server", ":port")
	case f.has(":host"):
		f.set(listen.Address, ":host")
		f.set(listen.Port, ":port")
	default:
		f.fail(fmt.Errorf("%s: neither :server nor :host is in it: restore the file that OpenNebula %s has", f.path, s.version))
	}
	f.set(s.oneflowURL(), ":oneflow_server")
	f.set(min(s.settings.LogLevel, 3), ":log", ":level")
}

// oneflowURL is how the other servers of the container reach OneFlow.
func (s *Start) oneflowURL() string {
	listen := s.listen(s.settings.OneFlow, oneflowPort)
	if address := net.ParseIP(listen.Address); address.IsUnspecified() || address.IsLoopback() {
		listen.Address = "localhost"
	}
	return "http://" + net.JoinHostPort(listen.Address, strconv.Itoa(listen.Port))
}

// listen fills in what was not set: OneFlow and OneGate as installed listen on loopback only, where nobody outside reaches them.
func (s *Start) listen(l settings.Listen, port int) settings.Listen {
	if l.Port == 0 {
		l.Port = port
	}
	if l.Address == "" {
		l.Address = "0.0.0.0"
		if s.ipv6Only() {
			l.Address = "::"
		}
	}
	return l
}

// override returns the content of a file with the setting of a single key.
func (s *Start) override(o settings.Override, content []byte) ([]byte, error) {
	// The syntax shows in the content: no YAML file consists of NAME = value.
	if f, err := onedconf.Parse(o.File, string(content)); err == nil && !f.Empty() {
		key, err := onedconf.ParseKey(o.Key)
		if err != nil {
			return nil, err
		}
		if _, has, err := f.Get(onedconf.Key{Name: key.Name, Where: key.Where}); err == nil && !has && key.Where != (onedconf.Pair{}) {
			// The selector may be misspelt.
			s.host.Log("OPENNEBULA_CONFIG: %s has no %s with %s = %s: adding one", o.File, key.Name, key.Where.Name, key.Where.Value)
		}
		return inOnedSyntax(o.File, content, func(f *onedconf.File) error { return f.Set(key, strings.Trim(o.Value, `"`)) })
	}
	var value any
	if err := yaml.Unmarshal([]byte(o.Value), &value); err != nil {
		return nil, fmt.Errorf("the value %q is not YAML: %w", o.Value, err)
	}
	return inYAML(o.File, content, func(f *yamlFile) { f.set(value, strings.Split(o.Key, "/")...) })
}

func explainOverride(o settings.Override, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		err = errors.New("there is no such file")
	}
	return fmt.Errorf("OPENNEBULA_CONFIG: %s %s: %w", o.File, o.Key, err)
}

func (s *Start) editOnedSyntax(path string, edit func(*onedconf.File) error) error {
	return s.host.Edit(path, func(content []byte) ([]byte, error) { return inOnedSyntax(path, content, edit) })
}

func (s *Start) editYAML(path string, edit func(*yamlFile)) error {
	return s.host.Edit(path, func(content []byte) ([]byte, error) { return inYAML(path, content, edit) })
}

func inOnedSyntax(path string, content []byte, edit func(*onedconf.File) error) ([]byte, error) {
	f, err := onedconf.Parse(path, string(content))
	if err != nil {
		return nil, err
	}
	if err := edit(f); err != nil {
		return nil, err
	}
	return []byte(f.String()), nil
}

func inYAML(path string, content []byte, edit func(*yamlFile)) ([]byte, error) {
	f := &yamlFile{path: path, content: content}
	edit(f)
	return f.content, f.err
}

// yamlFile is a file while it is edited. After the first error it stays as it is.
type yamlFile struct {
	path    string
	content []byte
	err     error
}

func (f *yamlFile) fail(err error) {
	if f.err == nil {
		f.err = err
	}
}

func (f *yamlFile) set(value any, path ...string) {
	if f.err != nil {
		return
	}
	edited, err := yamlconf.Set(f.path, f.content, path, value)
	if err != nil {
		f.fail(err)
		return
	}
	f.content = edited
}

func (f *yamlFile) has(path ...string) bool {
	var value any
	ok, err := yamlconf.Get(f.path, f.content, path, &value)
	if err != nil {
		f.fail(err)
	}
	return ok
}
