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
		{"colours", []string{"\x1b[32m Server listen in 0.0.0.0:2616 \x1b[0m\n"}, "oned: Server listen in 0.0.0.0:2616\n"},
		{"colours inside", []string{"a \x1b[1;31mb\x1b[0m c\n"}, "oned: a b c\n"},
		{"a window's title", []string{"a\x1b]0;x\x07b\x1b]0;y\x1b\\c\n"}, "oned: abc\n"},
		{"other commands", []string{"a\x1bcb\x1b(Bc\x1b\n"}, "oned: abc\n"},
		{"control characters", []string{"a\x00b\x07c\td\re\u0085f\x7f\n"}, "oned: a b c\td e f \n"},
		{"no UTF-8", []string{"a\x9b31mb\n"}, "oned: a\ufffd31mb\n"},
		{"letters of all kinds", []string{"größer, 日本語\n"}, "oned: größer, 日本語\n"},
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

// TestErrorsGoElsewhere has lines as OpenNebula's programs write them.
func TestErrorsGoElsewhere(t *testing.T) {
	for line, isError := range map[string]bool{
		"Sat Nov 28 14:53:05 2026 [Z0][ReM][E]: Req:144 UID:0 one.user.info result FAILURE [one.user.info] Error getting user [99].": true,
		"Sat Nov  7 14:53:05 2026 [Z0][SCM][E]: Driver initialization failed, expected INIT SUCCESS message":                         true,
		"Sat Nov 28 14:52:58 2026 [Z0][MKP][I]: from /var/lib/one/remotes/market/one/monitor:352:in `<main>' [E]: ":                  false,
		"Sat Nov 28 14:53:11 2026 [Z0][PLM][I]: Found 0 active plans":                                                                false,
		"Sat Nov 28 14:53:11 2026 [E]: X_ONEGATE_TOKEN header not preset":                                                            true,
		"Sat Nov 28 14:53:11 2026 [E]: [ONEFLOW] Error code 500":                                                                     true,
		"Sat Nov 28 14:53:11 2026 [I]: Unauthorized login attempt":                                                                   false,
		"[2026-11-28T14:53:11.123Z] - [error] ECONNREFUSED":                                                                          true,
		"[2026-11-28T14:53:11.123Z] - [info] worker: [error] x":                                                                      false,
		"[E]: x": false,
		"":       false,
	} {
		var out, errs bytes.Buffer
		w := linelog.NewSorted(&out, &errs, "x")
		if _, err := io.WriteString(w, line+"\n"); err != nil {
			t.Fatal(err)
		}
		wantOut, wantErrs := "x: "+line+"\n", ""
		if isError {
			wantOut, wantErrs = wantErrs, wantOut
		}
		if out.String() != wantOut || errs.String() != wantErrs {
			t.Errorf("lines %q, errors %q, want %q, %q", out.String(), errs.String(), wantOut, wantErrs)
		}
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
