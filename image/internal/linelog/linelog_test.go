package linelog_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"

	"opennebula-kube/image/internal/linelog"
)

func TestWriter(t *testing.T) {
	for _, c := range []struct {
		name   string
		writes []string
		want   string
	}{
		{"whole lines", []string{"a\nb\n"}, "oned: a\noned: b\n"},
		{"parts", []string{"a", "b\nc", "\n"}, "oned: ab\noned: c\n"},
		{"no line end", []string{"a\nb"}, "oned: a\noned: b\n"},
		{"empty lines", []string{"\n\n"}, "oned: \noned: \n"},
		{"carriage returns", []string{"a\r\n"}, "oned: a\n"},
		{"nothing", []string{""}, ""},
		{"too long", []string{strings.Repeat("x", 70_000) + "\n"}, "oned: " + strings.Repeat("x", 65536) + "\noned: " + strings.Repeat("x", 4464) + "\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got bytes.Buffer
			w := linelog.New(&got, "oned")
			for _, text := range c.writes {
				if n, err := io.WriteString(w, text); n != len(text) || err != nil {
					t.Errorf("Write = %d, %v", n, err)
				}
			}
			if err := w.Flush(); err != nil {
				t.Error(err)
			}
			if got.String() != c.want {
				t.Errorf("got %.200q, want %.200q", got.String(), c.want)
			}
		})
	}
}

func TestLinesStayWhole(t *testing.T) {
	var mu sync.Mutex
	var got []string
	target := writerFunc(func(p []byte) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		got = append(got, string(p))
		return len(p), nil
	})
	var group sync.WaitGroup
	for _, name := range []string{"a", "b"} {
		group.Go(func() {
			w := linelog.New(target, name)
			for i := range 100 {
				_, _ = fmt.Fprintf(w, "%d\n", i)
			}
		})
	}
	group.Wait()
	for _, line := range got {
		if strings.Count(line, "\n") != 1 || !strings.HasSuffix(line, "\n") {
			t.Errorf("a write of %q, want one line", line)
		}
	}
	if len(got) != 200 {
		t.Errorf("%d lines, want 200", len(got))
	}
}

func TestWriterPassesErrorsOn(t *testing.T) {
	broken := errors.New("broken")
	w := linelog.New(writerFunc(func([]byte) (int, error) { return 0, broken }), "x")
	if _, err := io.WriteString(w, "a\n"); !errors.Is(err, broken) {
		t.Errorf("error %v, want %v", err, broken)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
