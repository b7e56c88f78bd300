package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"opennebula-kube/image/internal/settings"
)

// forgetSettings takes the settings out of this process's environment, and out of the copy of it that the kernel shows in /proc for as
// long as the process runs: there are secrets among them, and the services read files. It does so in place: as a new program the
// process would be deaf to SIGTERM for a moment.
func forgetSettings() error {
	for _, entry := range os.Environ() {
		if name, _, _ := strings.Cut(entry, "="); strings.HasPrefix(name, settings.Prefix) {
			if err := os.Unsetenv(name); err != nil {
				return err
			}
		}
	}
	begin, end, err := environmentBlock()
	if err != nil {
		return err
	}
	memory, err := os.OpenFile("/proc/self/mem", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer func() { _ = memory.Close() }()
	block := make([]byte, end-begin)
	if _, err := memory.ReadAt(block, begin); err != nil {
		return err
	}
	_, err = memory.WriteAt(withoutSettings(block), begin)
	return errors.Join(err, memory.Close())
}

// environmentBlock is where the kernel has put the environment that the process was started with.
func environmentBlock() (begin, end int64, err error) {
	const file = "/proc/self/stat"
	content, err := os.ReadFile(file)
	if err != nil {
		return 0, 0, err
	}
	// The second field is the name of the program in parentheses, with anything in it; env_start and env_end are the 50th and the 51st.
	fields := strings.Fields(string(content[bytes.LastIndexByte(content, ')')+1:]))
	if len(fields) < 49 {
		return 0, 0, fmt.Errorf("%s has %d fields after the name of the program, 49 were expected", file, len(fields))
	}
	begin, beginErr := strconv.ParseInt(fields[47], 10, 64)
	end, endErr := strconv.ParseInt(fields[48], 10, 64)
	if err := errors.Join(beginErr, endErr); err != nil {
		return 0, 0, fmt.Errorf("%s: %w", file, err)
	}
	if begin <= 0 || end < begin {
		return 0, 0, fmt.Errorf("%s: the environment is said to be from %d to %d", file, begin, end)
	}
	return begin, end, nil
}

// withoutSettings returns an environment of the same length that has no settings in it. Entries end with a zero.
func withoutSettings(block []byte) []byte {
	rest := make([]byte, 0, len(block))
	for entry := range bytes.SplitAfterSeq(block, []byte{0}) {
		if !bytes.HasPrefix(entry, []byte(settings.Prefix)) {
			rest = append(rest, entry...)
		}
	}
	return append(rest, make([]byte, len(block)-len(rest))...)
}
