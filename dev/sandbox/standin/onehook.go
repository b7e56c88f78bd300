package standin

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
)

// onehook is the command line tool for hooks: create, show, unlock and delete, as the user whose session is in one_auth.
func (h Host) onehook(ctx context.Context, args []string) error {
	usage := errors.New("usage: onehook create <file> | onehook show <id> --xml | onehook unlock <id> | onehook delete <id>")
	if len(args) < 2 {
		return usage
	}
	command, operand, options := args[0], args[1], args[2:]
	if xml := slices.Equal(options, []string{"--xml"}); xml != (command == "show") || !xml && len(options) > 0 {
		return usage
	}
	if command == "create" {
		template, err := os.ReadFile(operand)
		if err != nil {
			return fmt.Errorf("onehook create: read the template: %w", err)
		}
		id, err := h.callAsUser(ctx, "one.hook.allocate", stringValue(string(template)))
		if err != nil {
			return err
		}
		h.printf("ID: %s\n", id)
		return nil
	}
	id, err := strconv.Atoi(operand)
	if err != nil {
		return fmt.Errorf("onehook %s: the id of a hook: %w", command, err)
	}
	switch command {
	case "show":
		document, err := h.callAsUser(ctx, "one.hook.info", intValue(id))
		if err != nil {
			return err
		}
		h.printf("%s\n", document)
		return nil
	case "unlock", "delete":
		_, err := h.callAsUser(ctx, "one.hook."+command, intValue(id))
		return err
	}
	return usage
}
