package container_test

import (
	"context"
	"net"
	"testing"

	"github.com/Masterminds/semver/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// grpcSince is the first version with gRPC.
const grpcSince = "7.2.0"

// wantGRPC asks oned for its version by gRPC as oneadmin, where a version has that. A front-end of several asks the leader.
func (c *container) wantGRPC(t *testing.T, version, password string) {
	t.Helper()
	if semver.MustParse(version).LessThan(semver.MustParse(grpcSince)) {
		return
	}
	got, err := c.askGRPC(t, password)
	if err != nil || got != version {
		t.Errorf("by gRPC oned says that it is version %q, %v, want %s", got, err, version)
	}
	if _, err := c.askGRPC(t, "not "+password); err == nil {
		t.Error("oned takes any password by gRPC")
	}
}

// askGRPC calls one.system.SystemService/Version. Its request and its answer have a string as their first field, as StringValue has.
func (c *container) askGRPC(t *testing.T, password string) (string, error) {
	t.Helper()
	in := network{c.networkPath(t)}
	client, err := grpc.NewClient("passthrough:///127.0.0.1:2634", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) { return in.dial(ctx, "tcp", address) }))
	if err != nil {
		return "", err
	}
	defer func() { _ = client.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), startLimit)
	defer cancel()
	var answer wrapperspb.StringValue
	err = client.Invoke(ctx, "/one.system.SystemService/Version", wrapperspb.String("oneadmin:"+password), &answer)
	return answer.GetValue(), err
}
