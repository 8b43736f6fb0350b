package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"sallyport/internal/gate"
)

// plainCodec carries text, so that no messages need to be generated.
type plainCodec struct{}

func (plainCodec) Name() string                  { return "proto" }
func (plainCodec) Marshal(v any) ([]byte, error) { return []byte(*v.(*string)), nil }
func (plainCodec) Unmarshal(p []byte, v any) error {
	*v.(*string) = string(p)
	return nil
}

// greeter is a gRPC service of one method of each kind.
func greeter(t *testing.T) string {
	t.Helper()
	unary := func(_ any, ctx context.Context, dec func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		var in string
		if err := dec(&in); err != nil {
			return nil, err
		}
		md, _ := metadata.FromIncomingContext(ctx)
		_ = grpc.SetHeader(ctx, metadata.Pairs("x-seen", strings.Join(md.Get("x-sent"), ",")))
		_ = grpc.SetTrailer(ctx, metadata.Pairs("x-trailer", "at the end", "server", "leaky"))
		if in == "hang" {
			<-ctx.Done()
			return nil, status.FromContextError(ctx.Err()).Err()
		}
		if in == "refuse" {
			return nil, status.Error(codes.FailedPrecondition, "not now")
		}
		out := "hello " + in
		return &out, nil
	}
	// chat answers each message at once, and says how many there were.
	chat := func(_ any, s grpc.ServerStream) error {
		for n := 0; ; n++ {
			var in string
			switch err := s.RecvMsg(&in); {
			case errors.Is(err, io.EOF):
				s.SetTrailer(metadata.Pairs("x-count", fmt.Sprint(n)))
				return nil
			case err != nil:
				return err
			}
			in += "!"
			if err := s.SendMsg(&in); err != nil {
				return err
			}
		}
	}
	srv := grpc.NewServer(grpc.ForceServerCodec(plainCodec{}))
	srv.RegisterService(&grpc.ServiceDesc{
		ServiceName: "test.Greeter", HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{MethodName: "Hello", Handler: unary}},
		Streams: []grpc.StreamDesc{{StreamName: "Chat", Handler: chat, ServerStreams: true, ClientStreams: true}},
	}, struct{}{})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { _ = srv.Serve(l); close(done) }()
	t.Cleanup(func() { srv.Stop(); <-done })
	return l.Addr().String()
}

const grpcEdge = `
listeners: [{address: "127.0.0.1:0", protocols: [h2c]}]
clients: {trusted_proxies: [127.0.0.0/8]}
geo: {deny: [198.51.100.0/24]}
policies: {default: {rules_before: [grpc.conf]}}
limits: [{name: small, rate: 1/h, burst: 1, paths: [/test.Limited]}]
pools:
  app: {backends: [{name: one, url: "h2c://$BACKEND"}]}
  dead: {backends: [{name: gone, url: "h2c://127.0.0.1:9"}]}
routes:
  - {name: dead, pool: dead, paths: [/test.Dead]}
  - {name: late, pool: app, paths: [/test.Greeter/Late], timeout: 100ms}
  - {name: grpc, pool: app}
audit: {path: audit.jsonl}
admin: {address: ""}
`

// grpcRule lets bodies of gRPC pass the list of types that the CRS expects.
const grpcRule = `SecRule REQUEST_HEADERS:Content-Type "@rx ^application/grpc(?:\+proto)?$" \
    "id:1030,phase:1,pass,nolog,t:none,ctl:ruleRemoveById=920420"
`

func TestGRPC(t *testing.T) {
	e := openTo(t, greeter(t), grpcEdge, "grpc.conf", grpcRule)
	conn, err := grpc.NewClient(e.address, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodec(plainCodec{})), grpc.WithDisableRetry())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	call := func(ctx context.Context, method, in string) (out string, header, trailer metadata.MD, err error) {
		err = conn.Invoke(ctx, method, &in, &out, grpc.Header(&header), grpc.Trailer(&trailer))
		return out, header, trailer, err
	}

	out, header, trailer, err := call(metadata.AppendToOutgoingContext(ctx, "x-sent", "metadata"), "/test.Greeter/Hello", "world")
	if err != nil || out != "hello world" || fmt.Sprint(header.Get("x-seen"), trailer.Get("x-trailer")) != "[metadata] [at the end]" || len(trailer.Get("server")) > 0 {
		t.Errorf("unary: %q, %v, header %v, trailer %v", out, err, header, trailer)
	}
	if ids := header.Get("x-request-id"); len(ids) != 1 {
		t.Errorf("request ids %v", ids)
	} else if r := e.notes.find(t, ids[0]); r.Action != "pass" || r.Pool.Status != 200 {
		t.Errorf("record %+v", r)
	}
	big := strings.Repeat("x", 3<<20)
	if out, _, _, err := call(ctx, "/test.Greeter/Hello", big); err != nil || len(out) != len(big)+6 {
		t.Errorf("a large message: %d bytes, %v", len(out), err)
	}
	_, _, trailer, err = call(ctx, "/test.Greeter/Hello", "refuse")
	if s := status.Convert(err); s.Code() != codes.FailedPrecondition || s.Message() != "not now" || len(trailer.Get("x-trailer")) != 1 {
		t.Errorf("the server's own error: %v, trailer %v", err, trailer)
	}
	if _, _, _, err := call(ctx, "/test.Greeter/Nothing", "x"); status.Code(err) != codes.Unimplemented {
		t.Errorf("an unknown method: %v", err)
	}

	s, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/test.Greeter/Chat")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20 { // in turns: neither side's words wait for the end of the other's
		word := fmt.Sprint("word ", i)
		if err := s.SendMsg(&word); err != nil {
			t.Fatal(err)
		}
		var heard string
		if err := s.RecvMsg(&heard); err != nil || heard != word+"!" {
			t.Fatalf("heard %q, %v", heard, err)
		}
	}
	_ = s.CloseSend()
	var rest string
	if err := s.RecvMsg(&rest); !errors.Is(err, io.EOF) || fmt.Sprint(s.Trailer().Get("x-count")) != "[20]" {
		t.Errorf("at the end %v, trailer %v", err, s.Trailer())
	}

	for _, tc := range []struct {
		rule, method, client string
		code                 codes.Code
		reason               gate.Reason
	}{
		{"a denied client", "/test.Greeter/Hello", "198.51.100.7", codes.PermissionDenied, gate.GeoPrefix},
		{"a client within its budget, and an unknown service", "/test.Limited/X", "203.0.113.7", codes.Unimplemented, ""},
		{"a client over its budget", "/test.Limited/X", "203.0.113.7", codes.ResourceExhausted, gate.LimitOverBudget},
		{"no backend", "/test.Dead/X", "203.0.113.7", codes.Unavailable, gate.PoolConnect},
	} {
		_, _, trailer, err := call(metadata.AppendToOutgoingContext(ctx, "x-forwarded-for", tc.client), tc.method, "x")
		if status.Code(err) != tc.code {
			t.Errorf("%s: %v, want %v", tc.rule, err, tc.code)
		}
		if ids := trailer.Get("x-request-id"); tc.reason != "" {
			if len(ids) != 1 || e.notes.find(t, ids[0]).Reason != tc.reason {
				t.Errorf("%s: no record with %s: %v", tc.rule, tc.reason, trailer)
			}
		}
	}

	// A client that gives up ends the work of the server.
	short, end := context.WithTimeout(ctx, 100*time.Millisecond)
	defer end()
	if _, _, _, err := call(short, "/test.Greeter/Hello", "hang"); status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("a deadline of the client: %v", err)
	}
}
