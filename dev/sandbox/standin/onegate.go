package standin

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// gate is OneGate's server.
type gate struct {
	host Host
	oned string
	log  *serviceLog
	// permissions say what may be done with what.
	permissions map[string]map[string]bool
	restricted  []string
}

// onegate reads the keys of the installed version and no others.
func (h Host) onegate(ctx context.Context) error {
	type listen struct {
		Host string `yaml:":host"`
		Bind string `yaml:":bind"`
		Port int    `yaml:":port"`
	}
	var config struct {
		listen      `yaml:",inline"`
		Server      *listen                    `yaml:":server"`
		XMLRPC      string                     `yaml:":one_xmlrpc"`
		Log         rubyLog                    `yaml:":log"`
		Permissions map[string]map[string]bool `yaml:":permissions"`
		Restricted  []string                   `yaml:":restricted_attrs"`
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
	g := &gate{h, cmp.Or(config.XMLRPC, defaultXMLRPC), log, config.Permissions, config.Restricted}
	if g.restricted == nil {
		g.restricted = []string{"SCHED_REQUIREMENTS", "SERVICE_ID", "ROLE_NAME"}
	}
	return h.service(ctx, "onegate_auth", address, port, h.listening, logged(h.Now, g.serve, func(_ int, line string) { log.ruby(infoLevel, line) }))
}

func (g *gate) serve(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json;charset=utf-8")
	answer, err := g.answer(r)
	if err != nil {
		status := http.StatusInternalServerError
		if refused, ok := errors.AsType[*statusError](err); ok {
			status = refused.status
		}
		if status != http.StatusUnauthorized {
			g.log.ruby(errorLevel, err.Error())
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, err.Error())
		return
	}
	if answer != nil {
		_ = json.NewEncoder(w).Encode(answer)
	}
}

func (g *gate) answer(r *http.Request) (any, error) {
	switch at := r.Method + " " + r.URL.Path; at {
	case "GET /":
		if _, _, err := g.guest(r); err != nil {
			return nil, err
		}
		return map[string]string{"vm_info": "http://" + r.Host + "/vm", "service_info": "http://" + r.Host + "/service"}, nil
	case "GET /vm", "PUT /vm":
		action := map[string]string{http.MethodGet: "show", http.MethodPut: "update"}[r.Method]
		if !g.permissions[":vm"][":"+action] {
			return nil, &statusError{http.StatusForbidden, fmt.Sprintf("Action (%s) on resource (vm) not supported", action)}
		}
		as, vm, err := g.guest(r)
		if err != nil {
			return nil, err
		}
		if action == "update" {
			return nil, g.update(r, as, vm)
		}
		return shownToGuest(vm), nil
	}
	return nil, &statusError{http.StatusBadRequest, "OneGate server doesn't support this feature"}
}

// guest finds the machine that a request comes from, by a token that only oned and the machine's owner can make, and acts for the owner.
func (g *gate) guest(r *http.Request) (client, *node, error) {
	user, err := g.owner(r)
	if err != nil {
		g.log.ruby(errorLevel, err.Error())
		g.log.ruby(infoLevel, "Unauthorized login attempt")
		return client{}, nil, &statusError{http.StatusUnauthorized, "Not authorized"}
	}
	session, err := g.host.actFor("onegate_auth", user)
	if err != nil {
		return client{}, nil, err
	}
	as := client{g.oned, session}
	id, _ := strconv.Atoi(r.Header.Get("X-Onegate-Vmid"))
	vm, err := as.document(r.Context(), "one.vm.info", intValue(id))
	if err != nil {
		err = &statusError{http.StatusNotFound, err.Error()}
	}
	return as, vm, err
}

func (g *gate) owner(r *http.Request) (string, error) {
	token, id := r.Header.Get("X-Onegate-Token"), r.Header.Get("X-Onegate-Vmid")
	if token == "" {
		return "", errors.New("X_ONEGATE_TOKEN header not preset")
	}
	number, err := strconv.Atoi(id)
	if err != nil {
		return "", errors.New("X_ONEGATE_VMID header not preset")
	}
	session, err := g.host.actFor("onegate_auth", "")
	if err != nil {
		return "", err
	}
	as := client{g.oned, session}
	vm, err := as.document(r.Context(), "one.vm.info", intValue(number))
	if err != nil {
		return "", fmt.Errorf("VMID:%s vm.info error: %w", id, err)
	}
	maker := vm.get("TEMPLATE/CREATED_BY")
	if maker == "" {
		return "", fmt.Errorf("VMID:%s CREATED_BY not present in the VM TEMPLATE", id)
	}
	user, err := as.document(r.Context(), "one.user.info", intValue(vm.number("TEMPLATE/CREATED_BY")))
	if err != nil {
		return "", fmt.Errorf("VMID:%s user.info error: %w", id, err)
	}
	secret := user.get("TEMPLATE/TOKEN_PASSWORD")
	if secret == "" {
		return "", fmt.Errorf("VMID:%s TOKEN_PASSWORD not present in the USER:%s TEMPLATE", id, maker)
	}
	plain, err := decryptCBC(token, secret, make([]byte, 16))
	if err != nil {
		return "", fmt.Errorf("VMID:%s token decrypt error: %w", id, err)
	}
	if plain != vm.get("ID")+":"+vm.get("STIME") {
		return "", fmt.Errorf("VMID:%s token content does not match", id)
	}
	return vm.get("UNAME"), nil
}

// update adds what a guest says to its machine: lines of NAME=value, whose values need no quotes.
func (g *gate) update(r *http.Request, as client, vm *node) error {
	given, err := io.ReadAll(io.LimitReader(r.Body, maxMessage))
	if err != nil {
		return err
	}
	template := elem("TEMPLATE")
	for line := range strings.Lines(string(given)) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if slices.Contains(g.restricted, strings.ToUpper(name)) {
			return &statusError{http.StatusForbidden, fmt.Sprintf("Attribute (%s) cannot be modified", name)}
		}
		if ok {
			template.add(quoted(strings.ToUpper(name), strings.Trim(value, `"`)))
		}
	}
	_, err = as.call(r.Context(), "one.vm.update", intValue(vm.number("ID")), stringValue(template.String()), intValue(1))
	return err
}

// shownToGuest is what a machine may know about itself.
func shownToGuest(vm *node) any {
	nics := []any{}
	for _, nic := range vm.at("TEMPLATE").all("NIC") {
		shown := elem("NIC")
		for _, name := range []string{"IP", "MAC", "NAME", "NETWORK"} {
			if nic.at(name) != nil {
				shown.children = append(shown.children, nic.at(name))
			}
		}
		nics = append(nics, shown.hash(map[string]any{}))
	}
	text := func(name string) string { return vm.get(name) }
	vm.at("USER_TEMPLATE").drop("SCHED_MESSAGE")
	return map[string]any{"VM": map[string]any{
		"NAME": text("NAME"), "ID": text("ID"), "STATE": text("STATE"), "LCM_STATE": text("LCM_STATE"),
		"USER_TEMPLATE": vm.at("USER_TEMPLATE").hash(map[string]any{}), "TEMPLATE": map[string]any{"NIC": nics, "NIC_ALIAS": []any{}},
	}}
}
