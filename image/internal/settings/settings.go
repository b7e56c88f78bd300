// Package settings reads how the container is to be set up from environment variables and the files that they name. Everything is
// checked before anything is started, and all that is wrong is told at once.
package settings

import "time"

// Settings are all settings of the container.
type Settings struct {
	// Services are those that are to run; none are all.
	Services []string
	Database Database
	// HA are the other front-ends, if there are several.
	HA HA
	// OneadminPassword is the password of OpenNebula's first user; "" keeps the one that there is, or makes one.
	OneadminPassword string
	// Hostname is what hypervisors know this machine by; "" is its fully qualified name.
	Hostname string
	// MonitorAddress is where hypervisors send their monitoring data to; "auto" is where they see connections come from.
	MonitorAddress string
	// OneGateEndpoint is the URL that guests call OneGate by; "" leaves it unset.
	OneGateEndpoint string
	// TProxy are the services that guests reach by way of their hypervisor. nil leaves alone what there is.
	TProxy []TProxy
	// Where the servers listen.
	FireEdge, OneFlow, OneGate Listen
	// LogLevel is 0 for errors only to 5 for everything, as in oned.conf.
	LogLevel int
	SSH      SSH
	Backup   Backup
	// RestoreFrom is a backup, or a place with backups of which the newest is taken, that an empty installation begins with.
	RestoreFrom string
	S3          S3
	// Overrides are values for any configuration file, applied last.
	Overrides []Override
}

// Database is where OpenNebula keeps its state.
type Database struct {
	// Backend is SQLite or MySQL; the fields down to Connections are for MySQL only. Of several front-ends Host is that of this one.
	Backend                    string
	Host, User, Password, Name string
	Port, Connections          int
	// Wait is how long to wait for the server at start-up.
	Wait time.Duration
	// Backups is how many of the backups that upgrades make are kept.
	Backups int
}

// The backends of a database.
const (
	SQLite = "sqlite"
	MySQL  = "mysql"
)

// Backup is what the backup command makes.
type Backup struct {
	// To is a directory, or s3://<bucket>/<prefix>.
	To string
	// Keep is how many backups are kept there.
	Keep int
}

// S3 is how a place that begins with s3:// is reached.
type S3 struct {
	// Endpoint is the URL of the server.
	Endpoint, Region, AccessKey, SecretKey string
	// CA are certificates, in PEM, of authorities that are trusted beside the system's.
	CA string
}

// TProxy is a port at which guests reach a service of the front-end.
type TProxy struct {
	ServicePort int    `yaml:":service_port"`
	RemoteAddr  string `yaml:":remote_addr"`
	RemotePort  int    `yaml:":remote_port"`
}

// Listen is an address and a port to listen at. An empty address, or port 0, is the default.
type Listen struct {
	Address string
	Port    int
}

// SSH is what oneadmin logs in to hypervisors with; "" keeps what there is, or makes a key.
type SSH struct{ PrivateKey, KnownHosts string }

// Override is a value for a key in a configuration file.
type Override struct {
	// File is an absolute path.
	File, Key, Value string
}
