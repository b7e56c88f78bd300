package exercise

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"opennebula-kube/image/internal/xmlrpc"
)

const (
	serviceName  = Prefix + "service"
	templateName = Prefix + "template"
	// roleName begins the names of the machines that OneFlow makes.
	roleName = Prefix + "role"
)

const serviceRunning = 2

func serviceStates() map[int]string {
	return map[int]string{
		0: "PENDING", 1: "DEPLOYING", serviceRunning: "RUNNING", 3: "UNDEPLOYING", 4: "WARNING", 5: "DONE", 6: "FAILED_UNDEPLOYING", 7: "FAILED_DEPLOYING",
		8: "SCALING", 9: "FAILED_SCALING", 10: "COOLDOWN", 11: "DEPLOYING_NETS", 12: "UNDEPLOYING_NETS", 13: "FAILED_DEPLOYING_NETS",
		14: "FAILED_UNDEPLOYING_NETS", 15: "HOLD",
	}
}

// serviceFailures are states that a service does not leave by itself.
func serviceFailures() []int { return []int{6, 7, 9, 13, 14} }

// document is what OneFlow says of a service, or of a template of one.
type document struct {
	ID       string `json:"ID"`
	Name     string `json:"NAME"`
	Template struct {
		Body struct {
			State int `json:"state"`
			Roles []struct {
				Nodes []struct {
					Machine int `json:"deploy_id"`
				} `json:"nodes"`
			} `json:"roles"`
			Log []struct {
				Severity string `json:"severity"`
				Message  string `json:"message"`
			} `json:"log"`
		} `json:"BODY"`
	} `json:"TEMPLATE"`
}

// flow calls OneFlow and reads the document that is its answer, which has the status that is wanted.
func (t Target) flow(ctx context.Context, method, path string, body any, want int) (d document, err error) {
	text, err := json.Marshal(body)
	if err != nil {
		return d, err
	}
	answer, err := t.request(ctx, method, t.OneFlow+path, text, t.login, want)
	if err != nil || want == http.StatusNoContent {
		return d, err
	}
	var of struct {
		Document *document `json:"DOCUMENT"`
	}
	if err := json.Unmarshal(answer, &of); err != nil {
		return d, fmt.Errorf("read the answer to %s %s, which begins %q: %w", method, path, clip(string(answer)), err)
	}
	if of.Document == nil {
		return d, fmt.Errorf("the answer to %s %s is %q, which is not a document", method, path, clip(string(answer)))
	}
	if _, err := strconv.Atoi(of.Document.ID); err != nil {
		return d, fmt.Errorf("the answer to %s %s has the number %q", method, path, clip(of.Document.ID))
	}
	return *of.Document, nil
}

// action is what OneFlow wants to be told to do something.
func action(perform string, params map[string]any) map[string]any {
	return map[string]any{"action": map[string]any{"perform": perform, "params": params}}
}

func (t Target) templates(ctx context.Context) ([]object, error) {
	return t.pool(ctx, "one.templatepool.info", everything()...)
}

// Service makes a template of a virtual machine and one of a OneFlow service with it, deploys the service, returns when it has been
// running and is undeployed again, and removes the templates.
func (t Target) Service(ctx context.Context) error {
	machine, _, err := t.machineTemplate(ctx)
	if err != nil {
		return err
	}
	vmTemplate, err := t.allocate(ctx, "one.template.allocate", xmlrpc.Text(fmt.Sprintf("NAME = %q\n", templateName)+machine))
	if err != nil {
		return fmt.Errorf("make the template %s of a virtual machine: %w; look into oned.log for the reason", templateName, err)
	}
	const next = "look into oneflow.log, and whether oneflow_auth has the password of serveradmin"
	template, err := t.flow(ctx, http.MethodPost, "/service_template", map[string]any{
		"name": serviceName, "deployment": "straight",
		"roles": []any{map[string]any{"name": roleName, "type": "vm", "cardinality": 1, "template_id": vmTemplate}},
	}, http.StatusCreated)
	if err != nil {
		return fmt.Errorf("make the template %s of a service in OneFlow: %w; %s", serviceName, err, next)
	}
	at := "/service_template/" + template.ID
	service, err := t.flow(ctx, http.MethodPost, at+"/action", action("instantiate", map[string]any{}), http.StatusCreated)
	if err != nil {
		return fmt.Errorf("deploy a service of template %s (%s) in OneFlow: %w; %s", template.ID, serviceName, err, next)
	}
	if service, err = t.serviceRuns(ctx, service.ID); err != nil {
		return err
	}
	if _, err := t.flow(ctx, http.MethodDelete, "/service/"+service.ID, nil, http.StatusNoContent); err != nil {
		return fmt.Errorf("undeploy service %s (%s) in OneFlow: %w; %s", service.ID, serviceName, err, next)
	}
	if err := t.serviceGone(ctx, service); err != nil {
		return err
	}
	if _, err := t.flow(ctx, http.MethodDelete, at, nil, http.StatusNoContent); err != nil {
		return fmt.Errorf("remove template %s (%s) from OneFlow: %w; %s", template.ID, serviceName, err, next)
	}
	if _, err := t.call(ctx, "one.template.delete", xmlrpc.Number(vmTemplate), xmlrpc.Bool(false)); err != nil {
		return fmt.Errorf("remove template %d (%s) of a virtual machine: %w; look into oned.log for the reason", vmTemplate, templateName, err)
	}
	return nil
}

