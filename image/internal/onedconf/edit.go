package onedconf

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// Get returns a value without its quotes, and whether the file has it. The value of a list is its text.
func (f *File) Get(key Key) (string, bool, error) {
	a, err := f.find(key)
	if err != nil || a == nil {
		return "", false, err
	}
	if key.Member != "" {
		if a = a.member(key.Member); a == nil {
			return "", false, nil
		}
	}
	return f.value(*a), true, nil
}

// Set gives a key its value. What the file does not have yet is added: a member at the end of its list, all else at the end of the
// file. A list that is added has the member that selects it. Values keep the form that they have, quoted or bare; new ones are quoted
// unless they are whole numbers.
func (f *File) Set(key Key, value string) error {
	if err := errors.Join(checkValue(value), checkValue(key.Where.Value)); err != nil {
		return fmt.Errorf("%s: %s: %w", f.name, key, err)
	}
	if key.Further {
		return f.setFurther(key.Name, value)
	}
	selects := key.Where != (Pair{})
	if selects && strings.EqualFold(key.Member, key.Where.Name) && value != key.Where.Value {
		return fmt.Errorf("%s: %s: the member that selects the list cannot get another value, such as %s: the next start would not find the list",
			f.name, key, value)
	}
	a, err := f.find(key)
	if err != nil {
		return err
	}
	switch {
	case a == nil && selects && key.Member == "":
		return fmt.Errorf("%s: %s selects a list: name one of its members, as in %s/MEMBER", f.name, key, key)
	case a == nil && selects && strings.EqualFold(key.Member, key.Where.Name):
		return f.append(newList(key.Name, key.Where))
	case a == nil && selects:
		return f.append(newList(key.Name, key.Where, Pair{key.Member, value}))
	case a == nil && key.Member != "":
		return f.append(newList(key.Name, Pair{key.Member, value}))
	case a == nil:
		return f.append(key.Name + " = " + format(value))
	case key.Member == "" && a.list:
		return fmt.Errorf("%s: %s is a list: name one of its members, as in %s/MEMBER", f.name, key, key.Name)
	case key.Member == "":
		return f.replace(*a, value)
	case !a.list:
		return fmt.Errorf("%s: %s: %s is not a list", f.name, key, key.Name)
	}
	if member := a.member(key.Member); member != nil {
		return f.replace(*member, value)
	}
	return f.addMember(*a, key.Member, value)
}

// setFurther adds a value beside others of the same name, unless it is one of them.
func (f *File) setFurther(name, value string) error {
	for _, a := range f.attributes {
		switch {
		case !strings.EqualFold(a.name, name):
		case a.list:
			return fmt.Errorf("%s: %s[]: %s is a list: select one by a member, as in %s[NAME=value]/MEMBER", f.name, name, name, name)
		case f.value(a) == value:
			return nil
		}
	}
	return f.append(name + " = " + format(value))
}

// SetList replaces all members of a list, which may be new.
func (f *File) SetList(name string, members []Pair) error {
	a, err := f.find(Key{Name: name})
	if err != nil {
		return err
	}
	if a != nil && f.hasExactly(*a, members) {
		return nil
	}
	for _, member := range members {
		if err := checkValue(member.Value); err != nil {
			return fmt.Errorf("%s: %s/%s: %w", f.name, name, member.Name, err)
		}
	}
	if a == nil {
		return f.append(newList(name, members...))
	}
	return f.splice(a.start, a.end, listOf(members))
}

func newList(name string, members ...Pair) string { return name + " = " + listOf(members) }

func listOf(members []Pair) string {
	lines := make([]string, len(members))
	for i, member := range members {
		lines[i] = "    " + member.Name + " = " + format(member.Value)
	}
	return "[\n" + strings.Join(lines, ",\n") + "\n]"
}

func (f *File) hasExactly(list attribute, members []Pair) bool {
	if !list.list || len(list.members) != len(members) {
		return false
	}
	for i, member := range list.members {
		if !strings.EqualFold(member.name, members[i].Name) || f.value(member) != members[i].Value {
			return false
		}
	}
	return true
}

