// Package controlplane runs a real control plane from an emitted repository, in seconds and without
// containers, for tests that ask the API server itself whether a control holds.
//
// What runs is what kubeadm would run: the repository's node script prepares a scratch folder that
// stands for the node's filesystem, the real kubeadm reads the emitted configuration and makes the
// certificates, kubeconfigs and static pod manifests, and etcd, kube-apiserver and
// kube-controller-manager start as processes with exactly the arguments of those manifests. Only
// three things differ from a node: paths begin at the scratch folder, ports are free ones, and the
// API server listens on loopback. A path is looked up through the volumes of the pod, so a file that
// no volume mounts is a failure here as it would be on a node.
package controlplane

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/k8ssec/k8ssec/e2e/components"
)

// ControlPlane is a running control plane.
type ControlPlane struct {
	// Repository is the emitted repository.
	Repository string
	// Root is the folder that stands for the node's filesystem.
	Root string
	// Address is host:port of the API server, on loopback.
	Address string
	// Admin has the credentials of kubeadm's admin.conf, with the rate limits of the client lifted.
	Admin *rest.Config
	// Arguments are those that each component runs with, by its name.
	Arguments map[string][]string

	kubernetes, etcd, tools string // folders of binaries; kubectl is among the tools
	etcdURL                 string
	logs                    map[string]string
}

// advertise is the address that the control plane believes to have. Nothing listens there.
const advertise = "198.51.100.10"

// node is the name of the only node.
const node = "control-plane-1"

// Start runs the control plane that the repository describes and stops it at the end of the test.
func Start(t testing.TB, repository string) *ControlPlane {
	t.Helper()
	c, n := startServer(t, repository)
	c.run(t, n, "kube-controller-manager", c.kubernetes, func(args []string) []string {
		return append(args, "--secure-port="+freePort(t))
	})
	c.waitControllers(t)
	return c
}

// StartServer runs etcd and the API server alone. It is all that there is for the older minors.
func StartServer(t testing.TB, repository string) *ControlPlane {
	t.Helper()
	c, _ := startServer(t, repository)
	return c
}

func startServer(t testing.TB, repository string) (*ControlPlane, *Node) {
	t.Helper()
	n := Prepare(t, repository)
	c := &ControlPlane{
		Repository: repository,
		Root:       n.Root,
		Address:    "127.0.0.1:" + n.port,
		Arguments:  map[string][]string{},
		kubernetes: n.kubernetes,
		etcd:       ensure(t, components.Etcd),
		tools:      ensure(t, components.Kubernetes),
		logs:       map[string]string{},
	}
	etcd := freePort(t)
	c.etcdURL = "https://127.0.0.1:" + etcd
	ports := strings.NewReplacer(
		":2379", ":"+etcd, ":2380", ":"+freePort(t), ":2381", ":"+freePort(t),
		// etcd would listen at the address of the node as well.
		advertise, "127.0.0.1")

	begin := time.Now()
	c.run(t, n, "etcd", c.etcd, func(args []string) []string {
		for i := range args {
			args[i] = ports.Replace(args[i])
		}
		// The data of a test need not survive a power cut, and waiting for the disk is most of what
		// etcd does in one.
		return append(args, "--unsafe-no-fsync")
	})
	c.run(t, n, "kube-apiserver", c.kubernetes, func(args []string) []string {
		for i, a := range args {
			if strings.HasPrefix(a, "--etcd-servers=") {
				args[i] = ports.Replace(a)
			}
		}
		return append(args, "--bind-address=127.0.0.1")
	})
	c.waitReady(t)
	c.Admin = c.kubeconfig(t, "admin.conf")
	c.bindAdmins(t)
	t.Logf("the API server of %s is ready after %.1f s", filepath.Base(repository), time.Since(begin).Seconds())
	return c, n
}

// run starts the component of that name with the arguments of its static pod.
func (c *ControlPlane) run(t testing.TB, n *Node, name, dir string, edit func([]string) []string) {
	t.Helper()
	args, err := n.arguments(name)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	args = edit(args)
	c.Arguments[name] = args
	logFile := filepath.Join(t.TempDir(), name+".log")
	log, err := os.Create(logFile)
	if err != nil {
		t.Fatal(err)
	}
	c.logs[name] = logFile
	cmd := exec.Command(filepath.Join(dir, name), args...)
	cmd.Dir = n.Root
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + n.Root}
	cmd.Stdout, cmd.Stderr = log, log
	dieWithParent(cmd)
	if err := cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	var ended error
	done := make(chan struct{})
	go func() {
		defer close(done)
		ended = cmd.Wait()
	}()
	t.Cleanup(func() {
		select {
		case <-done:
			t.Errorf("%s ended by itself: %v\n%s", name, ended, c.Log(name))
		default:
			// Nothing is worth an orderly end: the data goes away with the test.
			if err := cmd.Process.Kill(); err != nil {
				t.Errorf("stop %s: %v", name, err)
			}
			<-done
		}
		log.Close()
	})
}

// Log returns the end of what the component of that name has written.
func (c *ControlPlane) Log(name string) string {
	b, err := os.ReadFile(c.logs[name])
	if err != nil {
		return err.Error()
	}
	const most = 6000
	if len(b) > most {
		b = b[len(b)-most:]
	}
	return string(b)
}

