// Package firewall loads the emitted node firewall into a network namespace, with the real nft, and
// connects to it from addresses of each kind. It needs root, nft (package nftables) and ip (iproute2);
// without them it fails, because a firewall that nothing has tried protects nobody.
package firewall

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// golden is the test of generators/network that has the firewall: nodes are 192.168.10.0/24, pods
// 10.244.0.0/16, the API is open to 192.168.0.0/16, SSH to 192.168.99.0/24, NodePorts to 192.168.50.0/24.
const golden = "../../generators/network/testdata/calico-decided.txtar"

// section returns one file of a txtar archive.
func section(t *testing.T, archive, name string) string {
	t.Helper()
	data, err := os.ReadFile(archive)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(data), "\n-- "+name+" --\n")
	if !ok {
		t.Fatalf("%s has no section %s", archive, name)
	}
	body, _, _ := strings.Cut(rest, "\n-- ")
	return body + "\n"
}

// The test binary runs itself inside a network namespace for the two ends of a connection.
const (
	listenVar = "K8SSEC_FIREWALL_LISTEN" // ports, separated by commas
	dialVar   = "K8SSEC_FIREWALL_DIAL"   // from,to:port
)

func TestMain(m *testing.M) {
	switch {
	case os.Getenv(listenVar) != "":
		os.Exit(listen(strings.Split(os.Getenv(listenVar), ",")))
	case os.Getenv(dialVar) != "":
		os.Exit(dial(strings.Split(os.Getenv(dialVar), ",")))
	}
	os.Exit(m.Run())
}

func listen(ports []string) int {
	for _, port := range ports {
		l, err := net.Listen("tcp", "0.0.0.0:"+port)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				if err := c.Close(); err != nil {
					return
				}
			}
		}()
	}
	fmt.Println("ready")
	select {}
}

func dial(args []string) int {
	d := net.Dialer{Timeout: 700 * time.Millisecond, LocalAddr: &net.TCPAddr{IP: net.ParseIP(args[0])}}
	c, err := d.Dial("tcp", args[1])
	if err != nil {
		fmt.Println("closed")
		return 0
	}
	fmt.Println("open")
	if err := c.Close(); err != nil {
		return 1
	}
	return 0
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

const (
	stranger = "203.0.113.5"
	node     = "192.168.10.50"
	pod      = "10.244.3.4"
	office   = "192.168.20.5"
	bastion  = "192.168.99.9"
	balancer = "192.168.50.7"
	server   = "192.168.10.2"
)

func TestFirewall(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("this test makes network namespaces: run it as root")
	}
	for _, tool := range []string{"nft", "ip"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("%v: apt-get install nftables iproute2", err)
		}
	}
	id := strconv.Itoa(os.Getpid())
	nodeNS, otherNS := "k8ssec-node-"+id, "k8ssec-other-"+id
	for _, ns := range []string{nodeNS, otherNS} {
		run(t, "ip", "netns", "add", ns)
		t.Cleanup(func() { run(t, "ip", "netns", "del", ns) })
		run(t, "ip", "-n", ns, "link", "set", "lo", "up")
	}
	run(t, "ip", "-n", nodeNS, "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", otherNS)
	run(t, "ip", "-n", nodeNS, "addr", "add", server+"/24", "dev", "eth0")
	run(t, "ip", "-n", nodeNS, "link", "set", "eth0", "up")
	run(t, "ip", "-n", nodeNS, "route", "add", "default", "dev", "eth0")
	run(t, "ip", "-n", otherNS, "link", "set", "eth0", "up")
	for _, address := range []string{stranger, node, pod, office, bastion, balancer} {
		run(t, "ip", "-n", otherNS, "addr", "add", address+"/32", "dev", "eth0")
	}
	run(t, "ip", "-n", otherNS, "route", "add", server, "dev", "eth0")

	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ports := "22,80,2379,6443,9100,10250,30080"
	listener := exec.CommandContext(t.Context(), "ip", "netns", "exec", nodeNS, self)
	listener.Env = append(os.Environ(), listenVar+"="+ports)
	listener.Cancel = func() error { return listener.Process.Kill() }
	out, err := listener.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := listener.Start(); err != nil {
		t.Fatal(err)
	}
	ready := make([]byte, 5)
	if _, err := out.Read(ready); err != nil || string(ready) != "ready" {
		t.Fatalf("the listener is not ready: %v", err)
	}

	connect := func(from string, port int) string {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		cmd := exec.CommandContext(ctx, "ip", "netns", "exec", otherNS, self)
		cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s,%s:%d", dialVar, from, server, port))
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("dial from %s to %d: %v", from, port, err)
		}
		return strings.TrimSpace(string(out))
	}

	// Before: everything is open, so that a deny later means something.
	for _, port := range []int{22, 2379, 6443, 10250, 30080} {
		if got := connect(stranger, port); got != "open" {
			t.Fatalf("without the firewall port %d is %s: the test proves nothing", port, got)
		}
	}

	file := filepath.Join(t.TempDir(), "k8ssec-firewall.nft")
	if err := os.WriteFile(file, []byte(section(t, golden, "bootstrap/node/k8ssec-firewall.nft")), 0o600); err != nil {
		t.Fatal(err)
	}
	// A table of somebody else must survive.
	run(t, "ip", "netns", "exec", nodeNS, "nft", "add table inet other")
	run(t, "ip", "netns", "exec", nodeNS, "nft", "-c", "-f", file)
	run(t, "ip", "netns", "exec", nodeNS, "nft", "-f", file)
	first := run(t, "ip", "netns", "exec", nodeNS, "nft", "-s", "list", "ruleset")
	run(t, "ip", "netns", "exec", nodeNS, "nft", "-f", file)
	if again := run(t, "ip", "netns", "exec", nodeNS, "nft", "-s", "list", "ruleset"); again != first {
		t.Errorf("loading the file again changes the rules:\n%s\n%s", first, again)
	}
	if !strings.Contains(first, "table inet other") {
		t.Error("the table of somebody else is gone")
	}

	for _, c := range []struct {
		from string
		port int
		want string
	}{
		{node, 6443, "open"}, {node, 2379, "open"}, {node, 10250, "open"}, {node, 30080, "open"}, {node, 22, "open"},
		{office, 6443, "open"}, {office, 2379, "closed"}, {office, 10250, "closed"}, {office, 30080, "closed"}, {office, 22, "closed"},
		{pod, 6443, "open"}, {pod, 10250, "open"}, {pod, 2379, "closed"}, {pod, 30080, "closed"},
		{bastion, 22, "open"}, {bastion, 10250, "closed"},
		{balancer, 30080, "open"}, {balancer, 10250, "closed"},
		{stranger, 6443, "closed"}, {stranger, 2379, "closed"}, {stranger, 10250, "closed"}, {stranger, 30080, "closed"}, {stranger, 22, "closed"},
		// Ports that are not Kubernetes' stay as they are.
		{stranger, 80, "open"}, {stranger, 9100, "open"},
	} {
		if got := connect(c.from, c.port); got != c.want {
			t.Errorf("from %s to port %d: %s, want %s", c.from, c.port, got, c.want)
		}
	}

	// The way back that the procedure's timer takes.
	run(t, "ip", "netns", "exec", nodeNS, "nft", "delete", "table", "inet", "k8ssec_firewall")
	if got := connect(stranger, 10250); got != "open" {
		t.Errorf("after the rollback port 10250 is %s", got)
	}
}
