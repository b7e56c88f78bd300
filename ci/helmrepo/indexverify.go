package helmrepo

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"go.yaml.in/yaml/v3"
	helmyaml "sigs.k8s.io/yaml"
)

// errVerify is for an index that did not come out as meant; it is never written.
var errVerify = errors.New("the result would not say the same of what was there before: rewrite the index with `helm repo index --merge`")

// verifySame checks that merged says what the index said, plus an entry and another time.
func (x *indexNodes) verifySame(merged []byte, entry *indexEntry) error {
	y, err := parseIndex(merged)
	if err != nil {
		return fmt.Errorf("%w (%w)", errVerify, err)
	}
	if err := y.remove(entry, x); err != nil {
		return err
	}
	if _, node := lookup(y.root, "generated"); node != nil {
		if _, old := lookup(x.root, "generated"); old != nil {
			*node = *old
		}
	}
	if !same(x.root, y.root) {
		return errVerify
	}
	return nil
}

// remove takes an entry out of the nodes, and with it what old had not.
func (x *indexNodes) remove(entry *indexEntry, old *indexNodes) error {
	have, err := x.list(entry.Name)
	if err != nil {
		return err
	}
	at := slices.IndexFunc(have, func(h listed) bool { return h.Version == entry.Version })
	if at < 0 {
		return errVerify
	}
	_, versions := lookup(x.entries, entry.Name)
	versions.Content = slices.Delete(versions.Content, at, at+1)
	if len(versions.Content) > 0 {
		return nil
	}
	restore(x.entries, old.entries, entry.Name)
	if len(x.entries.Content) == 0 {
		restore(x.root, old.root, "entries")
	}
	return nil
}

// restore gives a key of a mapping the value that it has in old, and takes it away when old has none.
func restore(mapping, old *yaml.Node, name string) {
	key, _ := lookup(mapping, name)
	i := slices.Index(mapping.Content, key)
	if _, value := lookup(old, name); value != nil {
		mapping.Content[i+1] = value
		return
	}
	mapping.Content = slices.Delete(mapping.Content, i, i+2)
}

// same compares what nodes say; where they stand and how they are written does not count.
func same(a, b *yaml.Node) bool {
	return a.Kind == b.Kind && a.Tag == b.Tag && a.Value == b.Value && a.Anchor == b.Anchor &&
		slices.EqualFunc(a.Content, b.Content, same)
}

// verifyLoads checks that Helm can load an index and finds an entry in it, once and as meant.
func verifyLoads(index []byte, entry *indexEntry) error {
	var loaded indexFile
	if err := helmyaml.UnmarshalStrict(index, &loaded); err != nil {
		return fmt.Errorf("the index would not be one that Helm can read: %w", err)
	}
	want, err := json.Marshal(entry)
	if err != nil {
		return err
	}
	found := 0
	for _, have := range loaded.Entries[entry.Name] {
		if have == nil || have.Metadata == nil || have.Version != entry.Version {
			continue
		}
		found++
		if got, err := json.Marshal(have); err != nil || !bytes.Equal(got, want) {
			return fmt.Errorf("%w (Helm would read the new entry as %s, not %s)", errVerify, got, want)
		}
	}
	if found != 1 {
		return fmt.Errorf("%w (Helm would find the new entry %d times)", errVerify, found)
	}
	return nil
}
