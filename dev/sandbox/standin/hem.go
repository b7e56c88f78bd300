package standin

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	hemConfig = "/etc/one/onehem-server.conf"
	hemLog    = "/var/log/one/onehem.log"
)

// How long the hook manager waits for oned, to connect and for its hooks, and how often it asks for those.
const (
	reconnectEvery = 100 * time.Millisecond
	askEvery       = 500 * time.Millisecond
	askTimes       = 300
)

// hookManager is onehem-server: it hears of calls from oned's driver, runs the hooks that these calls have, and reports what came of it.
type hookManager struct {
	host     Host
	basePath string
	replies  string
	slots    chan struct{}
	running  sync.WaitGroup

	logging sync.Mutex
	log     io.Writer

	// hooks are nil until oned has told them.
	hooks map[int]hookDocument
}

// hem runs the hook manager until ctx is done.
func (h Host) hem(ctx context.Context) error {
	config := struct {
		BasePath    string `yaml:":hook_base_path"`
		Events      string `yaml:":subscriber_endpoint"`
		Replies     string `yaml:":replier_endpoint"`
		Concurrency int    `yaml:":concurrency"`
	}{"/var/lib/one/remotes/hooks", "tcp://localhost:2101", "tcp://localhost:2102", 10}
	if err := h.readYAML(hemConfig, &config); err != nil {
		return &exitError{1, fmt.Sprintf("Error loading %s: %v", hemConfig, err)}
	}
	if _, err := h.session(); err != nil {
		return err
	}
	log, err := os.OpenFile(h.path(hemLog), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer closeQuietly(log)
	m := &hookManager{
		host: h, basePath: config.BasePath, replies: strings.TrimPrefix(config.Replies, "tcp://"), slots: make(chan struct{}, config.Concurrency), log: log,
	}
	defer m.running.Wait()
	for {
		// A connection that ends comes back with oned, as ZeroMQ's do.
		if err := m.listen(ctx, strings.TrimPrefix(config.Events, "tcp://")); errors.Is(err, errDeaf) {
			_, _ = fmt.Fprintln(h.Stderr, err)
			<-ctx.Done()
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(reconnectEvery):
		}
	}
}

func (m *hookManager) logf(level, format string, args ...any) {
	m.logging.Lock()
	defer m.logging.Unlock()
	_, _ = fmt.Fprintf(m.log, "%s [%s]: %s\n", m.host.Now().Format(time.ANSIC), level, fmt.Sprintf(format, args...))
}

// listen handles events until the connection or ctx ends.
func (m *hookManager) listen(ctx context.Context, address string) error {
	connection, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer closeQuietly(connection)
	defer context.AfterFunc(ctx, func() { closeQuietly(connection) })()
	lines := bufio.NewReader(connection)
	if line, err := lines.ReadString('\n'); err != nil || line != subscribed+"\n" {
		return fmt.Errorf("%s is no hook driver: %q: %w", address, line, err)
	}
	if m.hooks == nil {
		m.load(ctx)
	}
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return err
		}
		err = m.handle(ctx, line)
		if errors.Is(err, errDeaf) {
			return err
		}
		if err != nil {
			m.logf("E", "%v", err)
		}
	}
}

// load asks oned for the hooks, and goes on without any when that does not tell them for long.
func (m *hookManager) load(ctx context.Context) {
	m.logf("I", "Loading Hooks...")
	var pool struct {
		Hooks []hookDocument `xml:"HOOK"`
	}
	var err error
	for range askTimes {
		var answer string
		if answer, err = m.host.callAsUser(ctx, "one.hookpool.info"); err == nil {
			err = xml.Unmarshal([]byte(answer), &pool)
			break
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(askEvery):
		}
	}
	m.hooks = map[int]hookDocument{}
	if err != nil {
		m.logf("E", "Cannot get hook information: %v", err)
		return
	}
	for _, hook := range pool.Hooks {
		m.hooks[hook.ID] = hook
	}
	m.logf("I", "Hooks successfully loaded")
}

// errDeaf ends the hook manager's listening for good: what oned tells of after that is lost.
var errDeaf = errors.New("undefined method `key' for nil:NilClass")

// handle runs the hooks of an event, and learns from it which hooks there are. A key is EVENT API <call> <result>, or
// EVENT STATE <kind>/<state>/<state of an active machine>/<id>.
func (m *hookManager) handle(ctx context.Context, event string) error {
	fields := strings.Fields(event)
	if len(fields) < 4 {
		return fmt.Errorf("the event %.80q is none", event)
	}
	key := fields[2]
	if fields[1] == "STATE" {
		key = path.Dir(key)
	}
	content, err := base64.StdEncoding.DecodeString(fields[len(fields)-1])
	if err != nil {
		return fmt.Errorf("event %s: %w", key, err)
	}
	message, err := parseDocument(string(content))
	if err != nil {
		return fmt.Errorf("event %s: %w", key, err)
	}
	for _, hook := range m.hooks {
		if hook.key() == key {
			m.running.Go(func() {
				m.slots <- struct{}{}
				defer func() { <-m.slots }()
				m.execute(ctx, hook, message)
			})
		}
	}
	switch {
	case message.get("CALL_INFO/RESULT") != "1":
	case key == "one.hook.allocate":
		return m.reload(ctx, parameter(message, "OUT", "2"))
	case key == "one.hook.delete":
		id, err := strconv.Atoi(parameter(message, "IN", "2"))
		if _, known := m.hooks[id]; !known {
			return errDeaf
		}
		delete(m.hooks, id)
		return err
	}
	return nil
}

