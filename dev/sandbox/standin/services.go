package standin

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

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
	const page = "/fireedge/sunstone"
	answer := func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/fireedge/guacamole":
			passOn(w, r, net.JoinHostPort(config.Guacd.Host, strconv.Itoa(config.Guacd.Port)))
		case r.URL.Path == "/fireedge/api/auth" && r.Method == http.MethodPost:
			login(w, r, config.XMLRPC, log)
		case r.Method != http.MethodGet:
			http.NotFound(w, r)
		case r.URL.Path != page:
			http.Redirect(w, r, page, http.StatusFound)
		}
	}
	listening := func(address net.Addr) { h.printf("\x1b[32m Server listen in %s \x1b[0m\n", address) }
	return h.service(ctx, "sunstone_auth", config.Host, config.Port, listening, logged(h.Now, answer, func(status int, line string) {
		if status >= http.StatusBadRequest {
			log.node(errorLevel, line)
		}
	}))
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

// login asks oned whether it knows a user and a password. The answer has its status in its body as well.
func login(w http.ResponseWriter, r *http.Request, oned string, log *serviceLog) {
	type answer struct {
		ID      int    `json:"id"`
		Message string `json:"message"`
		Data    any    `json:"data,omitempty"`
	}
	var given struct{ User, Token string }
	result := answer{http.StatusOK, "OK", map[string]string{"token": "jwt", "id": "0"}}
	if err := json.NewDecoder(r.Body).Decode(&given); err != nil {
		result = answer{http.StatusBadRequest, "Bad Request", nil}
	} else if document, err := call(r.Context(), oned, "one.user.info", stringValue(given.User+":"+given.Token), intValue(-1)); err != nil {
		result = answer{http.StatusUnauthorized, "Unauthorized", nil}
	} else {
		// For the same call, which the page makes next.
		_, secret, _ := strings.Cut(document, "<PASSWORD>")
		log.node(infoLevel, "worker: user.info, [-1,false]: <PASSWORD>"+secret)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(result.ID)
	_ = json.NewEncoder(w).Encode(result)
}

func (h Host) oneflow(ctx context.Context) error {
	var config struct {
		Host string  `yaml:":host"`
		Port int     `yaml:":port"`
		Log  rubyLog `yaml:":log"`
	}
	if err := h.readYAML("/etc/one/oneflow-server.conf", &config); err != nil {
		return err
	}
	log, err := h.openServiceLog("/var/log/one/oneflow.log", config.Log.level())
	if err != nil {
		return err
	}
	defer closeQuietly(log.file)
	log.ruby(infoLevel, "[ONEFLOW] Starting server")
	answer := func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(w, "A username and password must be provided")
	}
	return h.service(ctx, "oneflow_auth", config.Host, config.Port, h.listening, logged(h.Now, answer, func(_ int, line string) {
		log.ruby(infoLevel, line)
	}))
}

// onegate reads the keys of the installed version and no others.
func (h Host) onegate(ctx context.Context) error {
	type listen struct {
		Host string `yaml:":host"`
		Bind string `yaml:":bind"`
		Port int    `yaml:":port"`
	}
	var config struct {
		listen `yaml:",inline"`
		Server *listen `yaml:":server"`
		Log    rubyLog `yaml:":log"`
	}
	if err := h.readYAML("/etc/one/onegate-server.conf", &config); err != nil {
		return err
	}
	release, err := h.version()
	if err != nil {
		return err
	}
	address, port := config.Host, config.Port
	if serverSection(release) {
		if config.Server == nil {
			return errors.New("/etc/one/onegate-server.conf: no :server")
		}
		address, port = config.Server.Bind, config.Server.Port
	}
	log, err := h.openServiceLog("/var/log/one/onegate.log", config.Log.level())
	if err != nil {
		return err
	}
	defer closeQuietly(log.file)
	answer := func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-ONEGATE-TOKEN") == "" {
			log.ruby(errorLevel, "X_ONEGATE_TOKEN header not preset")
			log.ruby(infoLevel, "Unauthorized login attempt")
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = io.WriteString(w, "Not authorized")
		}
	}
	return h.service(ctx, "onegate_auth", address, port, h.listening, logged(h.Now, answer, func(_ int, line string) {
		log.ruby(infoLevel, line)
	}))
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

// oneshowback asks oned, as the real one does; there is nothing to calculate.
func (h Host) oneshowback(ctx context.Context, args []string) error {
	if len(args) != 1 || args[0] != "calculate" {
		return errors.New("usage: oneshowback calculate")
	}
	_, err := h.callAsUser(ctx, "one.system.version")
	return err
}
