// Package objectlogs removes logs that nobody needs any more: OpenNebula gives each virtual machine and each service of OneFlow a log of its own,
// and leaves it when the machine or the service is gone.
package objectlogs

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strconv"
	"time"

	"opennebula-kube/image/internal/host"
	"opennebula-kube/image/internal/oned"
	"opennebula-kube/image/internal/xmlrpc"
)

// What objects that are gone may leave: the logs of the last ones of a kind, for some time.
const (
	keepFor    = 30 * 24 * time.Hour
	keepAtMost = 1000
)

const (
	// Dir has the logs of virtual machines, servicesDir those of services.
	Dir         = "/var/log/one"
	servicesDir = Dir + "/oneflow"
	// stamp is a file that is written when all was looked at; interval is how long that is enough.
	stamp    = Dir + "/.objects"
	interval = time.Hour
)

// name is that of a log, with the number of its object, or of what a rotation has made of it.
var name = regexp.MustCompile(`^([0-9]{1,9})\.log(\.[0-9]+(\.gz)?)?$`)

// log is what there is of the log of an object.
type log struct {
	id    int
	files []string
	last  time.Time
}

// Prune removes logs of virtual machines and services that are gone, when they are old or many. It asks oned which are left, as the user of the
// client; when oned does not answer, nothing is removed. It does nothing when it has been done a short time ago.
func Prune(ctx context.Context, h *host.Host, client oned.Client) error {
	if info, err := os.Lstat(h.Path(stamp)); err == nil && h.Now().Sub(info.ModTime()).Abs() < interval {
		return nil
	}
	for _, kind := range []struct {
		dir, method string
		// params follow the range of the numbers: states but that of a machine which is gone, and the type of the documents that are services.
		param int
	}{{Dir, "one.vmpool.info", -1}, {servicesDir, "one.documentpool.info", 100}} {
		left := func(from, to int) ([]int, error) {
			const all = -2
			answer, err := client.Call(ctx, kind.method, xmlrpc.Number(all), xmlrpc.Number(from), xmlrpc.Number(to), xmlrpc.Number(kind.param))
			if err != nil {
				return nil, err
			}
			return ids(answer)
		}
		if err := prune(h.Path(kind.dir), h.Now(), left); err != nil {
			return fmt.Errorf("remove old logs from %s: %w", kind.dir, err)
		}
	}
	if err := os.WriteFile(h.Path(stamp), nil, 0o600); err != nil {
		return err
	}
	return os.Chtimes(h.Path(stamp), time.Time{}, h.Now())
}

// ids are the numbers of the objects in a pool.
func ids(document string) ([]int, error) {
	var pool struct {
		XMLName   xml.Name
		Machines  []struct{ ID int } `xml:"VM"`
		Documents []struct{ ID int } `xml:"DOCUMENT"`
	}
	if err := xml.Unmarshal([]byte(document), &pool); err != nil {
		return nil, fmt.Errorf("read what oned says about its objects: %w", err)
	}
	if tag := pool.XMLName.Local; tag != "VM_POOL" && tag != "DOCUMENT_POOL" {
		return nil, fmt.Errorf("read what oned says about its objects: it answers with a %s, not with a pool", tag)
	}
	var all []int
	for _, object := range slices.Concat(pool.Machines, pool.Documents) {
		all = append(all, object.ID)
	}
	return all, nil
}

// prune asks left only for what it would remove.
func prune(dir string, now time.Time, left func(from, to int) ([]int, error)) error {
	root, err := os.OpenRoot(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	logs, err := find(root)
	if err != nil {
		return err
	}
	old := func(l log) bool { return now.Sub(l.last) > keepFor }
	if len(logs) <= keepAtMost && !slices.ContainsFunc(logs, old) {
		return nil
	}
	if logs, err = gone(logs, left); err != nil {
		return err
	}
	// The latest first.
	slices.SortFunc(logs, func(a, b log) int { return b.last.Compare(a.last) })
	for i, l := range logs {
		if i < keepAtMost && !old(l) {
			continue
		}
		for _, file := range l.files {
			if err := root.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}

// find returns the logs in a directory, by the numbers of their objects.
func find(root *os.Root) ([]log, error) {
	dir, err := root.Open(".")
	if err != nil {
		return nil, err
	}
	defer func() { _ = dir.Close() }()
	entries, err := dir.ReadDir(-1)
	if err != nil {
		return nil, err
	}
	logs := make(map[int]log)
	for _, entry := range entries {
		match := name.FindStringSubmatch(entry.Name())
		if match == nil || !entry.Type().IsRegular() {
			continue
		}
		info, err := entry.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		id, err := strconv.Atoi(match[1])
		if err != nil {
			return nil, err
		}
		l := logs[id]
		l.id, l.files = id, append(l.files, entry.Name())
		if info.ModTime().After(l.last) {
			l.last = info.ModTime()
		}
		logs[id] = l
	}
	var all []log
	for _, l := range logs {
		all = append(all, l)
	}
	slices.SortFunc(all, func(a, b log) int { return a.id - b.id })
	return all, nil
}

// gone leaves those of objects that are gone. It asks for some hundred numbers at a time, for answers have a limit, and for ranges of numbers, for
// pages of a list move when an object comes or goes.
func gone(logs []log, left func(from, to int) ([]int, error)) ([]log, error) {
	const step = 200
	there := make(map[int]bool)
	asked := -1
	for _, l := range logs {
		if l.id <= asked {
			continue
		}
		asked = l.id + step - 1
		ids, err := left(l.id, asked)
		if err != nil {
			return nil, err
		}
		for _, id := range ids {
			there[id] = true
		}
	}
	return slices.DeleteFunc(logs, func(l log) bool { return there[l.id] }), nil
}
