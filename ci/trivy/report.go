package trivy

import (
	"errors"
	"fmt"
	"io"
	"os"
)

// reportLimit is the largest report that is read into memory, in bytes.
const reportLimit = 256 << 20

// ReadReport reads what Trivy wrote.
func ReadReport(path string) ([]byte, error) { return readReport(path, reportLimit) }

func readReport(path string, limit int64) ([]byte, error) {
	file, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, errors.New("the scanner ended without an error and wrote no report")
	} else if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	data, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("the report is larger than %d bytes", limit)
	}
	return data, nil
}
