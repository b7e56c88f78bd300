package standin_test

import (
	"context"
	"net"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
)

// messages are those of OpenNebula that the test has use for: a session, an id and a choice, and an answer in XML.
func messages(t *testing.T) (request, answer protoreflect.MessageDescriptor) {
	t.Helper()
	field := func(name string, number int32, kind descriptorpb.FieldDescriptorProto_Type) *descriptorpb.FieldDescriptorProto {
		return &descriptorpb.FieldDescriptorProto{
			Name: proto.String(name), Number: proto.Int32(number), Type: kind.Enum(), Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum(),
		}
	}
	file, err := protodesc.NewFile(&descriptorpb.FileDescriptorProto{
		Name: proto.String("test.proto"), Syntax: proto.String("proto3"),
		MessageType: []*descriptorpb.DescriptorProto{
			{Name: proto.String("Request"), Field: []*descriptorpb.FieldDescriptorProto{
				field("session", 1, descriptorpb.FieldDescriptorProto_TYPE_STRING), field("oid", 2, descriptorpb.FieldDescriptorProto_TYPE_INT32),
				field("decrypt", 3, descriptorpb.FieldDescriptorProto_TYPE_BOOL),
			}},
			{Name: proto.String("Answer"), Field: []*descriptorpb.FieldDescriptorProto{field("xml", 1, descriptorpb.FieldDescriptorProto_TYPE_STRING)}},
		},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return file.Messages().ByName("Request"), file.Messages().ByName("Answer")
}

// grpcCall makes a call and returns its answer or, with its code, its refusal.
func grpcCall(t *testing.T, address, method, session string, id int32) (string, codes.Code) {
	t.Helper()
	of, from := messages(t)
	request, answer := dynamicpb.NewMessage(of), dynamicpb.NewMessage(from)
	request.Set(of.Fields().ByName("session"), protoreflect.ValueOfString(session))
	request.Set(of.Fields().ByName("oid"), protoreflect.ValueOfInt32(id))
	request.Set(of.Fields().ByName("decrypt"), protoreflect.ValueOfBool(true))
	connection, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = connection.Close() }()
	if err := connection.Invoke(t.Context(), method, request, answer); err != nil {
		return status.Convert(err).Message(), status.Code(err)
	}
	return answer.Get(from.Fields().ByName("xml")).String(), codes.OK
}

// listenGRPC notes where a machine's oned answers gRPC.
func (m *machine) listenGRPC() (address chan string) {
	address = make(chan string, 1)
	listen := m.host.Listen
	m.host.Listen = func(ctx context.Context, network, at string) (net.Listener, error) {
		l, err := listen(ctx, network, at)
		if err == nil && strings.HasSuffix(at, ":2634") {
			address <- l.Addr().String()
		}
		return l, err
	}
	return address
}

func TestGRPC(t *testing.T) {
	m := newMachine(t, "7.2.0")
	opened := m.listenGRPC()
	m.start()
	at := <-opened
	const session, info, version = "oneadmin:first secret", "/one.user.UserService/Info", "/one.system.SystemService/Version"
	for _, c := range []struct {
		method, session string
		id              int32
		want            string
		code            codes.Code
	}{
		{version, session, 0, "7.2.0", codes.OK},
		{info, session, -1, "<NAME>oneadmin</NAME>", codes.OK},
		{info, session, 1, "<NAME>serveradmin</NAME>", codes.OK},
		{info, session, 9, "[one.user.info] Error getting user [9].", codes.NotFound},
		{info, "oneadmin:other", -1, "[one.user.info] User couldn't be authenticated, aborting call.", codes.Unauthenticated},
		{"/one.user.UserService/Nothing", session, -1, "/one.user.UserService/Nothing: Method not implemented", codes.Unimplemented},
	} {
		if got, code := grpcCall(t, at, c.method, c.session, c.id); code != c.code || !strings.Contains(got, c.want) {
			t.Errorf("%s %s %d: %s %q, want %s %q", c.method, c.session, c.id, code, got, c.code, c.want)
		}
	}
}

// TestGRPCOfFollowers needs the leader's end point in the zone, for calls that only the leader answers.
func TestGRPCOfFollowers(t *testing.T) {
	c := newCluster(t, testTimes)
	opened := map[*member]chan string{}
	for _, m := range c.members {
		opened[m] = m.listenGRPC()
	}
	c.start()
	leader := c.leader()
	follower := c.followers(leader)[0]
	at, leads := <-opened[follower], <-opened[leader]
	const session, info, version = "oneadmin:first secret", "/one.user.UserService/Info", "/one.system.SystemService/Version"
	if got, code := grpcCall(t, at, info, session, -1); code != codes.OK {
		t.Errorf("a follower refuses what it may answer itself: %s %s", code, got)
	}
	if got, code := grpcCall(t, at, version, session, 0); code != codes.Internal || got != "[one.system.version] ENDPOINT_GRPC for zone server not defined, update zone servers" {
		t.Errorf("without an end point of the leader: %s %q", code, got)
	}
	if got, code := grpcCall(t, leads, version, session, 0); code != codes.OK {
		t.Errorf("the leader: %s %s", code, got)
	}
	for _, m := range c.members {
		m.sql("UPDATE zone_pool SET body = replace(body, '</ENDPOINT>', '</ENDPOINT><ENDPOINT_GRPC><![CDATA[" + leads + "]]></ENDPOINT_GRPC>')")
	}
	if got, code := grpcCall(t, at, version, session, 0); code != codes.OK || got != "7.2.0" {
		t.Errorf("with an end point of the leader: %s %q", code, got)
	}
	if got, code := grpcCall(t, at, version, "oneadmin:other", 0); code != codes.Unauthenticated {
		t.Errorf("with a wrong password: %s %q", code, got)
	}
}
