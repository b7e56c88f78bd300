package exercise

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"opennebula-kube/image/internal/oned"
	"opennebula-kube/image/internal/xmlrpc"
)

// call calls a method of oned.
func (t Target) call(ctx context.Context, method string, params ...xmlrpc.Value) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, t.limit())
	defer cancel()
	answer, err := oned.Client{HTTP: t.HTTP, URL: t.XMLRPC, Session: t.Session}.Call(ctx, method, params...)
	if refused, ok := errors.AsType[*oned.RefusedError](err); ok {
		return "", &oned.RefusedError{Method: refused.Method, Reason: clip(refused.Reason)}
	}
	return answer, err
}

// document calls a method that describes something, and reads the description.
func (t Target) document(ctx context.Context, into any, method string, params ...xmlrpc.Value) error {
	answer, err := t.call(ctx, method, params...)
	if err != nil {
		return err
	}
	if err := xml.Unmarshal([]byte(answer), into); err != nil {
		return fmt.Errorf("read the answer to %s, which begins %q: %w", method, clip(answer), err)
	}
	return nil
}

// object is what everything in OpenNebula has.
type object struct {
	ID   int    `xml:"ID"`
	Name string `xml:"NAME"`
}

// pool returns those objects of a pool that an exercise has made.
func (t Target) pool(ctx context.Context, method string, params ...xmlrpc.Value) ([]object, error) {
	var all struct {
		Objects []object `xml:",any"`
	}
	if err := t.document(ctx, &all, method, params...); err != nil {
		return nil, err
	}
	var made []object
	for _, o := range all.Objects {
		if strings.HasPrefix(o.Name, Prefix) {
			made = append(made, o)
		}
	}
	return made, nil
}

// everything are the parameters of a pool's info call: of all users, from the first on, to the last.
func everything() []xmlrpc.Value {
	return []xmlrpc.Value{xmlrpc.Number(-2), xmlrpc.Number(-1), xmlrpc.Number(-1)}
}

// allocate makes an object and returns its number.
func (t Target) allocate(ctx context.Context, method string, params ...xmlrpc.Value) (int, error) {
	answer, err := t.call(ctx, method, params...)
	if err != nil {
		return 0, err
	}
	id, err := strconv.Atoi(answer)
	if err != nil || id < 0 {
		return 0, fmt.Errorf("%s answers %q, not with the number of what it has made", method, clip(answer))
	}
	return id, nil
}

// ensure returns the number of the object of this name in a pool; when there is none, it makes it.
func (t Target) ensure(ctx context.Context, name string, pool func(ctx context.Context) ([]object, error), create func(ctx context.Context) (int, error)) (int, error) {
	made, err := pool(ctx)
	if err != nil {
		return 0, err
	}
	for _, o := range made {
		if o.Name == name {
			return o.ID, nil
		}
	}
	return create(ctx)
}

// isGone tells whether a refusal is that there is no such object: what is being removed has been, then.
func isGone(err error) bool {
	refused, ok := errors.AsType[*oned.RefusedError](err)
	return ok && strings.Contains(refused.Reason, "] Error getting ")
}

// clip makes text of a server fit for an error: one line that is not long.
func clip(text string) string {
	const limit = 400
	text = strings.Join(strings.Fields(strings.ToValidUTF8(text, "?")), " ")
	if len(text) > limit {
		text = strings.ToValidUTF8(text[:limit], "") + "..."
	}
	return text
}

// stateName is the name of a state, or its number for one that has none.
func stateName(names map[int]string, state int) string {
	if name, ok := names[state]; ok {
		return name
	}
	return "state " + strconv.Itoa(state)
}
