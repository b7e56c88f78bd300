package exercise_test

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"opennebula-kube/image/exercise"
)

const (
	session       = "oneadmin:it's:secret"
	tokenPassword = "3d81b42eebc63c1de95c9ca2a2e4297d5c3f8f9f9783b9a130ea8503563519af"
)

// installation is an OpenNebula that a test has: its answers have the form of the real one's, and things take some calls to happen.
type installation struct {
	*exercise.Target
	mu    sync.Mutex
	pools map[string][]*thing
	last  map[string]int
	// methods and paths have answers in place of the installation's own: for a method of oned, or for a method and a path of the servers.
	methods map[string]func(params []string) (answer, refusal string)
	paths   map[string]func(w http.ResponseWriter)
	// sessionInCookie is how FireEdge answers from OpenNebula 7.2 on.
	sessionInCookie bool
	// calls are the methods of oned, and the methods and paths of the servers, that were called.
	calls []string
}

// thing is an object in a pool. Its state is the one after the others each time somebody asks.
type thing struct {
	id       int
	name     string
	states   []string
	template string
	guest    string
	machine  int
	runs     int
}

func (i *thing) state() string {
	state := i.states[0]
	if len(i.states) > 1 {
		i.states = i.states[1:]
	}
	return state
}

func install(t *testing.T) *installation {
	t.Helper()
	i := &installation{
		pools: map[string][]*thing{}, last: map[string]int{}, methods: map[string]func([]string) (string, string){}, paths: map[string]func(http.ResponseWriter){},
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /RPC2", i.serveRPC)
	mux.HandleFunc("POST /fireedge/api/auth", i.serveFireEdge)
	for _, pattern := range []string{"GET /vm", "PUT /vm"} {
		mux.HandleFunc(pattern, i.serveOneGate)
	}
	for _, pattern := range []string{"/service", "/service/", "/service_template", "/service_template/"} {
		mux.HandleFunc(pattern, i.serveOneFlow)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		i.mu.Lock()
		defer i.mu.Unlock()
		at := r.Method + " " + r.URL.Path
		if at != "POST /RPC2" {
			i.calls = append(i.calls, at)
		}
		if answer := i.paths[at]; answer != nil {
			answer(w)
			return
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	i.Target = &exercise.Target{
		HTTP: server.Client(), XMLRPC: server.URL + "/RPC2", OneFlow: server.URL, OneGate: server.URL, FireEdge: server.URL, Session: session,
		Limit: 10 * time.Second, Interval: time.Millisecond,
	}
	return i
}

// left are the names of what is in the pools.
func (i *installation) left() (names []string) {
	for kind, pool := range i.pools {
		for _, o := range pool {
			if o.states[0] != "6 0" {
				names = append(names, kind+" "+o.name)
			}
		}
	}
	slices.Sort(names)
	return names
}

func (i *installation) add(kind string, o thing) int {
	o.id = i.last[kind]
	i.last[kind]++
	i.pools[kind] = append(i.pools[kind], &o)
	return o.id
}

func (i *installation) find(kind, id string) *thing {
	for _, o := range i.pools[kind] {
		if strconv.Itoa(o.id) == id {
			return o
		}
	}
	return nil
}

func (i *installation) remove(kind, id string) {
	i.pools[kind] = slices.DeleteFunc(i.pools[kind], func(o *thing) bool { return strconv.Itoa(o.id) == id })
}

// serveRPC answers in the form that oned's answers have.
func (i *installation) serveRPC(w http.ResponseWriter, r *http.Request) {
	var call struct {
		Method string `xml:"methodName"`
		Params []struct {
			Inner string `xml:",innerxml"`
		} `xml:"params>param>value"`
	}
	if err := xml.NewDecoder(r.Body).Decode(&call); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	var params []string
	for _, p := range call.Params {
		_, value, _ := strings.Cut(p.Inner, ">")
		value, _, _ = strings.Cut(value, "</")
		params = append(params, html.UnescapeString(value))
	}
	i.calls = append(i.calls, call.Method)
	answer, refusal := i.oned(call.Method, params)
	w.Header().Set("Content-Type", "text/xml; charset=utf-8")
	values := "<value><boolean>1</boolean></value>\r\n<value><string>" + html.EscapeString(answer) + "</string></value>\r\n<value><i4>0</i4></value>"
	if refusal != "" {
		values = "<value><boolean>0</boolean></value>\r\n<value><string>[" + call.Method + "] " + html.EscapeString(refusal) +
			"</string></value>\r\n<value><i4>1024</i4></value>\r\n<value><i4>-1</i4></value>\r\n<value><i8>-1</i8></value>"
	}
	_, _ = io.WriteString(w, xml.Header+"<methodResponse>\r\n<params>\r\n<param><value><array><data>\r\n"+values+"\r\n</data></array></value></param>\r\n</params>\r\n</methodResponse>\r\n")
}

func (i *installation) oned(method string, params []string) (answer, refusal string) {
	if len(params) == 0 || params[0] != session {
		return "", "User couldn't be authenticated, aborting call."
	}
	params = params[1:]
	if answer := i.methods[method]; answer != nil {
		return answer(params)
	}
	kind, what, _ := strings.Cut(strings.TrimPrefix(method, "one."), ".")
	if base, ok := strings.CutSuffix(kind, "pool"); ok && what == "info" {
		text := "<" + strings.ToUpper(base) + "_POOL>"
		for _, o := range i.pools[base] {
			// What is over is told only to those who ask for it.
			if base != "vm" || o.states[0] != "6 0" {
				text += fmt.Sprintf("<%s><ID>%d</ID><NAME>%s</NAME></%s>", strings.ToUpper(base), o.id, o.name, strings.ToUpper(base))
			}
		}
		return text + "</" + strings.ToUpper(base) + "_POOL>", ""
	}
	switch method {
	case "one.user.info":
		return "<USER><ID>0</ID><GID>0</GID><NAME>oneadmin</NAME><TEMPLATE><TOKEN_PASSWORD><![CDATA[" + tokenPassword + "]]></TOKEN_PASSWORD></TEMPLATE></USER>", ""
	case "one.vmpool.calculateshowback":
		return "", ""
	case "one.vmpool.showback":
		text := "<SHOWBACK_RECORDS>"
		for _, o := range i.pools["vm"] {
			text += fmt.Sprintf("<SHOWBACK><VMID>%d</VMID><VMNAME>%s</VMNAME></SHOWBACK>", o.id, o.name)
		}
		return text + "</SHOWBACK_RECORDS>", ""
	}
	switch what {
	case "allocate":
		return strconv.Itoa(i.add(kind, i.made(kind, params))), ""
	case "action":
		params[0], params[1] = params[1], params[0]
	}
	o := i.find(kind, params[0])
	if o == nil {
		return "", "Error getting " + map[string]string{"vm": "virtual machine", "template": "virtual machine template"}[kind] + " [" + params[0] + "]."
	}
	switch what {
	case "info":
		return i.info(kind, o)
	case "action", "recover":
		o.states = []string{"3 11", "6 0"}
	case "unlock":
		// The first call comes before the hook manager has heard of the hook.
		o.runs++
	case "delete":
		if kind != "image" {
			i.remove(kind, params[0])
			return params[0], ""
		}
		o.states = []string{"7", "gone"}
	}
	return params[0], ""
}

// made is a new object, with the states that it goes through.
func (i *installation) made(kind string, params []string) thing {
	if kind == "host" {
		return thing{name: params[0], states: []string{"0", "0", "2"}}
	}
	_, name, _ := strings.Cut(params[0], `NAME = "`)
	name, _, _ = strings.Cut(name, `"`)
	return thing{name: name, template: params[0], states: map[string][]string{
		"datastore": {"0", "20480"}, "image": {"4", "1"}, "vm": {"1 0", "3 1", "3 2", "3 3"}, "template": {""}, "hook": {""},
	}[kind]}
}

func (i *installation) info(kind string, o *thing) (answer, refusal string) {
	state := o.state()
	switch kind {
	case "host":
		answer = "<STATE>" + state + "</STATE><TEMPLATE></TEMPLATE>"
	case "datastore":
		answer = "<TOTAL_MB>" + state + "</TOTAL_MB>"
	case "image":
		if state == "gone" {
			i.remove(kind, strconv.Itoa(o.id))
			return "", fmt.Sprintf("Error getting image [%d].", o.id)
		}
		answer = "<STATE>" + state + "</STATE><TEMPLATE></TEMPLATE>"
	case "hook":
		answer = "<TEMPLATE><CALL><![CDATA[one.hook.unlock]]></CALL></TEMPLATE><HOOKLOG>"
		if o.runs > 1 {
			answer += "<HOOK_EXECUTION_RECORD><HOOK_ID>0</HOOK_ID><EXECUTION_ID>0</EXECUTION_ID><ARGUMENTS></ARGUMENTS><EXECUTION_RESULT><COMMAND>/bin/true</COMMAND>" +
				"<STDOUT></STDOUT><STDERR></STDERR><CODE>0</CODE></EXECUTION_RESULT></HOOK_EXECUTION_RECORD>"
		}
		answer += "</HOOKLOG>"
	case "vm":
		vm, lcm, _ := strings.Cut(state, " ")
		answer = "<STATE>" + vm + "</STATE><LCM_STATE>" + lcm + "</LCM_STATE><STIME>1764341000</STIME><TEMPLATE><CREATED_BY><![CDATA[0]]></CREATED_BY></TEMPLATE>" +
			"<USER_TEMPLATE><ONE_EXERCISE_GUEST><![CDATA[" + o.guest + "]]></ONE_EXERCISE_GUEST></USER_TEMPLATE>"
		if vm == "3" {
			answer += "<HISTORY_RECORDS><HISTORY><OID>0</OID><SEQ>0</SEQ><HID>" + strconv.Itoa(i.last["host"]-1) + "</HID></HISTORY></HISTORY_RECORDS>"
		}
	}
	root := strings.ToUpper(kind)
	return fmt.Sprintf("<%s><ID>%d</ID><NAME>%s</NAME>%s</%s>", root, o.id, o.name, answer, root), ""
}

func (i *installation) serveFireEdge(w http.ResponseWriter, r *http.Request) {
	var given struct{ User, Token string }
	if err := json.NewDecoder(r.Body).Decode(&given); err != nil || given.User+":"+given.Token != session {
		http.Error(w, `{"id":401,"message":"Unauthorized"}`, http.StatusUnauthorized)
		return
	}
	if i.sessionInCookie {
		w.Header().Set("Set-Cookie", "FireedgeToken=%7B%22token%22%3A%22eyJh%22%7D; Max-Age=10800; Path=/; HttpOnly; SameSite=Lax")
		_, _ = io.WriteString(w, `{"id":200,"message":"OK","data":{"status":"ok"}}`)
		return
	}
	_, _ = io.WriteString(w, `{"id":200,"message":"OK","data":{"token":"eyJh","id":"0"}}`)
}

func (i *installation) serveOneGate(w http.ResponseWriter, r *http.Request) {
	id := r.Header.Get("X-ONEGATE-VMID")
	o := i.find("vm", id)
	if o == nil || opened(r.Header.Get("X-ONEGATE-TOKEN")) != id+":1764341000" {
		http.Error(w, "Not authorized", http.StatusUnauthorized)
		return
	}
	if r.Method == http.MethodPut {
		body, _ := io.ReadAll(r.Body)
		o.guest = strings.Trim(strings.TrimPrefix(string(body), "ONE_EXERCISE_GUEST="), `"`)
		return
	}
	_, _ = fmt.Fprintf(w, `{"VM":{"NAME":"%s","ID":"%s","STATE":"3","LCM_STATE":"3","USER_TEMPLATE":{},"TEMPLATE":{"NIC":[],"NIC_ALIAS":[]}}}`, o.name, id)
}

// opened decrypts a token as OneGate does.
func opened(token string) string {
	text, err := base64.StdEncoding.DecodeString(token)
	if err != nil || len(text) == 0 || len(text)%aes.BlockSize != 0 {
		return ""
	}
	block, err := aes.NewCipher([]byte(tokenPassword[:32]))
	if err != nil {
		return err.Error()
	}
	cipher.NewCBCDecrypter(block, make([]byte, aes.BlockSize)).CryptBlocks(text, text)
	padding := int(text[len(text)-1])
	if padding > aes.BlockSize {
		return ""
	}
	return string(text[:len(text)-padding])
}

func (i *installation) serveOneFlow(w http.ResponseWriter, r *http.Request) {
	user, password, _ := r.BasicAuth()
	if user+":"+password != session {
		http.Error(w, "Invalid credentials", http.StatusUnauthorized)
		return
	}
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	kind := parts[0]
	if len(parts) == 1 {
		i.serveFlowPool(w, r, kind)
		return
	}
	o := i.find(kind, parts[1])
	if o == nil {
		http.Error(w, "[one.document.info] Error getting document ["+parts[1]+"].", http.StatusNotFound)
		return
	}
	switch {
	case r.Method == http.MethodGet:
		state := o.state()
		if state == "gone" {
			i.remove(kind, parts[1])
			http.Error(w, "[one.document.info] Error getting document ["+parts[1]+"].", http.StatusNotFound)
			return
		}
		_, _ = io.WriteString(w, `{"DOCUMENT":`+i.flowDocument(o, state)+"}")
	case r.Method == http.MethodDelete && kind == "service_template":
		i.remove(kind, parts[1])
		w.WriteHeader(http.StatusNoContent)
	case kind == "service":
		// Undeployed, or recovered by removal.
		if o.states[0] != "2" && r.Method == http.MethodDelete {
			http.Error(w, "Service cannot be undeployed in state: DEPLOYING", http.StatusInternalServerError)
			return
		}
		i.find("vm", strconv.Itoa(o.machine)).states = []string{"6 0"}
		o.states = []string{"3", "gone"}
		w.WriteHeader(http.StatusNoContent)
	default:
		machine := i.add("vm", thing{name: "one_exercise_role_0_(service_0)", states: []string{"1 0", "3 3"}})
		id := i.add("service", thing{name: o.name, states: []string{"1", "2"}, machine: machine})
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, `{"DOCUMENT":`+i.flowDocument(i.find("service", strconv.Itoa(id)), "0")+"}")
	}
}

func (i *installation) flowDocument(o *thing, state string) string {
	if state == "" {
		state = "0"
	}
	return fmt.Sprintf(`{"ID":"%d","NAME":"%s","TEMPLATE":{"BODY":{"state":%s,"roles":[{"name":"one_exercise_role","nodes":[{"deploy_id":%d}]}],"log":[`+
		`{"timestamp":1764341000,"severity":"I","message":"New state: DEPLOYING_NETS"}]}}}`, o.id, o.name, state, o.machine)
}

func (i *installation) serveFlowPool(w http.ResponseWriter, r *http.Request, kind string) {
	if r.Method == http.MethodPost {
		var given struct{ Name string }
		if err := json.NewDecoder(r.Body).Decode(&given); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		id := i.add(kind, thing{name: given.Name, states: []string{""}})
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, `{"DOCUMENT":`+i.flowDocument(i.find(kind, strconv.Itoa(id)), "")+"}")
		return
	}
	var all []string
	for _, o := range i.pools[kind] {
		all = append(all, i.flowDocument(o, ""))
	}
	if all == nil {
		_, _ = io.WriteString(w, `{"DOCUMENT_POOL":{}}`)
		return
	}
	_, _ = io.WriteString(w, `{"DOCUMENT_POOL":{"DOCUMENT":[`+strings.Join(all, ",")+`]}}`)
}
