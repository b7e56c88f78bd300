package onedconf

import (
	"fmt"
	"regexp"
)

// Key names a value in a file: PORT, or DB/BACKEND, a member of a list. Where several lists have one name, one of their members
// selects the list: VM_MAD[NAME=kvm]/ARGUMENTS. VM_RESTRICTED_ATTR[] is one more value beside those of the same name.
type Key struct {
	Name   string
	Member string
	// Where is the member that the list has to have; the zero value takes any.
	Where Pair
	// Further keeps the other values that have the name.
	Further bool
}

// Pair is a member of a list and its value.
type Pair struct{ Name, Value string }

var keyPattern = regexp.MustCompile(`^([A-Za-z0-9_]+)(?:(\[\])|(?:\[([A-Za-z0-9_]+)=([^\[\]"\s](?:[^\[\]"]*[^\[\]"\s])?)\])?(?:/([A-Za-z0-9_]+))?)$`)

// ParseKey reads a key as people write it.
func ParseKey(text string) (Key, error) {
	match := keyPattern.FindStringSubmatch(text)
	if match == nil {
		return Key{}, fmt.Errorf("%q is not a key: write NAME, NAME[], NAME/MEMBER or NAME[MEMBER=value]/MEMBER", text)
	}
	return Key{Name: match[1], Further: match[2] != "", Where: Pair{match[3], match[4]}, Member: match[5]}, nil
}

func (k Key) String() string {
	text := k.Name
	if k.Further {
		text += "[]"
	}
	if k.Where != (Pair{}) {
		text += "[" + k.Where.Name + "=" + k.Where.Value + "]"
	}
	if k.Member != "" {
		text += "/" + k.Member
	}
	return text
}
