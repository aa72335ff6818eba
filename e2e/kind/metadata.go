package kind

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"
)

// metadataAddress is where clouds hand out the credentials of a node to whoever asks from it.
const metadataAddress = "169.254.169.254"

// ServeMetadata answers at the address of a cloud's metadata service, for the nodes of the clusters: a
// probe that is denied there shows something only where somebody answers. The returned function ends
// it.
func ServeMetadata(ctx context.Context) (stop func(), err error) {
	add := func(verb string) error {
		return output(ctx, nil, "ip", "address", verb, metadataAddress+"/32", "dev", networkBridge)
	}
	if err := add("replace"); err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", net.JoinHostPort(metadataAddress, "80"))
	if err != nil {
		return nil, errors.Join(err, add("del"))
	}
	server := &http.Server{
		ReadHeaderTimeout: 10 * time.Second,
		Handler:           http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) }),
	}
	go func() { _ = server.Serve(listener) }()
	return func() {
		_ = server.Close()
		_ = output(context.WithoutCancel(ctx), nil, "ip", "address", "del", metadataAddress+"/32", "dev", networkBridge)
	}, nil
}
