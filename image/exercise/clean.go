package exercise

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"opennebula-kube/image/internal/xmlrpc"
)

// Clean removes everything that an exercise has made, this one or an earlier one. Records of virtual machines that are over stay, and so do
// the numbers that were used up.
func (t Target) Clean(ctx context.Context) error {
	var failed error
	// What uses something goes before that.
	for _, clean := range []func(context.Context) error{
		t.cleanServices, t.cleanMachines, t.cleanTemplates, t.cleanImages, t.cleanDatastores, t.cleanHosts, t.cleanHooks,
	} {
		// The first error is likely to be the cause of the others.
		if err := clean(ctx); err != nil && failed == nil {
			failed = err
		}
	}
	return failed
}

func (t Target) cleanServices(ctx context.Context) error {
	services, err := t.services(ctx, "/service")
	if err != nil {
		return fmt.Errorf("look for services in OneFlow that an exercise has left behind: %w; look into oneflow.log", err)
	}
	for _, service := range services {
		// Unlike a plain removal, this works in every state.
		remove := action("recover", map[string]any{"delete": true})
		if _, err := t.flow(ctx, http.MethodPost, "/service/"+service.ID+"/action", remove, http.StatusNoContent); err != nil && !isNotFound(err) {
			return fmt.Errorf("remove service %s (%s) from OneFlow: %w; look into oneflow.log", service.ID, service.Name, err)
		}
		if err := t.serviceGone(ctx, service); err != nil {
			return err
		}
	}
	templates, err := t.services(ctx, "/service_template")
	if err != nil {
		return fmt.Errorf("look for templates in OneFlow that an exercise has left behind: %w; look into oneflow.log", err)
	}
	for _, template := range templates {
		if _, err := t.flow(ctx, http.MethodDelete, "/service_template/"+template.ID, nil, http.StatusNoContent); err != nil && !isNotFound(err) {
			return fmt.Errorf("remove template %s (%s) from OneFlow: %w; look into oneflow.log", template.ID, template.Name, err)
		}
	}
	return nil
}

func isNotFound(err error) bool {
	status, ok := errors.AsType[*statusError](err)
	return ok && status.status == http.StatusNotFound
}

// machines returns those virtual machines of an exercise that are not over.
func (t Target) machines(ctx context.Context) ([]object, error) {
	const notDone = -1
	return t.pool(ctx, "one.vmpool.info", append(everything(), xmlrpc.Number(notDone), xmlrpc.Text(""))...)
}

func (t Target) cleanMachines(ctx context.Context) error {
	return t.clean(ctx, "virtual machine", t.machines, func(ctx context.Context, id int) error {
		// Unlike terminate, this works in every state.
		const remove = 3
		if _, err := t.call(ctx, "one.vm.recover", xmlrpc.Number(id), xmlrpc.Number(remove)); err != nil {
			return err
		}
		return t.done(ctx, id)
	})
}

func (t Target) cleanTemplates(ctx context.Context) error {
	return t.clean(ctx, "template", t.templates, func(ctx context.Context, id int) error {
		_, err := t.call(ctx, "one.template.delete", xmlrpc.Number(id), xmlrpc.Bool(false))
		return err
	})
}

func (t Target) cleanImages(ctx context.Context) error {
	return t.clean(ctx, "image", t.images, func(ctx context.Context, id int) error {
		if _, err := t.call(ctx, "one.image.delete", xmlrpc.Number(id), xmlrpc.Bool(false)); err != nil {
			return err
		}
		return t.until(ctx, fmt.Sprintf("wait until image %d is removed", id), "look into oned.log for its datastore (ImM)",
			func(ctx context.Context) (string, bool, error) {
				var image struct {
					State int `xml:"STATE"`
				}
				err := t.document(ctx, &image, "one.image.info", xmlrpc.Number(id), xmlrpc.Bool(false))
				if isGone(err) {
					return "", true, nil
				}
				return "it is " + stateName(imageStates(), image.State), false, err
			})
	})
}

func (t Target) cleanDatastores(ctx context.Context) error {
	return t.clean(ctx, "datastore", t.datastores, func(ctx context.Context, id int) error {
		_, err := t.call(ctx, "one.datastore.delete", xmlrpc.Number(id))
		return err
	})
}

func (t Target) cleanHosts(ctx context.Context) error {
	return t.clean(ctx, "host", t.hosts, func(ctx context.Context, id int) error {
		_, err := t.call(ctx, "one.host.delete", xmlrpc.Number(id))
		return err
	})
}

func (t Target) cleanHooks(ctx context.Context) error {
	return t.clean(ctx, "hook", t.hooks, func(ctx context.Context, id int) error {
		_, err := t.call(ctx, "one.hook.delete", xmlrpc.Number(id))
		return err
	})
}

// clean removes those objects of a pool that an exercise has made.
func (t Target) clean(ctx context.Context, kind string, pool func(context.Context) ([]object, error), remove func(ctx context.Context, id int) error) error {
	made, err := pool(ctx)
	if err != nil {
		return fmt.Errorf("look for a %s that an exercise has left behind: %w; look into oned.log for the reason", kind, err)
	}
	for _, o := range made {
		if err := remove(ctx, o.ID); err != nil && !isGone(err) {
			return fmt.Errorf("remove %s %d (%s): %w; look into oned.log for the reason", kind, o.ID, o.Name, err)
		}
	}
	return nil
}
