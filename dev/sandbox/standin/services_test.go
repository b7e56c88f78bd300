package standin_test

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// serve runs a service until the test ends, and returns its URL. Its configuration has no address.
func (m *machine) serve(program, script, file, config string) string {
	m.t.Helper()
	m.write("/etc/one/"+file, config)
	m.write(script, "")
	opened := make(chan string, 1)
	host := m.host
	host.Listen = func(ctx context.Context, network, _ string) (net.Listener, error) {
		l, err := new(net.ListenConfig).Listen(ctx, network, "127.0.0.1:0")
		opened <- "http://" + l.Addr().String()
		return l, err
	}
	said := &lockedBuffer{}
	host.Stdout, host.Stderr = said, said
	ctx, cancel := context.WithCancel(m.t.Context())
	ended := make(chan int, 1)
	go func() { ended <- host.Run(ctx, program, script) }()
	m.t.Cleanup(func() {
		cancel()
		if status := <-ended; status != 0 {
			m.t.Errorf("%s ends with %d: %s", script, status, said)
		}
	})
	select {
	case at := <-opened:
		return at
	case status := <-ended:
		m.t.Fatalf("%s ends with %d: %s", script, status, said)
		return ""
	}
}

// request makes a request and returns its status and the body of the answer.
func request(t *testing.T, method, url, body string, prepare func(*http.Request)) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if prepare != nil {
		prepare(r)
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(response.Body)
	_ = response.Body.Close()
	if err != nil {
		t.Fatal(err)
	}
	return response, strings.TrimSpace(string(answer))
}

func TestFireEdge(t *testing.T) {
	for _, version := range []string{"7.0.1", "7.2.0"} {
		t.Run(version, func(t *testing.T) {
			m := newMachine(t, version)
			m.start()
			m.write("/usr/lib/one/fireedge/dist/client/app.js", "script")
			at := m.serve("node", "/usr/lib/one/fireedge/dist/index.js", "fireedge-server.conf", "host: 127.0.0.1\nport: 2616\ndebug_level: 2\none_xmlrpc: "+m.env["ONE_XMLRPC"]+"\n")
			for _, c := range []struct{ body, want string }{
				{`{"user": "oneadmin", "token": "other"}`, `401 Unauthorized {"id":401,"message":"Unauthorized"}`},
				{`{"user": "nobody", "token": "first secret"}`, `401 Unauthorized {"id":401,"message":"Unauthorized"}`},
				{`{"user": "oneadmin"}`, `500 Internal Server Error {"id":500,"message":"Internal Server Error"}`},
			} {
				if response, body := request(t, http.MethodPost, at+"/fireedge/api/auth", c.body, nil); response.Status+" "+body != c.want {
					t.Errorf("%s: %s %s, want %s", c.body, response.Status, body, c.want)
				}
			}
			if response, _ := request(t, http.MethodPost, at+"/fireedge/api/auth", "no JSON", nil); response.StatusCode != http.StatusBadRequest {
				t.Errorf("no JSON: %s", response.Status)
			}
			response, body := request(t, http.MethodPost, at+"/fireedge/api/auth", `{"user": "oneadmin", "token": "first secret"}`, nil)
			if response.StatusCode != http.StatusOK {
				t.Fatalf("login: %s %s", response.Status, body)
			}
			if version != "7.0.1" {
				cookies := response.Cookies()
				if body != `{"id":200,"message":"OK","data":{"status":"ok"}}` || len(cookies) != 1 || cookies[0].Name != "FireedgeToken" {
					t.Fatalf("login: %s, %v", body, cookies)
				}
				value, err := url.QueryUnescape(cookies[0].Value)
				if err != nil {
					t.Fatal(err)
				}
				body = `{"data":` + value + "}"
			}
			var session struct{ Data struct{ Token string } }
			if err := json.Unmarshal([]byte(body), &session); err != nil {
				t.Fatal(err)
			}
			if log := m.read("/var/log/one/fireedge.log"); !strings.Contains(log, "[info] worker: user.info, [-1,false]: <PASSWORD>") {
				t.Errorf("log %q, want it to have the beginning of the answer", log)
			}
			parts := strings.Split(session.Data.Token, ".")
			sign := hmac.New(sha256.New, []byte(m.read("/var/lib/one/.one/fireedge_key")))
			_, _ = io.WriteString(sign, strings.Join(parts[:len(parts)-1], "."))
			claims, err := base64.RawURLEncoding.DecodeString(parts[1])
			if err != nil || parts[len(parts)-1] != base64.RawURLEncoding.EncodeToString(sign.Sum(nil)) || !strings.Contains(string(claims), `"iss":"0"`) {
				t.Errorf("session %q of %s, %v", parts, claims, err)
			}
			for path, want := range map[string]string{
				"/": "302 /fireedge/sunstone", "/fireedge/": "302 /fireedge/sunstone", "/fireedge/client/none.js": "302 /fireedge/sunstone", "/fireedge/client": "302 /fireedge/sunstone",
				"/fireedge/sunstone": "200 ", "/fireedge/client/app.js": "200 ", "/fireedge/api/none": "404 ",
			} {
				if response, _ := request(t, http.MethodGet, at+path, "", nil); fmt.Sprintf("%d %s", response.StatusCode, response.Header.Get("Location")) != want {
					t.Errorf("%s: %s to %q, want %s", path, response.Status, response.Header.Get("Location"), want)
				}
			}
			m.write("/var/lib/one/.one/sunstone_auth", "serveradmin:another\n")
			if response, _ := request(t, http.MethodPost, at+"/fireedge/api/auth", `{"user": "oneadmin", "token": "first secret"}`, nil); response.StatusCode != http.StatusInternalServerError {
				t.Errorf("with a wrong secret of serveradmin the login has the status %s", response.Status)
			}
		})
	}
}

