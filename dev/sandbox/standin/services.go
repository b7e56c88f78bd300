package standin

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/Masterminds/semver/v3"
	"go.yaml.in/yaml/v3"
)

// interpreted are the services that run in Ruby or Node.js, by the script that the interpreter is given.
func (h Host) interpreted() map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"/usr/lib/one/fireedge/dist/index.js":    h.fireedge,
		"/usr/lib/one/oneflow/oneflow-server.rb": h.oneflow,
		"/usr/lib/one/onegate/onegate-server.rb": h.onegate,
		"/usr/lib/one/onehem/onehem-server.rb":   h.hem,
	}
}

// interpreter is ruby or node.
func (h Host) interpreter(ctx context.Context, args []string) error {
	if len(args) != 1 || h.interpreted()[args[0]] == nil {
		return fmt.Errorf("the stand-in runs OpenNebula's services only, not %q", args)
	}
	if _, err := os.Stat(h.path(args[0])); err != nil {
		return err
	}
	return h.interpreted()[args[0]](ctx)
}

func (h Host) fireedge(ctx context.Context) error {
	type server struct {
		Host string `yaml:"host"`
		Port int    `yaml:"port"`
		// XMLRPC is where oned is.
		XMLRPC string `yaml:"one_xmlrpc"`
	}
	var config struct {
		server `yaml:",inline"`
		Guacd  server `yaml:"guacd"`
		Level  int    `yaml:"debug_level"`
	}
	if err := h.readYAML("/etc/one/fireedge-server.conf", &config); err != nil {
		return err
	}
	release, err := h.version()
	if err != nil {
		return err
	}
	key, err := h.fireedgeKey()
	if err != nil {
		return err
	}
	level := config.Level
	if level == 1 {
		// FireEdge gives its logging library a name for it that this does not know: nothing is logged at all.
		level = -1
	}
	log, err := h.openServiceLog("/var/log/one/fireedge.log", level)
	if err != nil {
		return err
	}
	defer closeQuietly(log.file)
	files := http.StripPrefix("/fireedge", http.FileServerFS(os.DirFS(h.path(fireedgeDir))))
	answer := func(w http.ResponseWriter, r *http.Request) {
		under := func(directory string) bool {
			return r.URL.Path == "/fireedge/"+directory || strings.HasPrefix(r.URL.Path, "/fireedge/"+directory+"/")
		}
		file, err := os.Stat(h.path(filepath.Join(fireedgeDir, strings.TrimPrefix(path.Clean(r.URL.Path), "/fireedge"))))
		switch {
		case r.URL.Path == "/fireedge/guacamole":
			passOn(w, r, net.JoinHostPort(config.Guacd.Host, strconv.Itoa(config.Guacd.Port)))
		case r.URL.Path == "/fireedge/api/auth" && r.Method == http.MethodPost:
			h.login(w, r, cmp.Or(config.XMLRPC, defaultXMLRPC), key, hasCookie(release), log)
		case under("api"):
			answerJSON(w, http.StatusNotFound, "Not Found", nil)
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			http.NotFound(w, r)
		case (under("client") || under("modules")) && err == nil && file.Mode().IsRegular():
			files.ServeHTTP(w, r)
		case !under("sunstone"):
			http.Redirect(w, r, "/fireedge/sunstone", http.StatusFound)
		}
	}
	listening := func(address net.Addr) { h.printf("\x1b[32m Server listen in %s \x1b[0m\n", address) }
	return h.service(ctx, "sunstone_auth", config.Host, config.Port, listening, logged(h.Now, answer, func(status int, line string) {
		if status >= http.StatusBadRequest {
			log.node(errorLevel, line)
		}
	}))
}

// fireedgeDir is where FireEdge has its program, and the files that it gives to browsers.
const fireedgeDir = "/usr/lib/one/fireedge/dist"

// hasCookie tells whether FireEdge of a release keeps its session in a cookie.
func hasCookie(release *semver.Version) bool {
	return !release.LessThan(semver.New(7, 2, 0, "", ""))
}

// fireedgeKey reads the key that FireEdge signs its sessions with, and makes it when there is none.
func (h Host) fireedgeKey() ([]byte, error) {
	at := h.path(filepath.Join(authDir, "fireedge_key"))
	key, err := os.ReadFile(at)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	key = []byte(strings.ToUpper(strings.ReplaceAll(uuid(), "-", "")))
	return key, os.WriteFile(at, key, 0o660)
}

// passOn connects to another service, as FireEdge does to guacd for a remote desktop.
func passOn(w http.ResponseWriter, r *http.Request, address string) {
	connection, err := new(net.Dialer).DialContext(r.Context(), "tcp", address)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	closeQuietly(connection)
}

// statusError is a refusal of a service, with the status that it has.
type statusError struct {
	status  int
	message string
}

