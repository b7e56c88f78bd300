package standin

import (
	"bytes"
	"compress/zlib"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"sync"
	"time"
)

// notFederated is the index in a federation of records of a zone that is in none.
const notFederated = math.MaxUint64

// logRecord is one change to the database, with what is before it in the log.
type logRecord struct {
	index, prevIndex uint64
	term, prevTerm   uint32
	sql              string
}

// logDB is the log of the changes to the database, which is in the same database: what is in the log first is applied later.
type logDB struct {
	server server
	now    func() time.Time

	mu sync.Mutex
	// last is the newest record, applied the newest that the database has taken over.
	last, applied uint64
	lastTerm      uint32
}

// openLog opens the log and gives it the record 0 when it has none.
func openLog(s server, now func() time.Time) (*logDB, error) {
	l := &logDB{server: s, now: now}
	seconds := now().Unix()
	first, err := packSQL(strconv.FormatInt(seconds, 10))
	if err != nil {
		return nil, err
	}
	_, err = s.run(fmt.Sprintf("INSERT INTO logdb SELECT 0, 0, %s, %d, %d, '1' FROM (SELECT COUNT(*) AS n FROM logdb WHERE log_index = 0) AS c "+
		"WHERE c.n = 0;", text(first), seconds, uint64(notFederated)))
	if err != nil {
		return nil, fmt.Errorf("open the log of the database: %w", err)
	}
	_, err = l.setup()
	return l, err
}

// setup reads from the database where the log ends, and returns the newest record that has been applied.
func (l *logDB) setup() (applied uint64, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	rows, err := l.rows("SELECT log_index, term, "+
		"(SELECT COALESCE(MAX(log_index), 0) FROM logdb WHERE applied = '1') FROM logdb ORDER BY log_index DESC LIMIT 1;", 3)
	if err != nil {
		return 0, fmt.Errorf("read the end of the log: %w", err)
	}
	if len(rows) != 1 {
		return 0, errors.New("the log of the database is empty")
	}
	var numbers [3]uint64
	for i := range numbers {
		if numbers[i], err = strconv.ParseUint(rows[0][i], 10, 64); err != nil {
			return 0, fmt.Errorf("read the end of the log: %w", err)
		}
	}
	l.last, l.lastTerm, l.applied = numbers[0], uint32(numbers[1]), numbers[2]
	return l.applied, nil
}