// TestServerAdmin has serveradmin act for users, as services do.
func TestServerAdmin(t *testing.T) {
	m := newMachine(t, "7.0.1")
	m.start()
	secret := strings.TrimSpace(strings.TrimPrefix(m.read("/var/lib/one/.one/oneflow_auth"), "serveradmin:"))
	now := m.host.Now()
	session := func(secret, text string) string {
		key := digest(secret)
		return sealed(t, key[:32], key[:16], text)
	}
	in := func(server, target string, expires time.Time) string {
		return fmt.Sprintf("%s:%s:%d", server, target, expires.Unix())
	}
	for session, want := range map[string]string{
		"serveradmin:oneadmin:" + session(secret, in("serveradmin", "oneadmin", now.Add(time.Minute))):    "<NAME>oneadmin</NAME>",
		"serveradmin:oneadmin:0:" + session(secret, in("serveradmin", "oneadmin", now.Add(time.Minute))):  "<NAME>oneadmin</NAME>",
		"serveradmin:oneadmin:" + session(secret, in("serveradmin", "oneadmin", now)):                     "",
		"serveradmin:oneadmin:" + session("another", in("serveradmin", "oneadmin", now.Add(time.Minute))): "",
		"serveradmin:oneadmin:" + session(secret, in("oneadmin", "oneadmin", now.Add(time.Minute))):       "",
		"serveradmin:nobody:" + session(secret, in("serveradmin", "nobody", now.Add(time.Minute))):        "",
		"serveradmin:" + secret: "", "serveradmin:oneadmin:": "", "serveradmin:oneadmin:x:y": "",
	} {
		answer := m.askAs(session, "one.user.info", -1)
		if want == "" && answer[0] != "0" || want != "" && !strings.Contains(answer[1], want) {
			t.Errorf("%.60s is answered with %q, want %q", session, answer, want)
		}
	}
}

// flowDocument is what a test reads of a document of OneFlow's.
type flowDocument struct {
	Document struct {
		ID       string
		Template struct {
			Body struct {
				State int
				Roles []struct {
					State int
					Nodes []struct {
						ID int `json:"deploy_id"`
					}
				}
				Log []struct{ Message string }
			} `json:"BODY"`
		} `json:"TEMPLATE"`
	} `json:"DOCUMENT"`
}

