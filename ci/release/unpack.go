package release

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
)

// unpacked is a file uncompressed while it is read, if it was compressed, with the checksums of both.
type unpacked struct {
	io.Reader
	packed      bool
	sent, plain *meter
}

// unpack reads a file that may be compressed with gzip. Its content tells, for neither its name nor its labels can be relied on. No more
// than limit bytes of it are unpacked.
func unpack(r io.Reader, limit int64) (*unpacked, error) {
	u := &unpacked{sent: newMeter(), plain: newMeter()}
	raw := bufio.NewReaderSize(io.TeeReader(r, u.sent), 16<<10)
	var content io.Reader = raw
	// An error here comes again when the content is read.
	if magic, _ := raw.Peek(2); bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		u.packed = true
		unzipped, err := gzip.NewReader(raw)
		if err != nil {
			return nil, fmt.Errorf("truncated or damaged gzip: %w", err)
		}
		content = &boundedBody{body: gunzip{unzipped}, limit: limit, left: limit}
	}
	u.Reader = io.TeeReader(content, u.plain)
	return u, nil
}

// gunzip says of its errors that they are about the compression.
type gunzip struct{ reader *gzip.Reader }

func (g gunzip) Read(p []byte) (int, error) {
	n, err := g.reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = fmt.Errorf("truncated or damaged gzip: %w", err)
	}
	return n, err
}
