package apt

import (
	"bytes"
	"fmt"
	"html"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Handler serves the repository: /repo/ and everything below it. Directories are shown as nginx's autoindex shows them.
func (r *Repository) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		if request.Method != http.MethodGet && request.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "Method Not Allowed", http.StatusMethodNotAllowed)
			return
		}
		name := path.Clean("/" + request.URL.Path)
		if name != "/repo" && !strings.HasPrefix(name, "/repo/") {
			http.NotFound(w, request)
			return
		}
		// The lock is held until the file is open, or the directory is read, and not while a client takes its time.
		r.mu.RLock()
		file, info, page, err := open(filepath.Join(r.dir, filepath.FromSlash(name)), name)
		r.mu.RUnlock()
		switch {
		case err != nil:
			http.NotFound(w, request)
		case file == nil && !strings.HasSuffix(request.URL.Path, "/"):
			// From where it is asked for: the repository may be below another path.
			w.Header().Set("Location", (&url.URL{Path: path.Base(name) + "/"}).String())
			w.WriteHeader(http.StatusMovedPermanently)
		case file == nil:
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			http.ServeContent(w, request, "", time.Time{}, bytes.NewReader(page))
		default:
			defer func() { _ = file.Close() }()
			w.Header().Set("Content-Type", contentType(name))
			http.ServeContent(w, request, "", info.ModTime(), file)
		}
	})
}

// open opens what is at a place: a file, or the page that lists a directory.
func open(place, name string) (file *os.File, info fs.FileInfo, page []byte, err error) {
	if info, err = os.Stat(place); err != nil {
		return nil, nil, nil, err
	}
	if info.IsDir() {
		page, err = listing(place, name)
		return nil, info, page, err
	}
	file, err = os.Open(place)
	return file, info, nil, err
}

// listing is the page for a directory.
func listing(place, name string) ([]byte, error) {
	entries, err := os.ReadDir(place)
	if err != nil {
		return nil, err
	}
	title := html.EscapeString("Index of " + name + "/")
	var directories, plain bytes.Buffer
	for _, entry := range entries {
		// Stat, for X.Y is a link to a directory and is shown as one.
		info, err := os.Stat(filepath.Join(place, entry.Name()))
		if err != nil {
			return nil, err
		}
		shown, size, group := entry.Name(), strconv.FormatInt(info.Size(), 10), &plain
		if info.IsDir() {
			shown, size, group = shown+"/", "-", &directories
		}
		href := (&url.URL{Path: shown}).String()
		fmt.Fprintf(group, "<a href=\"%s\">%s</a>%*s%s%20s\r\n", html.EscapeString(href), html.EscapeString(shown), max(1, 51-len(shown)), "",
			info.ModTime().UTC().Format("02-Jan-2006 15:04"), size)
	}
	var page bytes.Buffer
	fmt.Fprintf(&page, "<html>\r\n<head><title>%s</title></head>\r\n<body>\r\n<h1>%[1]s</h1><hr><pre><a href=\"../\">../</a>\r\n", title)
	page.Write(directories.Bytes())
	page.Write(plain.Bytes())
	page.WriteString("</pre><hr></body>\r\n</html>\r\n")
	return page.Bytes(), nil
}

func contentType(name string) string {
	switch path.Ext(name) {
	case ".deb":
		return "application/vnd.debian.binary-package"
	case ".gz":
		return "application/gzip"
	case ".key":
		return "application/pgp-keys"
	}
	return "text/plain; charset=utf-8"
}