// waitReady asks, as the kubelet's probes do, without credentials: a control plane that refuses its
// own probes is restarted for ever on a node.
func (c *ControlPlane) waitReady(t testing.TB) {
	t.Helper()
	anonymous := c.Anonymous()
	var last string
	for end := time.Now().Add(90 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		resp, err := anonymous.Get("https://" + c.Address + "/readyz")
		if err != nil {
			last = err.Error()
			continue
		}
		body, _ := io.ReadAll(io.LimitReader(resp.Body, 500))
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			return
		}
		last = resp.Status + " " + string(body)
	}
	t.Fatalf("kube-apiserver is not ready: %s\n%s\netcd:\n%s", last, c.Log("kube-apiserver"), c.Log("etcd"))
}

// waitControllers waits for the first thing that workloads need of the controller manager.
func (c *ControlPlane) waitControllers(t testing.TB) {
	t.Helper()
	client := c.Client(t)
	for end := time.Now().Add(60 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if _, err := client.CoreV1().ServiceAccounts("default").Get(t.Context(), "default", getOptions); err == nil {
			return
		}
	}
	t.Fatalf("kube-controller-manager makes no service accounts:\n%s", c.Log("kube-controller-manager"))
}

// kubeconfig reads one of kubeadm's kubeconfigs.
func (c *ControlPlane) kubeconfig(t testing.TB, name string) *rest.Config {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", filepath.Join(c.Root, "etc/kubernetes", name))
	if err != nil {
		t.Fatal(err)
	}
	config.QPS = -1
	// Warnings are what some policies are for; a test that wants them sets its own handler.
	config.WarningHandler = rest.NoWarnings{}
	return config
}

// bindAdmins binds the group of admin.conf with the credentials of super-admin.conf, as kubeadm does
// once the API server answers.
func (c *ControlPlane) bindAdmins(t testing.TB) {
	t.Helper()
	if err := createAdminBinding(t.Context(), c.kubeconfig(t, "super-admin.conf")); err != nil {
		t.Fatal(err)
	}
}

// Client returns a typed client with the administrator's credentials.
func (c *ControlPlane) Client(t testing.TB) *kubernetes.Clientset {
	t.Helper()
	return clientFor(t, c.Admin)
}

// As returns a typed client that acts as a person of the identity provider or a service account.
func (c *ControlPlane) As(t testing.TB, user string, groups ...string) *kubernetes.Clientset {
	t.Helper()
	return clientFor(t, c.ConfigAs(user, groups...))
}

// ConfigAs returns the administrator's configuration, impersonating the user. As for a person who
// signs in, system:authenticated is among the groups.
func (c *ControlPlane) ConfigAs(user string, groups ...string) *rest.Config {
	config := rest.CopyConfig(c.Admin)
	config.Impersonate = rest.ImpersonationConfig{
		UserName: user,
		Groups:   append(slices.Clone(groups), "system:authenticated"),
	}
	return config
}

// WithToken returns a configuration whose only credential is the token.
func (c *ControlPlane) WithToken(token string) *rest.Config {
	config := rest.AnonymousClientConfig(c.Admin)
	config.BearerToken = token
	config.QPS = -1
	return config
}

// Anonymous returns an HTTP client without credentials that trusts the control plane.
func (c *ControlPlane) Anonymous() *http.Client {
	return &http.Client{
		Transport: &http.Transport{TLSClientConfig: c.TLS(), DisableKeepAlives: true},
		Timeout:   10 * time.Second,
	}
}

// TLS returns a client configuration that trusts the control plane and sends no certificate.
func (c *ControlPlane) TLS() *tls.Config {
	pool := x509.NewCertPool()
	if pem, err := os.ReadFile(filepath.Join(c.Root, "etc/kubernetes/pki/ca.crt")); err == nil {
		pool.AppendCertsFromPEM(pem)
	}
	return &tls.Config{RootCAs: pool, ServerName: "kubernetes"}
}

// Status returns the code with which the API server answers a GET without credentials.
func (c *ControlPlane) Status(t testing.TB, path string) int {
	t.Helper()
	resp, err := c.Anonymous().Get("https://" + c.Address + path)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}

// Stored returns the bytes that etcd holds under a key, read past the API server.
func (c *ControlPlane) Stored(t testing.TB, key string) []byte {
	t.Helper()
	pki := filepath.Join(c.Root, "etc/kubernetes/pki")
	cmd := exec.Command(filepath.Join(c.etcd, "etcdctl"), "--endpoints", c.etcdURL,
		"--cacert", filepath.Join(pki, "etcd/ca.crt"),
		"--cert", filepath.Join(pki, "apiserver-etcd-client.crt"),
		"--key", filepath.Join(pki, "apiserver-etcd-client.key"),
		"get", "--print-value-only", key)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("etcdctl get %s: %v", key, explain(err))
	}
	if len(out) == 0 {
		t.Fatalf("etcd holds nothing under %s", key)
	}
	return out
}

func clientFor(t testing.TB, config *rest.Config) *kubernetes.Clientset {
	t.Helper()
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func freePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}

// ensure returns the folder of a component's binaries. Building takes minutes, so its progress goes
// where a person sees it at once.
func ensure(t testing.TB, name string) string {
	t.Helper()
	dir, err := components.Ensure(os.Stderr, name)
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func run(t testing.TB, cmd *exec.Cmd) string {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%s%s", strings.Join(cmd.Args, " "), err, stdout.String(), stderr.String())
	}
	return stdout.String()
}

func explain(err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return fmt.Errorf("%w: %s", err, exit.Stderr)
	}
	return err
}
