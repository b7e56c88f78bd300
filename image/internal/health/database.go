package health

import (
	"context"
	"net"
	"time"

	"opennebula-kube/image/internal/host"
	"opennebula-kube/image/internal/onedconf"
)

// databaseLimit is how long a database server may take to greet.
const databaseLimit = time.Second

// databaseIsSilent tells whether oned's database is on a server that does not answer: one that does greets whoever connects.
func databaseIsSilent(ctx context.Context, h *host.Host) bool {
	content, err := h.ReadFile(onedConf)
	if err != nil {
		return false
	}
	f, err := onedconf.Parse(onedConf, string(content))
	if err != nil {
		return false
	}
	member := func(name string) string {
		// A list that is not there once is none of start-up's making.
		value, _, _ := f.Get(onedconf.Key{Name: "DB", Member: name})
		return value
	}
	if member("BACKEND") != "mysql" {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, databaseLimit)
	defer cancel()
	connection, err := new(net.Dialer).DialContext(ctx, "tcp", net.JoinHostPort(member("SERVER"), member("PORT")))
	if err != nil {
		return true
	}
	defer func() { _ = connection.Close() }()
	if deadline, ok := ctx.Deadline(); ok {
		_ = connection.SetReadDeadline(deadline)
	}
	n, _ := connection.Read(make([]byte, 1))
	return n == 0
}