// find returns the attribute at the top level that a key is about, nil when there is none. oned does not care about case.
func (f *File) find(key Key) (*attribute, error) {
	var found []*attribute
	for i := range f.attributes {
		a := &f.attributes[i]
		if !strings.EqualFold(a.name, key.Name) {
			continue
		}
		if key.Where != (Pair{}) {
			if member := a.member(key.Where.Name); member == nil || f.value(*member) != key.Where.Value {
				continue
			}
		}
		found = append(found, a)
	}
	switch len(found) {
	case 0:
		return nil, nil
	case 1:
		return found[0], nil
	}
	if key.Where != (Pair{}) {
		return nil, fmt.Errorf("%s: %s selects %d lists: select one by a member that only it has", f.name, key, len(found))
	}
	advice := fmt.Sprintf("select one by a member, as in %s[NAME=value]/MEMBER", key.Name)
	if !found[0].list {
		advice = fmt.Sprintf("write %s[] to add a value", key.Name)
	}
	return nil, fmt.Errorf("%s: %s: %d attributes have that name: %s", f.name, key, len(found), advice)
}

func (a attribute) member(name string) *attribute {
	for i := range a.members {
		if strings.EqualFold(a.members[i].name, name) {
			return &a.members[i]
		}
	}
	return nil
}

func (f *File) value(a attribute) string {
	text := f.text[a.start:a.end]
	if a.quoted {
		return strings.ReplaceAll(text[1:len(text)-1], `\"`, `"`)
	}
	return text
}

func (f *File) replace(a attribute, value string) error {
	if f.value(a) == value {
		return nil
	}
	text := quote(value)
	if hasBare := !a.quoted && a.end > a.start; hasBare && bare.MatchString(value) {
		text = value
	}
	return f.splice(a.start, a.end, text)
}

// addMember puts a member behind the last one, on a line of its own if that one has one: a comma may not be followed by a comment in
// the lens that OpenNebula's tools read the file with, so it goes right behind the value.
func (f *File) addMember(list attribute, name, value string) error {
	text := name + " = " + format(value)
	if len(list.members) == 0 {
		return f.splice(list.start, list.end, "[ "+text+" ]")
	}
	last := list.members[len(list.members)-1]
	separator := ", "
	if strings.Contains(f.text[list.start:list.end], "\n") {
		before := f.text[:last.start]
		line := before[strings.LastIndexByte(before, '\n')+1:]
		indent := line[:len(line)-len(strings.TrimLeft(line, " \t"))]
		if indent == "" {
			indent = "    "
		}
		separator = ",\n" + indent
	}
	return f.splice(last.end, last.end, separator+text)
}

func (f *File) append(text string) error {
	if f.text != "" && !strings.HasSuffix(f.text, "\n") {
		text = "\n" + text
	}
	return f.splice(len(f.text), len(f.text), text+"\n")
}

func (f *File) splice(start, end int, text string) error {
	edited, err := Parse(f.name, f.text[:start]+text+f.text[end:])
	if err != nil {
		return fmt.Errorf("the edited file is not well-formed: %w", err)
	}
	*f = *edited
	return nil
}

var (
	// bare are values that need no quotes, number those that get none by default.
	bare   = regexp.MustCompile(`^[A-Za-z0-9_./:@%+-]+$`)
	number = regexp.MustCompile(`^-?[0-9]+$`)
)

func format(value string) string {
	if number.MatchString(value) {
		return value
	}
	return quote(value)
}

func quote(value string) string { return `"` + strings.ReplaceAll(value, `"`, `\"`) + `"` }

// checkValue rejects what oned or its tools would read as something else: a backslash before a quote escapes it, onedb drops all
// backslashes, and ]]> ends a value of another form.
func checkValue(value string) error {
	if i := strings.IndexFunc(value, func(r rune) bool { return r == '\\' || r < ' ' || r == 0x7f }); i >= 0 {
		return fmt.Errorf("the value has the character %q, which oned.conf cannot hold", value[i])
	}
	if strings.Contains(value, "]]>") {
		return fmt.Errorf("the value has ]]> in it, which oned.conf cannot hold")
	}
	return nil
}
