package standin

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// grpcMethods are the calls that the stand-in answers over gRPC: what they are over XML-RPC, and what a request has after the session, by the
// numbers of its fields, from 2 on. An answer is a message with a text as its first field.
var grpcMethods = map[string]struct {
	call   string
	fields string
}{
	"/one.system.SystemService/Version": {"one.system.version", ""},
	"/one.user.UserService/Info":        {"one.user.info", "ib"},
}

// Codes of gRPC's own.
const (
	grpcOK               = 0
	grpcInvalidArgument  = 3
	grpcNotFound         = 5
	grpcPermissionDenied = 7
	grpcUnimplemented    = 12
	grpcInternal         = 13
	grpcUnauthenticated  = 16
)

// grpcAnswer is a message or, with another code than that for success, what is wrong.
type grpcAnswer struct {
	code    int
	message string
	content []byte
}

func grpcFailure(code int, message string) grpcAnswer {
	return grpcAnswer{code: code, message: message}
}

// framed is how many bytes come before each message: whether it is compressed, and how long it is.
const framed = 5

func frame(message []byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message))), message...)
}

// unframe reads the one message of a body.
func unframe(body io.Reader) ([]byte, error) {
	content, err := io.ReadAll(io.LimitReader(body, maxMessage))
	if err == nil && (len(content) < framed || content[0] != 0 || int(binary.BigEndian.Uint32(content[1:])) != len(content)-framed) {
		err = errors.New("not one plain message")
	}
	if err != nil {
		return nil, err
	}
	return content[framed:], nil
}

// serveGRPC answers gRPC, which is HTTP/2 with a status after the body, until stop is called.
func (d *daemon) serveGRPC(listener net.Listener) (stop func()) {
	server := &http.Server{Protocols: plainHTTP2(), ReadHeaderTimeout: 15 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		request, err := unframe(r.Body)
		answer := grpcFailure(grpcInternal, fmt.Sprint(err))
		if err == nil {
			answer = d.answerGRPC(r.Context(), r.URL.Path, request)
		}
		w.Header().Set("Content-Type", "application/grpc")
		w.Header().Set(http.TrailerPrefix+"Grpc-Status", strconv.Itoa(answer.code))
		w.Header().Set(http.TrailerPrefix+"Grpc-Message", url.PathEscape(answer.message))
		if answer.code == grpcOK {
			_, _ = w.Write(frame(answer.content))
		}
	})}
	served := make(chan struct{})
	go func() {
		_ = server.Serve(listener)
		close(served)
	}()
	return func() {
		closeQuietly(server)
		<-served
	}
}

// plainHTTP2 is HTTP/2 without TLS and nothing else.
func plainHTTP2() *http.Protocols {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	return protocols
}

func (d *daemon) answerGRPC(ctx context.Context, name string, request []byte) grpcAnswer {
	known, ok := grpcMethods[name]
	if !ok {
		return grpcFailure(grpcUnimplemented, name+": Method not implemented")
	}
	params, err := readRequest(request, known.fields)
	if err != nil {
		return grpcFailure(grpcInternal, err.Error())
	}
	if endpoint, failed := d.raft.route(); !d.methods()[known.call].anyone && endpoint != "" && failed == nil {
		if _, caller := d.authenticate(params); caller != nil {
			return d.forwardGRPC(ctx, endpoint, name, known.call, request)
		}
	}
	result, err := d.answer(ctx, methodCall{Method: known.call, Params: params}).result()
	if err != nil {
		return grpcFailure(grpcInternal, err.Error())
	}
	if *result[0].Boolean != 1 {
		code, _ := result[2].int()
		codes := map[int]int{
			codeAuthentication: grpcUnauthenticated, codeAuthorization: grpcPermissionDenied, codeNoExists: grpcNotFound, codeAPI: grpcInvalidArgument,
		}
		return grpcFailure(cmp.Or(codes[code], grpcInternal), result[1].string())
	}
	return grpcAnswer{content: protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), result[1].scalar())}
}

// forwardGRPC has the leader, whose end point is given, answer a call that only that answers: by gRPC, where the zone says, or not at all.
func (d *daemon) forwardGRPC(ctx context.Context, endpoint, name, call string, request []byte) grpcAnswer {
	z, err := d.server.readZone(zoneID)
	if err != nil {
		return grpcFailure(grpcInternal, err.Error())
	}
	i := slices.IndexFunc(z.Pool.Servers, func(server attributes) bool {
		return server.get("ENDPOINT") == endpoint && server.get("ENDPOINT_GRPC") != ""
	})
	if i < 0 {
		refusal := "[" + call + "] ENDPOINT_GRPC for zone server not defined, update zone servers"
		d.log.logf(levelError, "ReM", "Req:0 UID:- %s result FAILURE %s", call, refusal)
		return grpcFailure(grpcInternal, refusal)
	}
	transport := &http.Transport{Protocols: plainHTTP2()}
	defer transport.CloseIdleConnections()
	post, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+z.Pool.Servers[i].get("ENDPOINT_GRPC")+name, bytes.NewReader(frame(request)))
	if err != nil {
		return grpcFailure(grpcInternal, err.Error())
	}
	post.Header.Set("Content-Type", "application/grpc")
	post.Header.Set("Te", "trailers")
	response, err := transport.RoundTrip(post)
	if err != nil {
		return grpcFailure(grpcInternal, err.Error())
	}
	defer closeQuietly(response.Body)
	content, readErr := unframe(response.Body)
	code, err := strconv.Atoi(cmp.Or(response.Trailer.Get("Grpc-Status"), response.Header.Get("Grpc-Status")))
	message, _ := url.PathUnescape(cmp.Or(response.Trailer.Get("Grpc-Message"), response.Header.Get("Grpc-Message")))
	if err == nil && code == grpcOK {
		err = readErr
	}
	if err != nil {
		return grpcFailure(grpcInternal, err.Error())
	}
	return grpcAnswer{code, message, content}
}

// readRequest reads a message: the session, and numbers (i) and truths (b), in the order of their fields. What is not there is zero.
func readRequest(message []byte, fields string) ([]value, error) {
	params := []value{stringValue("")}
	for _, kind := range fields {
		if kind == 'b' {
			params = append(params, boolValue(false))
		} else {
			params = append(params, intValue(0))
		}
	}
	for len(message) > 0 {
		field, kind, n := protowire.ConsumeTag(message)
		if n < 0 {
			return nil, protowire.ParseError(n)
		}
		message = message[n:]
		at := int(field) - 1
		switch {
		case at == 0 && kind == protowire.BytesType:
			text, length := protowire.ConsumeString(message)
			params[0], n = stringValue(text), length
		case at < len(params) && kind == protowire.VarintType:
			number, length := protowire.ConsumeVarint(message)
			if n = length; params[at].Boolean != nil {
				params[at] = boolValue(number != 0)
			} else {
				params[at] = intValue(int(int32(number)))
			}
		default:
			n = protowire.ConsumeFieldValue(field, kind, message)
		}
		if n < 0 {
			return nil, protowire.ParseError(n)
		}
		message = message[n:]
	}
	return params, nil
}
