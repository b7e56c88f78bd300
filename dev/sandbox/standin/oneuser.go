package standin

import (
	"context"
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// oneuser is the command line tool for users: create, show and passwd, as the user whose session is in one_auth.
func (h Host) oneuser(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errors.New("usage: oneuser create <name> <password> | oneuser show <id> | oneuser passwd <id> [--sha256] [-r] <password or file>")
	}
	switch args[0] {
	case "create":
		return h.oneuserCreate(ctx, args[1:])
	case "show":
		return h.oneuserShow(ctx, args[1:])
	case "passwd":
		return h.oneuserPasswd(ctx, args[1:])
	}
	return fmt.Errorf("oneuser %s: the stand-in knows create, show and passwd only", args[0])
}

func (h Host) oneuserCreate(ctx context.Context, args []string) error {
	if len(args) != 2 {
		return errors.New("usage: oneuser create <name> <password>")
	}
	id, err := h.callAsUser(ctx, "one.user.allocate", stringValue(args[0]), stringValue(args[1]), stringValue(""))
	if err != nil {
		return err
	}
	h.printf("ID: %s\n", id)
	return nil
}

func (h Host) oneuserShow(ctx context.Context, args []string) error {
	id := -1
	if len(args) > 1 {
		return errors.New("usage: oneuser show <id>")
	}
	if len(args) == 1 {
		var err error
		if id, err = strconv.Atoi(args[0]); err != nil {
			return fmt.Errorf("oneuser show: the id of a user: %w", err)
		}
	}
	document, err := h.callAsUser(ctx, "one.user.info", intValue(id))
	if err != nil {
		return err
	}
	var u userDocument
	if err := xml.Unmarshal([]byte(document), &u); err != nil {
		return fmt.Errorf("oneuser show: read oned's answer: %w", err)
	}
	title := func(text string) { h.printf("%-80s\n", text) }
	title(fmt.Sprintf("USER %d INFORMATION", u.ID))
	enabled := map[int]string{0: "No", 1: "Yes"}[u.Enabled]
	for _, row := range [][2]string{
		{"ID", strconv.Itoa(u.ID)}, {"NAME", u.Name}, {"GROUP", u.GName}, {"PASSWORD", u.Password}, {"AUTH_DRIVER", u.Driver}, {"ENABLED", enabled},
	} {
		h.printf("%-15s : %-20s\n", row[0], row[1])
	}
	h.printf("\n")
	title("TOKENS")
	h.printf("\n")
	title("USER TEMPLATE")
	var template attributes
	if err := xml.Unmarshal([]byte("<TEMPLATE>"+u.Template.Inner+"</TEMPLATE>"), &template); err != nil {
		return fmt.Errorf("oneuser show: read oned's answer: %w", err)
	}
	for _, pair := range template.List {
		h.printf("%s=%q\n", pair.XMLName.Local, pair.Value)
	}
	for _, usage := range []string{"VMS USAGE & QUOTAS", "VMS USAGE & QUOTAS - RUNNING", "DATASTORE USAGE & QUOTAS", "NETWORK USAGE & QUOTAS", "IMAGE USAGE & QUOTAS"} {
		h.printf("\n")
		title(usage)
	}
	h.printf("\n")
	return nil
}

func (h Host) oneuserPasswd(ctx context.Context, args []string) error {
	var hashed, fromFile bool
	flags := flag.NewFlagSet("oneuser passwd", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.BoolVar(&hashed, "sha256", false, "")
	flags.BoolVar(&fromFile, "r", false, "")
	// Options may stand before, between and after the two operands.
	var operands []string
	for rest := args; len(rest) > 0; {
		if err := flags.Parse(rest); err != nil {
			return fmt.Errorf("oneuser passwd: %w", err)
		}
		if rest = flags.Args(); len(rest) > 0 {
			operands, rest = append(operands, rest[0]), rest[1:]
		}
	}
	if len(operands) != 2 {
		return errors.New("usage: oneuser passwd <id> [--sha256] [-r] <password or file>")
	}
	id, err := strconv.Atoi(operands[0])
	if err != nil {
		return fmt.Errorf("oneuser passwd: the id of a user: %w", err)
	}
	password := operands[1]
	if fromFile {
		data, err := os.ReadFile(password)
		if err != nil {
			return fmt.Errorf("oneuser passwd: read the password: %w", err)
		}
		line, _, _ := strings.Cut(string(data), "\n")
		password = strings.TrimSpace(line)
	}
	if password == "" {
		return errors.New("oneuser passwd: the password is empty")
	}
	if hashed {
		password = hash(password)
	}
	_, err = h.callAsUser(ctx, "one.user.passwd", intValue(id), stringValue(password))
	return err
}

// callAsUser makes a call with the session of the user.
func (h Host) callAsUser(ctx context.Context, method string, params ...value) (string, error) {
	session, err := h.session()
	if err != nil {
		return "", err
	}
	endpoint := h.Getenv("ONE_XMLRPC")
	if endpoint == "" {
		endpoint = defaultXMLRPC
	}
	return call(ctx, endpoint, method, append([]value{stringValue(session)}, params...)...)
}

// session is what a user says who it is with: what is in one_auth, or in the file that ONE_AUTH names.
func (h Host) session() (string, error) {
	path := h.Getenv("ONE_AUTH")
	if path == "" {
		path = h.path(filepath.Join(authDir, "one_auth"))
	}
	name, password, err := readAuth(path)
	if err != nil {
		return "", fmt.Errorf("read the session: %w", err)
	}
	return name + ":" + password, nil
}
