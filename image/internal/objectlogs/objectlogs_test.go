package objectlogs_test

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"opennebula-kube/image/internal/host"
	"opennebula-kube/image/internal/objectlogs"
	"opennebula-kube/image/internal/oned"
)

var now = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

const (
	day  = 24 * time.Hour
	week = 7 * day
)

// server is an oned with objects.
type server struct {
	machines, services []int
	// answer replaces what it answers.
	answer string
	calls  int
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.calls++
	body, _ := io.ReadAll(r.Body)
	var call struct {
		Method string `xml:"methodName"`
		Params []struct {
			Int string `xml:"value>i4"`
		} `xml:"params>param"`
	}
	if err := xml.Unmarshal(body, &call); err != nil || len(call.Params) != 5 {
		http.Error(w, string(body), http.StatusBadRequest)
		return
	}
	number := func(i int) int { n, _ := strconv.Atoi(call.Params[i].Int); return n }
	objects, tag := s.machines, "VM"
	if call.Method == "one.documentpool.info" {
		objects, tag = s.services, "DOCUMENT"
	}
	if number(1) != -2 || number(4) != map[string]int{"one.vmpool.info": -1, "one.documentpool.info": 100}[call.Method] {
		http.Error(w, string(body), http.StatusBadRequest)
		return
	}
	var pool strings.Builder
	for _, id := range objects {
		if number(2) <= id && id <= number(3) {
			_, _ = fmt.Fprintf(&pool, "<%s><ID>%d</ID></%[1]s>", tag, id)
		}
	}
	answer := s.answer
	if answer == "" {
		answer = fmt.Sprintf("<%s_POOL>%s</%[1]s_POOL>", tag, pool.String())
	}
	var escaped strings.Builder
	_ = xml.EscapeText(&escaped, []byte(answer))
	_, _ = fmt.Fprintf(w, "<methodResponse><params><param><value><array><data><value><boolean>1</boolean></value><value><string>%s</string></value>"+
		"</data></array></value></param></params></methodResponse>", escaped.String())
}

// container has logs, by how old they are.
func container(t *testing.T, logs map[string]time.Duration) *host.Host {
	t.Helper()
	h := &host.Host{Root: t.TempDir(), Now: func() time.Time { return now }}
	if err := os.MkdirAll(h.Path(objectlogs.Dir), 0o755); err != nil {
		t.Fatal(err)
	}
	for file, age := range logs {
		path := h.Path(filepath.Join(objectlogs.Dir, file))
		err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte("x"), 0o600), os.Chtimes(path, now.Add(-age), now.Add(-age)))
		if err != nil {
			t.Fatal(err)
		}
	}
	return h
}

func left(t *testing.T, h *host.Host) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(h.Path(objectlogs.Dir), func(path string, entry os.DirEntry, err error) error {
		if err == nil && !entry.IsDir() && entry.Name() != ".objects" {
			all = append(all, strings.TrimPrefix(path, h.Path(objectlogs.Dir)+"/"))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(all)
	return all
}

func prune(t *testing.T, h *host.Host, s *server) error {
	t.Helper()
	oneServer := httptest.NewServer(s)
	defer oneServer.Close()
	return objectlogs.Prune(t.Context(), h, oned.Client{HTTP: oneServer.Client(), URL: oneServer.URL, Session: "oneadmin:x"})
}

func TestPrune(t *testing.T) {
	h := container(t, map[string]time.Duration{
		"1.log": 5 * week, "1.log.1": 9 * week, "2.log": 5 * week, "2.log.1.gz": 6 * week, "3.log": 2 * week, "4.log": 5 * week, "4.log.1": week,
		"300.log": 5 * week, "999.log": 5 * week, "oned.log": 5 * week, "5.log.txt": 5 * week, "5x.log": 5 * week, "6.log/7.log": 5 * week,
		"oneflow/1.log": 5 * week, "oneflow/8.log": 5 * week, "oneflow/9.log": week,
	})
	if err := os.Symlink("oned.log", h.Path(objectlogs.Dir+"/10.log")); err != nil {
		t.Fatal(err)
	}
	s := &server{machines: []int{1, 300}, services: []int{8}}
	if err := prune(t, h, s); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"1.log", "1.log.1", "10.log", "3.log", "300.log", "4.log", "4.log.1", "5.log.txt", "5x.log", "6.log/7.log", "oned.log", "oneflow/8.log", "oneflow/9.log",
	}
	slices.Sort(want)
	if diff := cmp.Diff(want, left(t, h)); diff != "" {
		t.Errorf("logs (-want +got):\n%s", diff)
	}

	// Not again before an hour has passed.
	calls := s.calls
	for _, c := range []struct {
		later time.Duration
		asks  bool
	}{{59 * time.Minute, false}, {61 * time.Minute, true}} {
		h.Now = func() time.Time { return now.Add(c.later) }
		if err := prune(t, h, s); err != nil || s.calls > calls != c.asks {
			t.Errorf("after %s: %v, %d calls, want more than %d: %t", c.later, err, s.calls, calls, c.asks)
		}
	}
}

// TestPruneMany has more machines that are gone than logs are kept of; those that are there do not count.
func TestPruneMany(t *testing.T) {
	logs := make(map[string]time.Duration)
	s := new(server)
	for id := range 1300 {
		logs[strconv.Itoa(id)+".log"] = day + time.Duration(id)*time.Second
		if id%10 == 0 {
			s.machines = append(s.machines, id)
		}
	}
	h := container(t, logs)
	if err := prune(t, h, s); err != nil {
		t.Fatal(err)
	}
	got := left(t, h)
	for id := range 1300 {
		// 1000 that are gone, and the tenth of machines that are not.
		want := id%10 == 0 || id <= 1111
		if has := slices.Contains(got, strconv.Itoa(id)+".log"); has != want {
			t.Fatalf("log %d of 1300 is there: %t, want %t", id, has, want)
		}
	}
}

func TestPruneAsksForNothingInVain(t *testing.T) {
	h := container(t, map[string]time.Duration{"1.log": week, "oneflow/2.log": week})
	s := new(server)
	if err := prune(t, h, s); err != nil || s.calls != 0 {
		t.Errorf("%v, %d calls, want none", err, s.calls)
	}
}

// TestPruneWithoutAnAnswer keeps all logs when oned does not say what is left.
func TestPruneWithoutAnAnswer(t *testing.T) {
	for name, answer := range map[string]string{"cut off": "<VM_POOL><VM><ID>1</ID>", "another document": "<USER/>", "no number": "<VM_POOL><VM><ID>x</ID></VM></VM_POOL>"} {
		t.Run(name, func(t *testing.T) {
			h := container(t, map[string]time.Duration{"1.log": 5 * week})
			for range 2 {
				if err := prune(t, h, &server{answer: answer}); err == nil || !strings.Contains(err.Error(), "remove old logs from /var/log/one: read what oned says") {
					t.Errorf("error %v", err)
				}
			}
			if got := left(t, h); len(got) != 1 {
				t.Errorf("logs %q", got)
			}
		})
	}
}