func (e *statusError) Error() string { return e.message }

// answerJSON answers with a status, which is in the body as well.
func answerJSON(w http.ResponseWriter, status int, message string, data any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(struct {
		ID      int    `json:"id"`
		Message string `json:"message"`
		Data    any    `json:"data,omitempty"`
	}{status, message, data})
}

// login makes a session for a user whom oned knows by a password: a signed token. In it is a session that FireEdge makes for the user with
// the secret of serveradmin, which oned has to take.
func (h Host) login(w http.ResponseWriter, r *http.Request, oned string, key []byte, inCookie bool, log *serviceLog) {
	var given struct{ User, Token string }
	if err := json.NewDecoder(io.LimitReader(r.Body, maxMessage)).Decode(&given); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if given.User == "" || given.Token == "" {
		answerJSON(w, http.StatusInternalServerError, "Internal Server Error", nil)
		return
	}
	user, err := client{oned, given.User + ":" + given.Token}.document(r.Context(), "one.user.info", intValue(-1))
	if err == nil {
		// For the same call, which the page makes next.
		log.node(infoLevel, "worker: user.info, [-1,false]: "+quoted("PASSWORD", user.get("PASSWORD")).String())
	}
	if _, refused := errors.AsType[*refusedError](err); refused {
		answerJSON(w, http.StatusUnauthorized, "Unauthorized", nil)
		return
	}
	var session string
	if err == nil {
		session, err = h.actFor("sunstone_auth", given.User)
	}
	if err == nil {
		_, err = client{oned, session}.call(r.Context(), "one.user.info", intValue(-1))
	}
	if err != nil {
		answerJSON(w, http.StatusInternalServerError, "Internal Server Error", nil)
		return
	}
	part := func(v any) string {
		text, _ := json.Marshal(v)
		return base64.RawURLEncoding.EncodeToString(text)
	}
	token := part(map[string]string{"typ": "JWT", "alg": "HS256"}) + "." +
		part(map[string]string{"iss": user.get("ID"), "aud": user.get("NAME"), "jti": session[strings.LastIndex(session, ":")+1:]})
	sign := hmac.New(sha256.New, key)
	_, _ = io.WriteString(sign, token)
	token += "." + base64.RawURLEncoding.EncodeToString(sign.Sum(nil))
	if !inCookie {
		answerJSON(w, http.StatusOK, "OK", map[string]string{"token": token, "id": user.get("ID")})
		return
	}
	value, _ := json.Marshal(map[string]string{"token": token})
	w.Header().Set("Set-Cookie", "FireedgeToken="+url.QueryEscape(string(value))+"; Max-Age=10800; Path=/; HttpOnly; SameSite=Lax")
	answerJSON(w, http.StatusOK, "OK", map[string]string{"status": "ok"})
}

// rubyLog is what the services in Ruby are told about their logs.
type rubyLog struct {
	Level *int `yaml:":level"`
}

func (l rubyLog) level() int {
	if l.Level == nil {
		return infoLevel
	}
	return *l.Level
}

func (h Host) readYAML(path string, v any) error {
	content, err := os.ReadFile(h.path(path))
	if err != nil {
		return err
	}
	if err := yaml.Unmarshal(content, v); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// service serves HTTP until ctx is done. Without its auth file a service ends, as the real ones do.
func (h Host) service(ctx context.Context, auth, address string, port int, listening func(net.Addr), handler http.Handler) error {
	if _, _, err := readAuth(h.path(filepath.Join(authDir, auth))); err != nil {
		return err
	}
	listener, err := h.Listen(ctx, "tcp", net.JoinHostPort(address, strconv.Itoa(port)))
	if err != nil {
		return err
	}
	listening(listener.Addr())
	return serveUntil(ctx, listener, handler)
}

func (h Host) listening(address net.Addr) { h.printf("listening on %s\n", address) }

// serveUntil serves HTTP until ctx is done, and lets the calls in progress finish.
func serveUntil(ctx context.Context, listener net.Listener, handler http.Handler) error {
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 15 * time.Second}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownGrace)
	defer cancel()
	if err := server.Shutdown(grace); err != nil {
		return server.Close()
	}
	return nil
}

// guacd accepts connections and closes them.
func (h Host) guacd(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("guacd", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	foreground := flags.Bool("f", false, "")
	address, port := flags.String("b", "localhost", ""), flags.String("l", "4822", "")
	if err := flags.Parse(args); err != nil {
		return fmt.Errorf("guacd: %w", err)
	}
	if !*foreground {
		return errors.New("guacd -f: the stand-in runs in the foreground only")
	}
	listener, err := h.Listen(ctx, "tcp", net.JoinHostPort(*address, *port))
	if err != nil {
		return err
	}
	stop := closeOnAccept(listener)
	<-ctx.Done()
	stop()
	return nil
}
