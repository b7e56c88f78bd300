package standin

import (
	"bufio"
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
)

// hookDriver is one_hm, by which oned tells hook managers of calls and learns what has become of hooks. In place of ZeroMQ it speaks lines of
// text, on the same ports: a subscriber gets all events, after a line that says it is subscribed, and looks itself for those it is for.
type hookDriver struct {
	record func(hook, code int, result string) error
	log    *onedLogger

	mu          sync.Mutex
	subscribers map[chan string]struct{}
}

// subscribed is the first line that a subscriber gets, acknowledged the answer to a report.
const subscribed, acknowledged = "READY", "ACK"

// highWaterMark is how many events wait for a slow subscriber; more are lost, as with ZeroMQ.
const highWaterMark = 1000

// hookMessage is an event in XML: a call with what came in and went out.
type hookMessage struct {
	XMLName    xml.Name        `xml:"HOOK_MESSAGE"`
	Type       string          `xml:"HOOK_TYPE"`
	Call       string          `xml:"CALL"`
	Result     int             `xml:"CALL_INFO>RESULT"`
	Parameters []hookParameter `xml:"CALL_INFO>PARAMETERS>PARAMETER"`
}

type hookParameter struct {
	Position int    `xml:"POSITION"`
	Type     string `xml:"TYPE"`
	Value    string `xml:"VALUE"`
}

// publish tells the subscribers of a call that hooks can have. One that was passed on to the leader has no result here, and counts as failed.
func (d *hookDriver) publish(request methodCall, result []value) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !supportsHooks(request.Method) || len(d.subscribers) == 0 {
		return nil
	}
	message := hookMessage{Type: "API", Call: request.Method}
	for i, v := range request.Params {
		text := v.scalar()
		if i == 0 {
			text = "****"
		}
		message.Parameters = append(message.Parameters, hookParameter{i + 1, "IN", text})
	}
	for i, v := range result {
		text := v.scalar()
		if i == 0 {
			message.Result = *v.Boolean
			text = strconv.FormatBool(message.Result == 1)
		}
		message.Parameters = append(message.Parameters, hookParameter{i + 1, "OUT", text})
	}
	content, err := xml.Marshal(message)
	if err != nil {
		return err
	}
	d.send(fmt.Sprintf("EVENT API %s %d", message.Call, message.Result), content)
	return nil
}

// publishState tells the subscribers of the new state of a virtual machine.
func (d *hookDriver) publishState(vm *node) {
	d.mu.Lock()
	defer d.mu.Unlock()
	state, lcm, id := vmStates[vm.number("STATE")], lcmStates[vm.number("LCM_STATE")], vm.get("ID")
	remote := ""
	if record := lastRecord(vm); record != nil {
		remote = record.get("HOSTNAME")
	}
	message := elem("HOOK_MESSAGE", leaves("HOOK_TYPE", "STATE", "HOOK_OBJECT", "VM", "STATE", state, "LCM_STATE", lcm, "RESOURCE_ID", id,
		"REMOTE_HOST", remote)...)
	message.children = append(message.children, vm)
	d.send(fmt.Sprintf("EVENT STATE VM/%s/%s/%s", state, lcm, id), []byte(message.String()))
}

// send gives an event to all subscribers.
func (d *hookDriver) send(key string, content []byte) {
	line := key + " " + base64.StdEncoding.EncodeToString(content) + "\n"
	for events := range d.subscribers {
		select {
		case events <- line:
		default:
		}
	}
}

// subscribe sends the events to a connection until its other end closes it.
func (d *hookDriver) subscribe(connection net.Conn) {
	events := make(chan string, highWaterMark)
	d.mu.Lock()
	d.subscribers[events] = struct{}{}
	events <- subscribed + "\n"
	d.mu.Unlock()
	gone := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, connection)
		close(gone)
	}()
	for open := true; open; {
		select {
		case line := <-events:
			_, err := io.WriteString(connection, line)
			open = err == nil
		case <-gone:
			open = false
		}
	}
	d.mu.Lock()
	delete(d.subscribers, events)
	d.mu.Unlock()
}

// receive takes reports from a connection: the exit status of a hook, its id, and what is to be recorded.
func (d *hookDriver) receive(connection net.Conn) {
	for lines := bufio.NewReader(connection); ; {
		line, err := lines.ReadString('\n')
		if err != nil {
			return
		}
		if _, err := io.WriteString(connection, acknowledged+"\n"); err != nil {
			return
		}
		if err := d.take(strings.TrimSuffix(line, "\n")); err != nil {
			d.log.logf(levelError, "HKM", "Hook execution %.80q: %v", line, err)
		}
	}
}

func (d *hookDriver) take(report string) error {
	var code, id int
	var packed string
	if _, err := fmt.Sscan(report, &code, &id, &packed); err != nil {
		return err
	}
	result, err := base64.StdEncoding.DecodeString(packed)
	if err != nil {
		return err
	}
	return d.record(id, code, string(result))
}

// accept has each connection handled until stop is called, which waits for that to end.
func accept(listener net.Listener, handle func(net.Conn)) (stop func()) {
	var mu sync.Mutex
	var closed bool
	open := map[net.Conn]struct{}{}
	var handlers sync.WaitGroup
	handlers.Go(func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			if closed {
				closeQuietly(connection)
			} else {
				open[connection] = struct{}{}
				handlers.Go(func() {
					handle(connection)
					closeQuietly(connection)
					mu.Lock()
					delete(open, connection)
					mu.Unlock()
				})
			}
			mu.Unlock()
		}
	})
	return func() {
		closeQuietly(listener)
		mu.Lock()
		closed = true
		for connection := range open {
			closeQuietly(connection)
		}
		mu.Unlock()
		handlers.Wait()
	}
}
