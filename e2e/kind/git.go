package kind

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/cgi"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// GitServer serves one Git repository over HTTPS on this machine, which is outside of the cluster: the
// way that GitOps goes on a real one.
type GitServer struct {
	// URL is where the cluster finds the repository, and CA the certificate that it must trust.
	URL string
	CA  []byte

	bare   string
	server *http.Server
}

// ServeGit serves an empty repository at the nodes' network, on port 443.
func ServeGit(ctx context.Context, dir string) (*GitServer, error) {
	bare := filepath.Join(dir, "prod.git")
	if err := output(ctx, nil, "git", "init", "--quiet", "--bare", "--initial-branch=main", bare); err != nil {
		return nil, err
	}
	git, err := exec.LookPath("git")
	if err != nil {
		return nil, err
	}
	certificate, ca, err := certificate(HostAddress)
	if err != nil {
		return nil, err
	}
	listener, err := tls.Listen("tcp", net.JoinHostPort(HostAddress, "443"), &tls.Config{Certificates: []tls.Certificate{certificate}})
	if err != nil {
		return nil, fmt.Errorf("serve Git: %w", err)
	}
	g := &GitServer{URL: "https://" + HostAddress + "/prod.git", CA: ca, bare: bare, server: &http.Server{
		ReadHeaderTimeout: 10 * time.Second,
		Handler: &cgi.Handler{
			Path: git, Args: []string{"http-backend"}, Dir: dir,
			Env: []string{"GIT_PROJECT_ROOT=" + dir, "GIT_HTTP_EXPORT_ALL=1"},
		},
	}}
	go func() { _ = g.server.Serve(listener) }()
	return g, nil
}

// Close stops the server.
func (g *GitServer) Close() error { return g.server.Close() }

// Push commits everything in a folder and pushes it. The first push makes the folder a work tree.
func (g *GitServer) Push(ctx context.Context, dir, message string) error {
	if _, err := os.Stat(filepath.Join(dir, ".git")); errors.Is(err, os.ErrNotExist) {
		if err := output(ctx, nil, "git", "-C", dir, "init", "--quiet", "--initial-branch=main"); err != nil {
			return err
		}
	}
	for _, args := range [][]string{
		{"add", "--all"},
		{"-c", "user.name=k8ssec", "-c", "user.email=e2e@k8ssec.local", "commit", "--quiet", "--message", message},
		{"push", "--quiet", g.bare, "HEAD:main"},
	} {
		if err := output(ctx, nil, "git", append([]string{"-C", dir}, args...)...); err != nil {
			return err
		}
	}
	return nil
}

// certificate makes a key and a certificate for an address that is its own authority.
func certificate(address string) (tls.Certificate, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "git"}, IPAddresses: []net.IP{net.ParseIP(address)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key},
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}