func TestOneFlow(t *testing.T) {
	m := newObjectsMachine(t, objectsConfig+scheduler)
	m.start()
	m.ask("one.host.allocate", "h1", "dummy", "dummy", -1)
	m.ask("one.datastore.update", 0, "TYPE = SYSTEM_DS\nTM_MAD = dummy", 1)
	m.ask("one.template.allocate", "NAME = small\nCPU = 0.1\nMEMORY = 64")
	m.ask("one.user.allocate", "bob", "his", "")
	at := m.serve("ruby", "/usr/lib/one/oneflow/oneflow-server.rb", "oneflow-server.conf", ":host: 127.0.0.1\n:port: 2474\n:one_xmlrpc: "+m.env["ONE_XMLRPC"]+"\n")
	as := func(user, password string) func(*http.Request) {
		return func(r *http.Request) { r.SetBasicAuth(user, password) }
	}
	flow := func(method, path, body string, status int) (d flowDocument) {
		t.Helper()
		response, answer := request(t, method, at+path, body, as("oneadmin", "first secret"))
		if response.StatusCode != status {
			t.Fatalf("%s %s: %s %s, want %d", method, path, response.Status, answer, status)
		}
		if status != http.StatusNoContent && status < 400 {
			if err := json.Unmarshal([]byte(answer), &d); err != nil {
				t.Fatal(err)
			}
		}
		return d
	}
	for _, c := range []struct {
		prepare func(*http.Request)
		want    string
	}{
		{nil, "401 A username and password must be provided"}, {as("oneadmin", "other"), "401 Invalid credentials"}, {as("bob", "his"), `200 {
  "DOCUMENT_POOL": {}
}`},
	} {
		if response, body := request(t, http.MethodGet, at+"/service", "", c.prepare); fmt.Sprint(response.StatusCode, " ", body) != c.want {
			t.Errorf("%s %q, want %q", response.Status, body, c.want)
		}
	}
	flow(http.MethodPost, "/service_template", `{"name": "none"}`, 400)
	template := flow(http.MethodPost, "/service_template", `{"name": "s", "deployment": "straight", "roles": [
		{"name": "r1", "type": "vm", "cardinality": 2, "template_id": 0}, {"name": "r2", "type": "vm", "cardinality": 1, "template_id": 0, "parents": ["r1"]}]}`, 201)
	service := flow(http.MethodPost, "/service_template/"+template.Document.ID+"/action", `{"action": {"perform": "instantiate", "params": {}}}`, 201)
	path := "/service/" + service.Document.ID
	waitFor(t, "the service to run", func() bool {
		service = flow(http.MethodGet, path, "", 200)
		return service.Document.Template.Body.State == 2
	})
	body := service.Document.Template.Body
	var log []string
	for _, entry := range body.Log {
		log = append(log, entry.Message)
	}
	if diff := cmp.Diff([]string{"New state: DEPLOYING_NETS", "New state: DEPLOYING", "New state: RUNNING"}, log); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
	if len(body.Roles) != 2 || len(body.Roles[0].Nodes) != 2 || len(body.Roles[1].Nodes) != 1 || body.Roles[1].Nodes[0].ID != 2 {
		t.Errorf("roles %+v", body.Roles)
	}
	for i, name := range []string{"r1_0_(service_1)", "r1_1_(service_1)", "r2_0_(service_1)"} {
		vm := m.ask("one.vm.info", i)
		if !strings.Contains(vm, "<NAME>"+name+"</NAME>") || !strings.Contains(vm, running) ||
			!strings.Contains(vm, "<USER_TEMPLATE><ROLE_NAME><![CDATA["+name[:2]+"]]></ROLE_NAME><SERVICE_ID><![CDATA[1]]></SERVICE_ID></USER_TEMPLATE>") {
			t.Errorf("machine %d of the service: %s", i, vm)
		}
	}
	if response, _ := request(t, http.MethodGet, at+path, "", as("bob", "his")); response.StatusCode != http.StatusUnauthorized {
		t.Errorf("another's service: %s", response.Status)
	}
	flow(http.MethodDelete, path, "", 204)
	waitFor(t, "the service to be gone", func() bool {
		response, _ := request(t, http.MethodGet, at+path, "", as("oneadmin", "first secret"))
		return response.StatusCode == http.StatusNotFound
	})
	m.is(done, "one.vm.info", 2)

	// A template with a machine that nothing is known of.
	broken := flow(http.MethodPost, "/service_template", `{"name": "b", "roles": [{"name": "r", "template_id": 7}]}`, 201)
	service = flow(http.MethodPost, "/service_template/"+broken.Document.ID+"/action", `{"action": {"perform": "instantiate"}}`, 201)
	path = "/service/" + service.Document.ID
	waitFor(t, "the service to fail", func() bool { return flow(http.MethodGet, path, "", 200).Document.Template.Body.State == 7 })
	flow(http.MethodDelete, path, "", 500)
	flow(http.MethodPost, path+"/action", `{"action": {"perform": "recover", "params": {"delete": true}}}`, 204)
	waitFor(t, "the failed service to be gone", func() bool {
		response, _ := request(t, http.MethodGet, at+path, "", as("oneadmin", "first secret"))
		return response.StatusCode == http.StatusNotFound
	})

	// A service that waits until its machine says that it is ready, and one whose machine cannot start.
	m.ask("one.template.allocate", "NAME = lost\nCPU = 0.1\nMEMORY = 64\nSCHED_DS_REQUIREMENTS = \"NAME = vms\"")
	m.ask("one.datastore.allocate", "NAME = vms\nTYPE = SYSTEM_DS\nTM_MAD = local", -1)
	for i, c := range []struct {
		template string
		state    int
	}{{`{"name": "g", "ready_status_gate": true, "roles": [{"name": "r", "template_id": 0}]}`, 2}, {`{"name": "l", "roles": [{"name": "r", "template_id": 1}]}`, 7}} {
		made := flow(http.MethodPost, "/service_template", c.template, 201)
		service = flow(http.MethodPost, "/service_template/"+made.Document.ID+"/action", `{"action": {"perform": "instantiate"}}`, 201)
		if i == 0 {
			waitFor(t, "the machine to run", func() bool { return strings.Contains(m.askAs("oneadmin:first secret", "one.vm.info", 3)[1], running) })
			if state := flow(http.MethodGet, "/service/"+service.Document.ID, "", 200).Document.Template.Body.State; state == 2 {
				t.Error("the service runs before its machine is ready")
			}
			m.ask("one.vm.update", 3, "READY = YES", 1)
		}
		waitFor(t, fmt.Sprintf("service %d to be in state %d", i, c.state), func() bool {
			return flow(http.MethodGet, "/service/"+service.Document.ID, "", 200).Document.Template.Body.State == c.state
		})
	}
	flow(http.MethodDelete, "/service_template/"+template.Document.ID, "", 204)
	flow(http.MethodGet, "/service_template/"+template.Document.ID, "", 404)
	flow(http.MethodGet, "/service/"+broken.Document.ID, "", 404)
}

