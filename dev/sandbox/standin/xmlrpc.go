package standin

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// maxMessage bounds one XML-RPC message, in bytes.
const maxMessage = 1 << 20

// value is one XML-RPC value. A value without a type element is a string.
type value struct {
	Text    string   `xml:",chardata"`
	String  *string  `xml:"string"`
	Int     *int     `xml:"int"`
	I4      *int     `xml:"i4"`
	I8      *int64   `xml:"i8"`
	Boolean *int     `xml:"boolean"`
	Array   *[]value `xml:"array>data>value"`
}

func stringValue(s string) value { return value{String: &s} }
func intValue(n int) value       { return value{I4: &n} }
func longValue(n int64) value    { return value{I8: &n} }
func boolValue(b bool) value {
	n := 0
	if b {
		n = 1
	}
	return value{Boolean: &n}
}

func (v value) string() string {
	if v.String != nil {
		return *v.String
	}
	return v.Text
}

// scalar is a string, or an integer in digits.
func (v value) scalar() string {
	if n, err := v.int(); err == nil {
		return strconv.Itoa(n)
	}
	return v.string()
}

func (v value) int() (int, error) {
	switch {
	case v.I4 != nil:
		return *v.I4, nil
	case v.Int != nil:
		return *v.Int, nil
	}
	return 0, fmt.Errorf("%q is no integer", v.string())
}

// long is an integer of 64 bits, or one of 32.
func (v value) long() (int64, error) {
	if v.I8 != nil {
		return *v.I8, nil
	}
	n, err := v.int()
	return int64(n), err
}

type methodCall struct {
	XMLName xml.Name `xml:"methodCall"`
	Method  string   `xml:"methodName"`
	Params  []value  `xml:"params>param>value"`
}

type methodResponse struct {
	XMLName xml.Name `xml:"methodResponse"`
	Params  []value  `xml:"params>param>value,omitempty"`
	Fault   *fault   `xml:"fault"`
}

type fault struct {
	Members []member `xml:"value>struct>member"`
}

type member struct {
	Name  string `xml:"name"`
	Value value  `xml:"value"`
}

// readMessage decodes one XML-RPC message.
func readMessage(from io.Reader, message any) error {
	data, err := io.ReadAll(io.LimitReader(from, maxMessage+1))
	if err != nil {
		return err
	}
	if len(data) > maxMessage {
		return fmt.Errorf("message of more than %d bytes", maxMessage)
	}
	return xml.Unmarshal(data, message)
}

// writeMessage encodes one XML-RPC message.
func writeMessage(to io.Writer, message any) error {
	data, err := xml.Marshal(message)
	if err != nil {
		return err
	}
	_, err = to.Write(append([]byte(xml.Header), data...))
	return err
}

// send makes one call to oned at endpoint and returns its answer, which may say that the call failed.
func send(ctx context.Context, client *http.Client, endpoint string, request methodCall) (answer methodResponse, err error) {
	var body bytes.Buffer
	if err := writeMessage(&body, request); err != nil {
		return answer, err
	}
	post, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, &body)
	if err != nil {
		return answer, err
	}
	post.Header.Set("Content-Type", "text/xml")
	response, err := client.Do(post)
	if err != nil {
		return answer, err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return answer, fmt.Errorf("%s: %s answers %s", request.Method, endpoint, response.Status)
	}
	if err := readMessage(response.Body, &answer); err != nil {
		return answer, fmt.Errorf("%s: read the answer of %s: %w", request.Method, endpoint, err)
	}
	return answer, nil
}

// result returns what an answer consists of: whether the call succeeded, its result or what is wrong, and more.
func (m methodResponse) result() ([]value, error) {
	if m.Fault != nil {
		var parts []string
		for _, m := range m.Fault.Members {
			if m.Name == "faultString" {
				parts = append(parts, m.Value.string())
			}
		}
		return nil, errors.New(strings.Join(parts, " "))
	}
	if len(m.Params) != 1 || m.Params[0].Array == nil || len(*m.Params[0].Array) < 3 || (*m.Params[0].Array)[0].Boolean == nil {
		return nil, errors.New("the answer is something else than a result")
	}
	return *m.Params[0].Array, nil
}

// refusedError is an answer that a call failed, with oned's words and code.
type refusedError struct {
	code    int
	message string
}

func (e *refusedError) Error() string { return e.message }

// call sends one call to oned at endpoint and returns the text that it answers with. An answer that says that the call failed is
// an error with oned's own words.
func call(ctx context.Context, endpoint, method string, params ...value) (string, error) {
	answer, err := send(ctx, http.DefaultClient, endpoint, methodCall{Method: method, Params: params})
	if err != nil {
		return "", err
	}
	result, err := answer.result()
	if err != nil {
		return "", fmt.Errorf("%s: %s: %w", method, endpoint, err)
	}
	if *result[0].Boolean != 1 {
		code, _ := result[2].int()
		return "", &refusedError{code, result[1].string()}
	}
	return result[1].scalar(), nil
}
