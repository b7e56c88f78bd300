package startup

import (
	"strings"

	"github.com/Masterminds/semver/v3"
)

const networkConfText = `---
:keep_empty_bridge: false

# Services that guests reach by way of their hypervisor
# :tproxy:
# - :service_port: 5030
`

// configFiles have the forms that the files of a version have.
func configFiles(version string) map[string]string {
	grpc := ""
	if !semver.MustParse(version).LessThan(semver.MustParse("7.2.0")) {
		grpc = "GRPC_LISTEN_ADDRESS = \"0.0.0.0\"\n"
	}
	gate := ":host: 127.0.0.1\n:port: 5030\n"
	if !semver.MustParse(version).LessThan(semver.MustParse("7.3.80")) {
		gate = ":server:\n  :bind: 127.0.0.1 # loopback\n  :port: 5030\n"
	}
	return map[string]string{
		"oned.conf": `LOG = [
  SYSTEM      = "file",
  DEBUG_LEVEL = 3
]
DB = [ BACKEND = "sqlite",
       TIMEOUT = 2500 ]
# HOSTNAME = "name"
LISTEN_ADDRESS = "0.0.0.0"
` + grpc + `FEDERATION = [
    MODE      = "STANDALONE",
    SERVER_ID = -1
]
VM_MAD = [
    NAME      = "kvm",
    ARGUMENTS = "-t 15" ]
VM_MAD = [
    NAME      = "lxc",
    ARGUMENTS = "-t 15" ]
SCHED_MAD = [
      EXECUTABLE = "one_sched",
      ARGUMENTS  = "-t 15 -p rank -o one_drs"
]
#ONEGATE_ENDPOINT = "http://frontend:5030"
`,
		"monitord.conf": `LOG = [
  system      = "FILE",
  debug_level = 3
]
NETWORK = [
    ADDRESS         = "::",
    MONITOR_ADDRESS = "auto",
    PORT    = 4124
]
`,
		"oneflow-server.conf": "# OneFlow\n:host: 127.0.0.1\n:port: 2474\n\n:log:\n  :level: 2 # info\n  :system: 'file'\n",
		"onegate-server.conf": "# OneGate\n" + gate + "\n:log:\n  :level: 2\n:oneflow_server: http://localhost:2474\n",
		"fireedge-server.conf": strings.Join([]string{
			"# FireEdge", "host: '0.0.0.0'", "port: 2616", "oneflow_server: 'http://localhost:2474'", "debug_level: 2", "",
		}, "\n"),
		"guacd": `OPTS="-b 127.0.0.1 -l 4822"` + "\n",
	}
}