func (t Target) serviceRuns(ctx context.Context, id string) (service document, err error) {
	err = t.until(ctx, fmt.Sprintf("wait until service %s (%s) runs", id, serviceName), "look into oneflow.log, and into oned.log for the virtual machine of its role",
		func(ctx context.Context) (string, bool, error) {
			if service, err = t.flow(ctx, http.MethodGet, "/service/"+id, nil, http.StatusOK); err != nil {
				return "", false, err
			}
			found := t.describe(ctx, service)
			if slices.Contains(serviceFailures(), service.Template.Body.State) {
				return "", false, fmt.Errorf("%s: look into oneflow.log", found)
			}
			return found, service.Template.Body.State == serviceRunning, nil
		})
	return service, err
}

// serviceGone waits until a service is undeployed, and its virtual machines are over with that.
func (t Target) serviceGone(ctx context.Context, last document) error {
	err := t.until(ctx, fmt.Sprintf("wait until service %s (%s) is undeployed", last.ID, serviceName), "look into oneflow.log, and into oned.log for the virtual machine of its role",
		func(ctx context.Context) (string, bool, error) {
			service, err := t.flow(ctx, http.MethodGet, "/service/"+last.ID, nil, http.StatusOK)
			if status, ok := errors.AsType[*statusError](err); ok && status.status == http.StatusNotFound {
				return "", true, nil
			}
			if err != nil {
				return "", false, err
			}
			found := t.describe(ctx, service)
			if slices.Contains(serviceFailures(), service.Template.Body.State) {
				return "", false, fmt.Errorf("%s: look into oneflow.log", found)
			}
			return found, false, nil
		})
	if err != nil {
		return err
	}
	for _, machine := range last.machines() {
		t.over(machine)
	}
	return nil
}

// machines are the virtual machines of a service.
func (d document) machines() (all []int) {
	for _, role := range d.Template.Body.Roles {
		for _, node := range role.Nodes {
			all = append(all, node.Machine)
		}
	}
	return all
}

// describe tells the state of a service, the last error in its log, and the state of its virtual machine.
func (t Target) describe(ctx context.Context, service document) string {
	body := service.Template.Body
	text := "it is " + stateName(serviceStates(), body.State)
	for _, line := range slices.Backward(body.Log) {
		if strings.HasPrefix(line.Severity, "E") {
			text += fmt.Sprintf(", OneFlow says %q", clip(line.Message))
			break
		}
	}
	for _, id := range service.machines() {
		if m, err := t.machine(ctx, id); err == nil {
			text += fmt.Sprintf(", and of its virtual machine %d: %v", id, m)
		}
	}
	return text
}

// services returns those services, or templates of services, that an exercise has made.
func (t Target) services(ctx context.Context, path string) ([]document, error) {
	answer, err := t.request(ctx, http.MethodGet, t.OneFlow+path, nil, t.login, http.StatusOK)
	if err != nil {
		return nil, err
	}
	var all struct {
		Pool struct {
			Documents []document `json:"DOCUMENT"`
		} `json:"DOCUMENT_POOL"`
	}
	if err := json.Unmarshal(answer, &all); err != nil {
		return nil, fmt.Errorf("read the answer to GET %s, which begins %q: %w", path, clip(string(answer)), err)
	}
	return slices.DeleteFunc(all.Pool.Documents, func(d document) bool {
		_, err := strconv.Atoi(d.ID)
		return err != nil || !strings.HasPrefix(d.Name, Prefix)
	}), nil
}
