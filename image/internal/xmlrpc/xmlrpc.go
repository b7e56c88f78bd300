// Package xmlrpc makes calls to oned and to supervisord. It knows the few types that these use.
package xmlrpc

import (
	"bytes"
	"context"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// answerLimit is how much of an answer is read: the descriptions of a thousand virtual machines or hosts take some megabytes.
const answerLimit = 64 << 20

// Value is a value of a call or an answer. Exactly one field of an encoded one is set; a string may also come without an element.
type Value struct {
	String  *string `xml:"string"`
	Int     *string `xml:"i4"`
	Integer *string `xml:"int"`
	Boolean *string `xml:"boolean"`
	Array   *Array  `xml:"array"`
	Struct  *Struct `xml:"struct"`
	Bare    string  `xml:",chardata"`
}

// Array is a list of values.
type Array struct {
	Values []Value `xml:"data>value"`
}

// Struct is a set of named values.
type Struct struct {
	Members []Member `xml:"member"`
}

// Member is a named value of a struct.
type Member struct {
	Name  string `xml:"name"`
	Value Value  `xml:"value"`
}

// Text makes a string.
func Text(s string) Value { return Value{String: &s} }

// Number makes an integer.
func Number(n int) Value {
	text := strconv.Itoa(n)
	return Value{Int: &text}
}

// Bool makes a boolean.
func Bool(b bool) Value {
	text := "0"
	if b {
		text = "1"
	}
	return Value{Boolean: &text}
}

// Text is a value as text, whatever its type.
func (v Value) Text() string {
	for _, field := range []*string{v.String, v.Int, v.Integer, v.Boolean} {
		if field != nil {
			return strings.TrimSpace(*field)
		}
	}
	return strings.TrimSpace(v.Bare)
}

// Values are those of an array.
func (v Value) Values() []Value {
	if v.Array == nil {
		return nil
	}
	return v.Array.Values
}

// Member returns a value of a struct, an empty one when it has no such.
func (v Value) Member(name string) Value {
	if v.Struct == nil {
		return Value{}
	}
	for _, member := range v.Struct.Members {
		if member.Name == name {
			return member.Value
		}
	}
	return Value{}
}

// Fault is what a server says when it cannot carry out a call.
type Fault struct{ Code, Message string }

func (f *Fault) Error() string { return fmt.Sprintf("fault %s: %s", f.Code, f.Message) }

type methodCall struct {
	XMLName xml.Name `xml:"methodCall"`
	Method  string   `xml:"methodName"`
	Params  []param  `xml:"params>param"`
}

type param struct {
	Value Value `xml:"value"`
}

type methodResponse struct {
	XMLName xml.Name `xml:"methodResponse"`
	Params  []param  `xml:"params>param"`
	Fault   *Value   `xml:"fault>value"`
}

// Call calls a method and returns its result.
func Call(ctx context.Context, client *http.Client, url, method string, params ...Value) (Value, error) {
	call := methodCall{Method: method}
	for _, value := range params {
		call.Params = append(call.Params, param{value})
	}
	body, err := xml.Marshal(call)
	if err != nil {
		return Value{}, fmt.Errorf("call %s: %w", method, err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(append([]byte(xml.Header), body...)))
	if err != nil {
		return Value{}, fmt.Errorf("call %s: %w", method, err)
	}
	request.Header.Set("Content-Type", "text/xml")
	response, err := client.Do(request)
	if err != nil {
		return Value{}, fmt.Errorf("call %s: %w", method, err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return Value{}, fmt.Errorf("call %s at %s: the answer is %s", method, url, response.Status)
	}
	var answer methodResponse
	if err := xml.NewDecoder(io.LimitReader(response.Body, answerLimit)).Decode(&answer); err != nil {
		return Value{}, fmt.Errorf("call %s at %s: read the answer: %w", method, url, err)
	}
	switch {
	case answer.Fault != nil:
		return Value{}, fmt.Errorf("call %s at %s: %w", method, url,
			&Fault{answer.Fault.Member("faultCode").Text(), answer.Fault.Member("faultString").Text()})
	case len(answer.Params) != 1:
		return Value{}, fmt.Errorf("call %s at %s: the answer has %d values instead of 1", method, url, len(answer.Params))
	}
	return answer.Params[0].Value, nil
}
