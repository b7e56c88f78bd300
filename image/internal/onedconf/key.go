package onedconf

import (
	"fmt"
	"regexp"
)

// Key names a value in a file: PORT, or DB/BACKEND, a member of a list. Where several lists have one name, one of their members
// tells them apart: VM_MAD[NAME=kvm]/ARGUMENTS.
type Key struct {
	Name   string
	Member string
	// Where is the member that the list has to have; the zero value takes any.
	Where Pair
}

// Pair is a member of a list and its value.
type Pair struct{ Name, Value string }

var keyPattern = regexp.MustCompile(`^([A-Za-z0-9_]+)(?:\[([A-Za-z0-9_]+)=([^\[\]"]+)\])?(?:/([A-Za-z0-9_]+))?$`)

// ParseKey reads a key as people write it.
func ParseKey(text string) (Key, error) {
	match := keyPattern.FindStringSubmatch(text)
	if match == nil {
		return Key{}, fmt.Errorf("%q is no key: write NAME, NAME/MEMBER or NAME[MEMBER=value]/MEMBER", text)
	}
	return Key{Name: match[1], Where: Pair{match[2], match[3]}, Member: match[4]}, nil
}

func (k Key) String() string {
	text := k.Name
	if k.Where != (Pair{}) {
		text += "[" + k.Where.Name + "=" + k.Where.Value + "]"
	}
	if k.Member != "" {
		text += "/" + k.Member
	}
	return text
}