// TestOneFlowCatchesUp has a service that was deploying when OneFlow ended.
func TestOneFlowCatchesUp(t *testing.T) {
	m := newObjectsMachine(t, objectsConfig+scheduler)
	m.start()
	m.ask("one.host.allocate", "h1", "dummy", "dummy", -1)
	m.ask("one.datastore.update", 0, "TYPE = SYSTEM_DS\nTM_MAD = dummy", 1)
	m.ask("one.template.allocate", "NAME = small\nCPU = 0.1\nMEMORY = 64")
	m.ask("one.document.allocate", `<TEMPLATE><NAME>s</NAME><BODY><![CDATA[{"name":"s","state":11,"roles":[{"name":"r","template_id":0,"state":0}]}]]></BODY></TEMPLATE>`, 100)
	m.serve("ruby", "/usr/lib/one/oneflow/oneflow-server.rb", "oneflow-server.conf", ":host: 127.0.0.1\n:port: 2474\n:one_xmlrpc: "+m.env["ONE_XMLRPC"]+"\n")
	m.is(`"state":2`, "one.document.info", 0)
	m.is(running, "one.vm.info", 0)
}

func TestOneGate(t *testing.T) {
	m := newObjectsMachine(t, objectsConfig+scheduler)
	m.start()
	m.ask("one.host.allocate", "h1", "dummy", "dummy", -1)
	m.ask("one.datastore.update", 0, "TYPE = SYSTEM_DS\nTM_MAD = dummy", 1)
	m.ask("one.vn.allocate", "NAME = net1\nVN_MAD = dummy\nBRIDGE = br0\nAR = [ TYPE = IP4, IP = 10.1.1.10, SIZE = 2 ]", -1)
	m.ask("one.vm.allocate", "NAME = v0\nCPU = 1\nMEMORY = 64\nCONTEXT = [ TOKEN = YES ]\nNIC = [ NETWORK = net1 ]", 0)
	vm := m.is(running, "one.vm.info", 0)
	password := regexp.MustCompile(`<TOKEN_PASSWORD><!\[CDATA\[(.*?)\]\]>`).FindStringSubmatch(m.ask("one.user.info", 0))[1]
	stime := regexp.MustCompile(`<STIME>(\d+)</STIME>`).FindStringSubmatch(vm)[1]
	token := sealed(t, password[:32], strings.Repeat("\x00", 16), "0:"+stime)
	if got := strings.TrimSpace(m.read("/var/lib/one/vms/0/token.txt")); got != token {
		t.Errorf("the machine's token is %q, want %q", got, token)
	}
	const config = ":host: 127.0.0.1\n:port: 5030\n:one_xmlrpc: "
	const permissions = "\n:permissions:\n  :vm:\n    :show: true\n    :update: true\n"
	at := m.serve("ruby", "/usr/lib/one/onegate/onegate-server.rb", "onegate-server.conf", config+m.env["ONE_XMLRPC"]+permissions)
	with := func(token string) func(*http.Request) {
		return func(r *http.Request) {
			r.Header.Set("X-ONEGATE-VMID", "0")
			if token != "" {
				r.Header.Set("X-ONEGATE-TOKEN", token)
			}
		}
	}
	for _, c := range []struct {
		method, path, token, body, want string
	}{
		{http.MethodGet, "/", token, "", `200 {"service_info":"` + at + `/service","vm_info":"` + at + `/vm"}`},
		{http.MethodGet, "/", "", "", "401 Not authorized"},
		{http.MethodGet, "/vm", "", "", "401 Not authorized"},
		{http.MethodGet, "/vm", "bm9uc2Vuc2U=", "", "401 Not authorized"},
		{http.MethodGet, "/vm", sealed(t, strings.Repeat("0", 32), strings.Repeat("\x00", 16), "0:"+stime), "", "401 Not authorized"},
		{http.MethodGet, "/vm", sealed(t, password[:32], strings.Repeat("\x00", 16), "1:"+stime), "", "401 Not authorized"},
		{http.MethodPut, "/vm", token, "ready=\"YES\"\nOTHER=a b\n", "200 "},
		{http.MethodPut, "/vm", token, "SERVICE_ID=1", "403 Attribute (SERVICE_ID) cannot be modified"},
		{http.MethodGet, "/vm", token, "", `200 {"VM":{"ID":"0","LCM_STATE":"3","NAME":"v0","STATE":"3","TEMPLATE":{"NIC":[{"IP":"10.1.1.10","MAC":"02:00:0a:01:01:0a","NAME":"NIC0","NETWORK":"net1"}],` +
			`"NIC_ALIAS":[]},"USER_TEMPLATE":{"OTHER":"a b","READY":"YES"}}}`},
		{http.MethodGet, "/nothing", token, "", "400 OneGate server doesn't support this feature"},
	} {
		if response, body := request(t, c.method, at+c.path, c.body, with(c.token)); fmt.Sprint(response.StatusCode, " ", body) != c.want {
			t.Errorf("%s %s %q: %s %s, want %s", c.method, c.path, c.body, response.Status, body, c.want)
		}
	}
	log := m.read("/var/log/one/onegate.log")
	for _, want := range []string{"[E]: X_ONEGATE_TOKEN header not preset\n", "[I]: Unauthorized login attempt\n", "[E]: VMID:0 token content does not match\n", "[E]: VMID:0 token decrypt error"} {
		if !strings.Contains(log, want) {
			t.Errorf("no %q in the log:\n%s", want, log)
		}
	}
	if !slices.Contains(strings.Split(m.read("/var/log/one/0.log"), "\n"), "Fri Apr  3 02:01:00 2026 [Z0][VMM][I]: Generating deployment file: /var/lib/one/vms/0/deployment.0") {
		t.Errorf("the machine's log: %s", m.read("/var/log/one/0.log"))
	}
	without := m.serve("ruby", "/usr/lib/one/onegate/onegate-server.rb", "onegate-server.conf", config+m.env["ONE_XMLRPC"]+"\n")
	if response, body := request(t, http.MethodGet, without+"/vm", "", with(token)); response.StatusCode != http.StatusForbidden || body != "Action (show) on resource (vm) not supported" {
		t.Errorf("without permissions: %s %s", response.Status, body)
	}
}

// sealed encrypts as OpenNebula does: AES-256-CBC.
func sealed(t *testing.T, key, iv, text string) string {
	t.Helper()
	block, err := aes.NewCipher([]byte(key))
	if err != nil {
		t.Fatal(err)
	}
	padding := aes.BlockSize - len(text)%aes.BlockSize
	data := []byte(text + strings.Repeat(string(rune(padding)), padding))
	cipher.NewCBCEncrypter(block, []byte(iv)).CryptBlocks(data, data)
	return base64.StdEncoding.EncodeToString(data)
}