// parameter is the value of a parameter of a call, which is IN or OUT, at a position.
func parameter(message *node, kind, position string) string {
	for _, p := range message.at("CALL_INFO/PARAMETERS").all("PARAMETER") {
		if p.get("TYPE") == kind && p.get("POSITION") == position {
			return p.get("VALUE")
		}
	}
	return ""
}

// arguments are those of a hook's command; some stand for what has happened.
func (h hookDocument) arguments(message *node) string {
	arguments := strings.Fields(h.Template.get("ARGUMENTS"))
	for i, argument := range arguments {
		what := map[string]string{"$API": "CALL_INFO", "$TEMPLATE": message.get("HOOK_OBJECT")}[argument]
		if found := message.at(what); what != "" && found != nil {
			arguments[i] = base64.StdEncoding.EncodeToString([]byte(found.String()))
		}
	}
	return strings.Join(arguments, " ")
}

// reload asks oned for one hook.
func (m *hookManager) reload(ctx context.Context, number string) error {
	id, err := strconv.Atoi(number)
	if err != nil {
		return err
	}
	var hook hookDocument
	answer, err := m.host.callAsUser(ctx, "one.hook.info", intValue(id))
	if err == nil {
		err = xml.Unmarshal([]byte(answer), &hook)
	}
	if err != nil {
		return fmt.Errorf("Error getting hook %d: %w", id, err)
	}
	m.hooks[id] = hook
	m.logf("I", "Hook (%d) successfully reloaded", id)
	return nil
}

// execution is what a command has left, for the record of a hook.
type execution struct {
	XMLName xml.Name `xml:"EXECUTION_RESULT"`
	Command string   `xml:"COMMAND"`
	Stdout  string   `xml:"STDOUT"`
	Stderr  string   `xml:"STDERR"`
	Code    int      `xml:"CODE"`
}

// execute runs a hook's command and reports what came of it.
func (m *hookManager) execute(ctx context.Context, hook hookDocument, message *node) {
	command, call, arguments := hook.Template.get("COMMAND"), hook.key(), hook.arguments(message)
	if !path.IsAbs(command) {
		command = m.host.path(path.Join(m.basePath, command))
	}
	m.logf("I", "Executing hook %d for %s", hook.ID, call)
	var stdout, stderr bytes.Buffer
	var stdin io.Reader
	if strings.EqualFold(hook.Template.get("ARGUMENTS_STDIN"), "yes") {
		stdin = strings.NewReader(arguments)
	} else if arguments != "" {
		command += " " + arguments
	}
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", command)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &stdout, &stderr
	// What a command leaves running keeps its output open, and must not keep the hook manager from ending.
	cmd.WaitDelay = time.Second
	result := execution{Command: command}
	if err := cmd.Run(); err != nil {
		result.Code = failed
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			result.Code = exit.ExitCode()
		}
	}
	result.Stdout, result.Stderr = base64.StdEncoding.EncodeToString(stdout.Bytes()), base64.StdEncoding.EncodeToString(stderr.Bytes())
	if result.Code == 0 {
		m.logf("I", "Hook %d successfully executed for %s", hook.ID, call)
	} else {
		m.logf("E", "Failure executing hook %d for %s", hook.ID, call)
	}
	if err := m.report(ctx, hook.ID, arguments, result); err != nil {
		m.logf("E", "report the execution of hook %d: %v", hook.ID, err)
	}
}

func (m *hookManager) report(ctx context.Context, id int, arguments string, result execution) error {
	document, err := xml.Marshal(result)
	if err != nil {
		return err
	}
	connection, err := new(net.Dialer).DialContext(ctx, "tcp", m.replies)
	if err != nil {
		return err
	}
	defer closeQuietly(connection)
	defer context.AfterFunc(ctx, func() { closeQuietly(connection) })()
	packed := base64.StdEncoding.EncodeToString(append([]byte(leaf("ARGUMENTS", arguments).String()), document...))
	if _, err := fmt.Fprintf(connection, "%d %d %s\n", result.Code, id, packed); err != nil {
		return err
	}
	answer, err := bufio.NewReader(connection).ReadString('\n')
	if err == nil && answer != acknowledged+"\n" {
		err = fmt.Errorf("Wrong ACK message: %q", answer)
	}
	return err
}