// rows runs a query whose rows have so many columns.
func (l *logDB) rows(query string, columns int) ([][]string, error) {
	out, err := l.server.run(query)
	if err != nil {
		return nil, err
	}
	var rows [][]string
	for line := range strings.Lines(out) {
		row := strings.Split(strings.TrimRight(line, "\n"), "\t")
		if len(row) != columns {
			return nil, fmt.Errorf("%d columns were expected, found %q", columns, line)
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// end is the newest record.
func (l *logDB) end() (index uint64, term uint32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last, l.lastTerm
}

// atOnce bounds how many records are read or applied in one go.
const atOnce = 100

// from reads records, beginning with the one of an index, and the term of the one before each.
func (l *logDB) from(index uint64) (records []logRecord, err error) {
	rows, err := l.rows(fmt.Sprintf("SELECT c.log_index, c.term, c.sqlcmd, p.log_index, p.term FROM logdb c, logdb p WHERE c.log_index >= %d "+
		"AND p.log_index = CASE WHEN c.log_index = 0 THEN 0 ELSE c.log_index - 1 END ORDER BY c.log_index LIMIT %d;", index, atOnce), 5)
	if err != nil {
		return nil, fmt.Errorf("read the log: %w", err)
	}
	for _, row := range rows {
		var r logRecord
		if _, err := fmt.Sscan(strings.Join(row, " "), &r.index, &r.term, &r.sql, &r.prevIndex, &r.prevTerm); err != nil {
			return nil, fmt.Errorf("read the log: %q: %w", row, err)
		}
		if r.sql, err = unpackSQL(r.sql); err != nil {
			return nil, fmt.Errorf("read log record %d: %w", r.index, err)
		}
		records = append(records, r)
	}
	if len(records) == 0 || records[0].index != index {
		return nil, fmt.Errorf("Failed to load log record at index: %d", index)
	}
	return records, nil
}

// term is the term of a record, when the log has that and the one before it.
func (l *logDB) term(index uint64) (term uint32, has bool, err error) {
	rows, err := l.rows(fmt.Sprintf("SELECT c.term FROM logdb c, logdb p WHERE c.log_index = %d AND p.log_index = %d;", index, index-min(index, 1)), 1)
	if err != nil || len(rows) == 0 {
		return 0, false, err
	}
	n, err := strconv.ParseUint(rows[0][0], 10, 32)
	return uint32(n), err == nil, err
}

// add puts a change of the leader's at the end of the log and returns its index. Nobody asks whether the server still leads.
func (l *logDB) add(term uint32, sql string) (uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	index := l.last + 1
	if err := l.write("INSERT", index, term, sql); err != nil {
		return 0, err
	}
	l.last, l.lastTerm = index, term
	return index, nil
}

// put writes a record that the leader has sent.
func (l *logDB) put(index uint64, term uint32, sql string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.write("REPLACE", index, term, sql); err != nil {
		return err
	}
	if index > l.last {
		l.last, l.lastTerm = index, term
	}
	return nil
}

func (l *logDB) write(verb string, index uint64, term uint32, sql string) error {
	packed, err := packSQL(sql)
	if err != nil {
		return err
	}
	_, err = l.server.run(fmt.Sprintf("%s INTO logdb VALUES (%d, %d, %s, 0, %d, '0');", verb, index, term, text(packed), uint64(notFederated)))
	return err
}

// cut removes a record and all after it. What the database has applied of them stays applied.
func (l *logDB) cut(from uint64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, err := l.server.run(fmt.Sprintf("DELETE FROM logdb WHERE log_index >= %d;", from)); err != nil {
		return err
	}
	l.last = from - 1
	rows, err := l.rows(fmt.Sprintf("SELECT term FROM logdb WHERE log_index = %d;", l.last), 1)
	if err != nil || len(rows) == 0 {
		return err
	}
	term, err := strconv.ParseUint(rows[0][0], 10, 32)
	l.lastTerm = uint32(term)
	return err
}

// apply brings the database to a record, or to the end of the log. A change, and the mark that it is applied, are a statement each: who is killed between them
// applies the change again. One that the database refuses is marked as well, and ends the round.
func (l *logDB) apply(upTo uint64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.applied < upTo {
		last := min(upTo, l.applied+atOnce)
		rows, err := l.rows(fmt.Sprintf("SELECT log_index, sqlcmd FROM logdb WHERE log_index > %d AND log_index <= %d ORDER BY log_index;",
			l.applied, last), 2)
		if err != nil {
			return fmt.Errorf("apply the log: %w", err)
		}
		var statements []string
		var script strings.Builder
		for i, row := range rows {
			if row[0] != strconv.FormatUint(l.applied+uint64(i)+1, 10) {
				break
			}
			sql, err := unpackSQL(row[1])
			if err != nil {
				return fmt.Errorf("apply log record %s: %w", row[0], err)
			}
			statements = append(statements, strings.TrimRight(sql, "; \n"))
			script.WriteString(statements[i] + ";\n" + l.mark(row[0]))
		}
		if len(statements) == 0 {
			return fmt.Errorf("apply the log: there is no record %d", l.applied+1)
		}
		if _, err := l.server.run(script.String()); err == nil {
			l.applied += uint64(len(statements))
			continue
		}
		if err := l.applyOne(statements); err != nil {
			return err
		}
	}
	return nil
}

// mark is the statement that says that a record is applied.
func (l *logDB) mark(index string) string {
	return fmt.Sprintf("UPDATE logdb SET timestamp = %d, applied = '1' WHERE log_index = %s AND timestamp = 0;\n", l.now().Unix(), index)
}

// applyOne goes on where a script of several statements has ended: it applies one record by itself. What was there already counts as applied.
func (l *logDB) applyOne(statements []string) error {
	done, err := l.newestApplied()
	if err != nil {
		return fmt.Errorf("apply the log: %w", err)
	}
	if done > l.applied {
		statements, l.applied = statements[min(done-l.applied, uint64(len(statements))):], done
	}
	if len(statements) == 0 {
		return nil
	}
	_, refused := l.server.run(statements[0] + ";")
	if _, err := l.server.run(l.mark(strconv.FormatUint(l.applied+1, 10))); err != nil {
		// The database does not answer: the record is to be applied later.
		return fmt.Errorf("apply log record %d: %w", l.applied+1, err)
	}
	l.applied++
	if refused != nil && !strings.Contains(refused.Error(), "UNIQUE constraint") && !strings.Contains(refused.Error(), "Duplicate entry") {
		return fmt.Errorf("apply log record %d: %w", l.applied, refused)
	}
	return nil
}

func (l *logDB) newestApplied() (uint64, error) {
	rows, err := l.rows("SELECT COALESCE(MAX(log_index), 0) FROM logdb WHERE applied = '1';", 1)
	if err != nil || len(rows) != 1 {
		return 0, errors.Join(err, errors.New("no answer"))
	}
	return strconv.ParseUint(rows[0][0], 10, 64)
}

// purge removes applied records but the newest ones.
func (l *logDB) purge(retention, limit int) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	rows, err := l.rows(fmt.Sprintf("SELECT COALESCE(MIN(i.log_index), 0) FROM (SELECT log_index FROM logdb WHERE applied = '1' "+
		"ORDER BY log_index DESC LIMIT %d) AS i;", retention), 1)
	if err != nil {
		return err
	}
	remove := "DELETE FROM logdb WHERE applied = '1' AND log_index < " + rows[0][0]
	if l.server.file == "" {
		remove += fmt.Sprintf(" LIMIT %d", limit)
	}
	_, err = l.server.run(remove + ";")
	return err
}

// loadState reads what a server remembers of elections, from the system attributes, and writes it there at the first start.
func (l *logDB) loadState() (term uint32, votedFor int, err error) {
	body, err := l.server.run("SELECT body FROM system_attributes WHERE name = 'RAFT_STATE';")
	if err == nil && body == "" {
		if body, err = stateBody(0, alone); err == nil {
			_, err = l.server.run("INSERT INTO system_attributes VALUES ('RAFT_STATE', " + text(body) + ");")
		}
	}
	var state struct {
		Term     uint32 `xml:"TERM"`
		VotedFor int    `xml:"VOTEDFOR"`
	}
	if err == nil {
		err = xml.Unmarshal([]byte(body), &state)
	}
	if err != nil {
		return 0, 0, fmt.Errorf("read RAFT_STATE from the database: %w", err)
	}
	return state.Term, state.VotedFor, nil
}

func (l *logDB) saveState(term uint32, votedFor int) error {
	body, err := stateBody(term, votedFor)
	if err != nil {
		return err
	}
	_, err = l.server.run("UPDATE system_attributes SET body = " + text(body) + " WHERE name = 'RAFT_STATE';")
	return err
}

func stateBody(term uint32, votedFor int) (string, error) {
	var state attributes
	state.set("TERM", strconv.FormatUint(uint64(term), 10))
	state.set("VOTEDFOR", strconv.Itoa(votedFor))
	body, err := xml.Marshal(struct {
		XMLName xml.Name `xml:"TEMPLATE"`
		attributes
	}{attributes: state})
	return string(body), err
}

// packSQL is how the log holds a statement: compressed, in Base64.
func packSQL(sql string) (string, error) {
	var packed bytes.Buffer
	w := zlib.NewWriter(&packed)
	_, err := io.WriteString(w, sql)
	if err := errors.Join(err, w.Close()); err != nil {
		return "", err
	}
	return base64.StdEncoding.EncodeToString(packed.Bytes()), nil
}

func unpackSQL(packed string) (string, error) {
	data, err := base64.StdEncoding.DecodeString(packed)
	if err != nil {
		return "", err
	}
	r, err := zlib.NewReader(bytes.NewReader(data))
	if err != nil {
		return "", err
	}
	sql, err := io.ReadAll(r)
	return string(sql), err
}
