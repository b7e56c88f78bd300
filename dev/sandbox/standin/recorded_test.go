package standin_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The tests in this file hold the stand-in against recordings of the real programs: see testdata/README.md.

// recorded reads one of the recordings.
func recorded(t *testing.T, version, name string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("testdata", version, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// general replaces what is another one in each installation.
func general(text string) string {
	text = regexp.MustCompile(`\b[0-9a-f]{64}\b`).ReplaceAllString(text, "HASH")
	text = regexp.MustCompile(`(?m)^\w{3} \w{3} [ \d]\d [\d:]{8} \d{4}`).ReplaceAllString(text, "TIME")
	text = regexp.MustCompile(`Timestamp: .*`).ReplaceAllString(text, "Timestamp: TIME")
	return regexp.MustCompile(`Req:\d+`).ReplaceAllString(text, "Req:N")
}

func TestRecordedAnswers(t *testing.T) {
	m := newMachine(t, "7.0.1")
	m.start()
	sessions := map[string]string{"oneadmin": "oneadmin:first secret", "wrong": "oneadmin:other", "nobody": "nobody:x"}
	for _, recording := range strings.Split(recorded(t, "7.0.1", "answers.txt"), "==== ")[1:] {
		name, rest, _ := strings.Cut(recording, "\n")
		t.Run(name, func(t *testing.T) {
			parts := strings.SplitN(rest, "\n", 3)
			method, call := parts[0], strings.Fields(parts[1])
			head, body, _ := strings.Cut(parts[2], "\n\n")
			request := ""
			if len(call) > 0 {
				request = "<methodCall><methodName>" + call[1] + "</methodName><params><param><value><string>" + sessions[call[0]] + "</string></value></param>"
				for _, number := range call[2:] {
					request += "<param><value><i4>" + number + "</i4></value></param>"
				}
				request += "</params></methodCall>"
			}
			post, err := http.NewRequestWithContext(t.Context(), method, m.env["ONE_XMLRPC"], strings.NewReader(request))
			if err != nil {
				t.Fatal(err)
			}
			post.Close = true
			response, err := http.DefaultClient.Do(post)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = response.Body.Close() }()
			got, err := io.ReadAll(response.Body)
			if err != nil {
				t.Fatal(err)
			}
			want := strings.TrimSuffix(body, "\n")
			if len(call) > 0 {
				want = strings.ReplaceAll(want+"\n", "\n", "\r\n")
			}
			if diff := cmp.Diff(want, general(string(got))); diff != "" {
				t.Errorf("body (-recorded +stand-in):\n%s", diff)
			}
			if response.ContentLength != int64(len(got)) {
				t.Errorf("Content-Length %d of %d bytes", response.ContentLength, len(got))
			}
			if _, err := http.ParseTime(strings.Replace(response.Header.Get("Date"), "UTC", "GMT", 1)); err != nil || !strings.HasSuffix(response.Header.Get("Date"), " UTC") {
				t.Errorf("Date: %s, %v", response.Header.Get("Date"), err)
			}
			for line := range strings.Lines(head) {
				key, want, _ := strings.Cut(strings.TrimSpace(line), ": ")
				got := response.Header.Get(key)
				if key == "Connection" && response.Close {
					got = "close"
				}
				if got != want {
					t.Errorf("%s: %q, want %q", key, got, want)
				}
			}
		})
	}
}

// TestRecordedCommands runs the commands in the order of the recording.
func TestRecordedCommands(t *testing.T) {
	m := newMachine(t, "7.0.1")
	m.start()
	m.wantSuccess("onedb", "version")
	for _, recording := range strings.Split(recorded(t, "7.0.1", "commands.txt"), "$ ")[1:] {
		line, want, _ := strings.Cut(recording, "\n")
		command := strings.Fields(line)
		var got string
		if command[0] == "tail" {
			// The calls that the recording's errors are of, of which oneuser show 99 was made above.
			for _, call := range [][2]string{{"nobody:x", "one.system.version"}, {"oneadmin:first secret", "one.user.info"}, {"oneadmin:other", "one.user.info"}} {
				if _, err := xmlrpc(t.Context(), m.env["ONE_XMLRPC"], call[1], call[0], 99); err != nil {
					t.Fatal(err)
				}
			}
			lines := strings.SplitAfter(m.read("/var/log/one/oned.log"), "\n")
			lines = slices.DeleteFunc(lines, func(line string) bool { return !strings.Contains(line, "[E]") })
			got = strings.Join(lines[len(lines)-3:], "") + "[exit 0]\n"
		} else {
			status := m.run(command[0], command[1:]...)
			got = m.stdout.String() + m.stderr.String() + fmt.Sprintf("[exit %d]\n", status)
		}
		if diff := cmp.Diff(want, general(got)); diff != "" {
			t.Errorf("%s (-recorded +stand-in):\n%s", line, diff)
		}
	}
}

func TestRecordedFiles(t *testing.T) {
	m := newMachine(t, "7.0.1")
	if err := os.Chmod(m.path("/var/lib/one/.one"), 0o700); err != nil {
		t.Fatal(err)
	}
	m.start()
	var got strings.Builder
	for line := range strings.Lines(recorded(t, "7.0.1", "files.txt")) {
		name := strings.Fields(line)[1]
		info, err := os.Stat(m.path(name))
		if err != nil {
			t.Error(err)
			continue
		}
		fmt.Fprintf(&got, "%s %s\n", info.Mode(), name)
	}
	if diff := cmp.Diff(recorded(t, "7.0.1", "files.txt"), got.String()); diff != "" {
		t.Errorf("after a first boot (-recorded +stand-in):\n%s", diff)
	}
	entries, err := os.ReadDir(m.path("/var/lib/one/.one"))
	if err != nil || len(entries) != strings.Count(got.String(), "/.one/") {
		t.Errorf("%v, %v", entries, err)
	}
}

// TestRecordedDatabase makes the database of 7.0.1, with one user more, upgrades it to 7.4.0, and holds both against the recordings.
func TestRecordedDatabase(t *testing.T) {
	m := newMachine(t, "7.0.1")
	stop := m.start()
	m.wantSuccess("oneuser", "create", "bob", "secret")
	stop()
	compare := func(version string) {
		t.Helper()
		if diff := cmp.Diff(recorded(t, version, "tables.txt"), m.tables()); diff != "" {
			t.Errorf("%s: tables (-recorded +stand-in):\n%s", version, diff)
		}
		var want, tables []string
		for line := range strings.Lines(recorded(t, version, "rows.txt")) {
			want = append(want, line)
			if table, _, _ := strings.Cut(line, " "); !slices.Contains(tables, table) {
				tables = append(tables, table)
			}
		}
		if diff := cmp.Diff(decode(t, want), decode(t, m.rows(tables))); diff != "" {
			t.Errorf("%s: rows (-recorded +stand-in):\n%s", version, diff)
		}
	}
	compare("7.0.1")
	m.write("/usr/share/one/VERSION", "7.4.0\n")
	for _, step := range []string{"shared/7.0.0_to_7.2.0", "shared/7.2.0_to_7.4.0", "local/7.0.0_to_7.2.0", "local/7.2.0_to_7.4.0"} {
		m.write("/usr/lib/one/ruby/onedb/"+step+".rb", "")
	}
	m.wantSuccess("onedb", "upgrade", "-v")
	compare("7.4.0")
}

// tables are those of the database with their columns and indexes, in the form of the recording.
func (m *machine) tables() string {
	var out strings.Builder
	for _, table := range strings.Fields(m.sql("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name")) {
		columns := m.sql("SELECT name || ' ' || type || CASE WHEN pk > 0 THEN ' key ' || pk ELSE '' END FROM pragma_table_info('" + table + "')")
		indexes := m.sql(`SELECT CASE WHEN l."unique" THEN 'unique ' ELSE 'index ' END || (SELECT group_concat(name) FROM pragma_index_info(l.name)) ` +
			"FROM pragma_index_list('" + table + "') AS l WHERE l.origin <> 'pk' ORDER BY 1")
		lines := strings.Split(strings.TrimSpace(columns+indexes), "\n")
		fmt.Fprintf(&out, "%s: %s\n", table, strings.Join(lines, "; "))
	}
	return out.String()
}

// rows are those of tables, in the form of the recording.
func (m *machine) rows(tables []string) (rows []string) {
	m.t.Helper()
	for _, table := range tables {
		out, err := exec.Command("sqlite3", "-json", m.path("/var/lib/one/one.db"), "SELECT * FROM "+table).CombinedOutput()
		if err != nil {
			m.t.Fatalf("%v: %s", err, out)
		}
		var found []json.RawMessage
		if err := json.Unmarshal(out, &found); err != nil {
			m.t.Fatalf("%s: %v: %s", table, err, out)
		}
		for _, row := range found {
			rows = append(rows, table+" "+general(string(row)))
		}
	}
	return rows
}

// decode makes rows comparable: the order of columns is that of the table, and a time is any time.
func decode(t *testing.T, lines []string) (rows []map[string]any) {
	t.Helper()
	for _, line := range lines {
		table, text, _ := strings.Cut(line, " ")
		row := map[string]any{}
		if err := json.Unmarshal([]byte(text), &row); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		row["table"] = table
		if seconds, ok := row["timestamp"].(float64); ok && seconds >= 0 {
			row["timestamp"] = "a time"
		}
		rows = append(rows, row)
	}
	return rows
}
