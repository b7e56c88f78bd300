package exercise

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"opennebula-kube/image/internal/xmlrpc"
)

// guestValue is what a guest is to write into its machine.
const guestValue = "ready"

// Token calls OneGate as the guest in a virtual machine does, with the token that oned gives it: it reads about its machine, writes into
// it, and is refused with a wrong token.
func (t Target) Token(ctx context.Context, machine int) error {
	token, err := t.token(ctx, machine)
	if err != nil {
		return fmt.Errorf("make the token of virtual machine %d: %w", machine, err)
	}
	const next = "look into onegate.log, and whether onegate_auth has the password of serveradmin"
	answer, err := t.gate(ctx, http.MethodGet, machine, token, "", http.StatusOK)
	if err != nil {
		return fmt.Errorf("ask OneGate about virtual machine %d as its guest: %w; %s", machine, err, next)
	}
	var guest struct {
		VM struct{ ID, Name string } `json:"VM"`
	}
	if err := json.Unmarshal(answer, &guest); err != nil || guest.VM.ID != strconv.Itoa(machine) {
		return fmt.Errorf("ask OneGate about virtual machine %d as its guest: the answer is %q, which does not describe it: %s", machine, clip(string(answer)), next)
	}
	if _, err := t.gate(ctx, http.MethodPut, machine, token, `ONE_EXERCISE_GUEST="`+guestValue+`"`, http.StatusOK); err != nil {
		return fmt.Errorf("write an attribute of virtual machine %d through OneGate as its guest: %w; %s", machine, err, next)
	}
	m, err := t.machine(ctx, machine)
	if err != nil {
		return fmt.Errorf("look for the attribute that the guest of virtual machine %d has written: %w", machine, err)
	}
	if m.User.Guest != guestValue {
		return fmt.Errorf("look for the attribute that the guest of virtual machine %d has written: it is %q, not %q: %s", machine, clip(m.User.Guest), guestValue, next)
	}
	wrong, err := sealed(strings.Repeat("0", aes.BlockSize*2), fmt.Sprintf("%d:%d", machine, m.Start))
	if err != nil {
		return err
	}
	if _, err := t.gate(ctx, http.MethodGet, machine, wrong, "", http.StatusUnauthorized); err != nil {
		return fmt.Errorf("ask OneGate about virtual machine %d with a wrong token: %w; it has to refuse that: do not let guests reach it", machine, err)
	}
	return nil
}

// gate makes a guest's call for its own machine, and returns the answer when it has the status that is wanted.
func (t Target) gate(ctx context.Context, method string, machine int, token, body string, want int) ([]byte, error) {
	return t.request(ctx, method, t.OneGate+"/vm", []byte(body), func(r *http.Request) {
		r.Header.Set("X-ONEGATE-TOKEN", token)
		r.Header.Set("X-ONEGATE-VMID", strconv.Itoa(machine))
	}, want)
}

// token makes what oned puts into a machine's context: the number of the machine and when it was made, encrypted with a password of the
// user who has made it.
func (t Target) token(ctx context.Context, id int) (string, error) {
	m, err := t.machine(ctx, id)
	if err != nil {
		return "", err
	}
	var user struct {
		Password string `xml:"TEMPLATE>TOKEN_PASSWORD"`
	}
	if err := t.document(ctx, &user, "one.user.info", xmlrpc.Number(m.CreatedBy), xmlrpc.Bool(false)); err != nil {
		return "", err
	}
	if len(user.Password) < 2*aes.BlockSize {
		return "", fmt.Errorf("the TOKEN_PASSWORD of user %d has %d characters, %d are needed: set another one with oneuser update", m.CreatedBy, len(user.Password), 2*aes.BlockSize)
	}
	return sealed(user.Password, fmt.Sprintf("%d:%d", id, m.Start))
}

// sealed encrypts as OpenNebula does: AES-256 in CBC mode, with the beginning of the password as key and a vector of zeros.
func sealed(password, text string) (string, error) {
	block, err := aes.NewCipher([]byte(password[:2*aes.BlockSize]))
	if err != nil {
		return "", err
	}
	padding := aes.BlockSize - len(text)%aes.BlockSize
	padded := []byte(text + strings.Repeat(string(rune(padding)), padding))
	vector := make([]byte, aes.BlockSize)
	cipher.NewCBCEncrypter(block, vector).CryptBlocks(padded, padded) //nolint:gosec // OpenNebula's tokens have it
	return base64.StdEncoding.EncodeToString(padded), nil
}
