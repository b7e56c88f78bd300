package tail

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestRotation follows a log that is written to and rotated between two looks at it, which is when lines get lost, or come twice.
func TestRotation(t *testing.T) {
	const read = "line 1\nline 2\n"
	for _, c := range []struct {
		name string
		// between is what happens after the log has been read as far as read.
		between func(l *log)
		want    string
	}{
		{"nothing", func(*log) {}, ""},
		{"more", func(l *log) { l.append("line 3\n") }, "line 3\n"},
		{"copied and truncated", func(l *log) { l.copyTruncate() }, ""},
		{"written, copied and truncated", func(l *log) { l.append("line 3\n"); l.copyTruncate() }, "line 3\n"},
		{"truncated and shorter", func(l *log) { l.append("line 3\n"); l.copyTruncate(); l.append("4\n") }, "line 3\n4\n"},
		{"truncated and as long", func(l *log) { l.append("line 3\n"); l.copyTruncate(); l.append("line 4\nline 5\n") }, "line 3\nline 4\nline 5\n"},
		{"truncated and longer", func(l *log) { l.copyTruncate(); l.append("line 3\nline 4\nline 5\n") }, "line 3\nline 4\nline 5\n"},
		{"truncated without a copy", func(l *log) { l.truncate(); l.append("line 3\n") }, "line 3\n"},
		{"truncated with the copy of an earlier time", func(l *log) {
			l.write(rotatedSuffix, "LINE 1\nLINE 2\nLINE 3\n")
			l.truncate()
			l.append("line 3\n")
		}, "line 3\n"},
		{"renamed", func(l *log) { l.rename() }, ""},
		{"written and renamed", func(l *log) { l.append("line 3\n"); l.rename() }, "line 3\n"},
		{"renamed and written before the writer knows", func(l *log) { l.rename(); l.append("line 3\n") }, "line 3\n"},
		{"renamed and made anew", func(l *log) { l.append("line 3\n"); l.rename(); l.reopen(); l.append("line 4\n") }, "line 3\nline 4\n"},
		{"made anew before the writer knows", func(l *log) {
			l.rename()
			l.write("", "")
			l.look()
			l.append("line 3\n")
			l.look()
			l.append("line 4\n")
			l.reopen()
			l.append("line 5\n")
		}, "line 3\nline 4\nline 5\n"},
		{"removed", func(l *log) { l.append("line 3\n"); l.remove() }, "line 3\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLog(t)
			l.append("of an earlier run\n")
			l.follow()
			l.copyTruncate()
			l.append(read)
			l.look()
			l.want(read)
			c.between(l)
			l.look()
			l.want(read + c.want)
			// And on from there.
			l.append("next\n")
			l.look()
			l.want(read + c.want + "next\n")
		})
	}
}

// TestRotationOfLinesThatEndAlike has a line come to where one like it was.
func TestRotationOfLinesThatEndAlike(t *testing.T) {
	l := newLog(t)
	l.follow()
	want := ""
	for _, number := range []string{"1", "2", "3"} {
		line := number + strings.Repeat(" alike", 300) + "\n"
		l.append(line)
		l.look()
		want += line
		l.want(want)
		l.copyTruncate()
	}
}

func TestFollow(t *testing.T) {
	dir := t.TempDir()
	l := &log{t: t, path: filepath.Join(dir, "one.log")}
	l.write("", "of an earlier run\n")
	files, err := Open(filepath.Join(dir, "*.log"), func() io.Writer { return &l.got })
	if err != nil {
		t.Fatal(err)
	}
	l.reopen()
	l.append("while nobody looks\n")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := files.Follow(ctx, time.Hour); err != nil {
		t.Error(err)
	}
	l.want("while nobody looks\n")

	t.Run("files that come later", func(t *testing.T) {
		l := &log{t: t, path: filepath.Join(t.TempDir(), "two.log")}
		files, err := Open(strings.Replace(l.path, "two", "t*", 1), func() io.Writer { return &l.got })
		if err != nil {
			t.Fatal(err)
		}
		written := make(chan struct{})
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			defer close(written)
			l.reopen()
			l.append("first\n")
			l.append("second\n")
			l.write(rotatedSuffix, "of no name that fits\n")
			cancel()
		}()
		if err := files.Follow(ctx, time.Millisecond); err != nil {
			t.Error(err)
		}
		<-written
		l.want("first\nsecond\n")
	})
}

func TestFollowPassesErrorsOn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.log")
	broken := errors.New("broken")
	files, err := Open(path, func() io.Writer { return writerFunc(func([]byte) (int, error) { return 0, broken }) })
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := files.Follow(t.Context(), time.Millisecond); !errors.Is(err, broken) || !strings.Contains(err.Error(), path) {
		t.Errorf("error %v, want %v, and %s in it", err, broken, path)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// log is a file, who writes to it, and what has come of it.
type log struct {
	t      *testing.T
	path   string
	writer *os.File
	files  *Files
	got    bytes.Buffer
}

func newLog(t *testing.T) *log {
	l := &log{t: t, path: filepath.Join(t.TempDir(), "oned.log")}
	l.reopen()
	return l
}

func (l *log) must(err error) {
	l.t.Helper()
	if err != nil {
		l.t.Fatal(err)
	}
}

// reopen is what a daemon does that is told of a rotation.
func (l *log) reopen() {
	l.t.Helper()
	writer, err := os.OpenFile(l.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	l.must(err)
	l.writer = writer
	l.t.Cleanup(func() { _ = writer.Close() })
}

func (l *log) append(text string) {
	l.t.Helper()
	_, err := l.writer.WriteString(text)
	l.must(err)
}

func (l *log) write(suffix, text string) {
	l.t.Helper()
	l.must(os.WriteFile(l.path+suffix, []byte(text), 0o600))
}

func (l *log) copyTruncate() {
	l.t.Helper()
	content, err := os.ReadFile(l.path)
	l.must(err)
	l.write(rotatedSuffix, string(content))
	l.truncate()
}

func (l *log) truncate() { l.t.Helper(); l.must(os.Truncate(l.path, 0)) }
func (l *log) rename()   { l.t.Helper(); l.must(os.Rename(l.path, l.path+rotatedSuffix)) }
func (l *log) remove()   { l.t.Helper(); l.must(os.Remove(l.path)) }

func (l *log) follow() {
	l.t.Helper()
	files, err := Open(l.path, func() io.Writer { return &l.got })
	l.must(err)
	l.files = files
	l.t.Cleanup(files.close)
}

func (l *log) look() { l.t.Helper(); l.must(l.files.pass()) }

func (l *log) want(want string) {
	l.t.Helper()
	if got := l.got.String(); got != want {
		l.t.Fatalf("got %q, want %q", got, want)
	}
}
