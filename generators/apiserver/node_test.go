package apiserver_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/sets"
	apiserverv1 "k8s.io/apiserver/pkg/apis/apiserver/v1"
	"sigs.k8s.io/yaml"

	"github.com/k8ssec/k8ssec/generators/apiserver"
	"github.com/k8ssec/k8ssec/generators/backup"
	"github.com/k8ssec/k8ssec/generators/encryption"
	"github.com/k8ssec/k8ssec/generators/generatortest"
)

// node is a folder that stands for the root of a node, with the emitted repository beside it.
type node struct {
	t          *testing.T
	root, repo string
}

func newNode(t *testing.T, cluster string) *node {
	t.Helper()
	n := &node{t: t, root: t.TempDir(), repo: t.TempDir()}
	p := generatortest.Posture(t, cluster)
	for _, f := range slices.Concat(generatortest.Emit(t, apiserver.New(), p), generatortest.Emit(t, backup.New(), p), generatortest.Emit(t, encryption.New(), p)) {
		put(t, filepath.Join(n.repo, f.Name), string(f.Data), 0o644)
	}
	return n
}

func put(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func (n *node) put(path, text string, mode os.FileMode) {
	put(n.t, filepath.Join(n.root, path), text, mode)
}

func (n *node) read(path string) string {
	n.t.Helper()
	b, err := os.ReadFile(filepath.Join(n.root, path))
	if err != nil {
		n.t.Fatal(err)
	}
	return string(b)
}

func (n *node) exists(path string) bool {
	_, err := os.Lstat(filepath.Join(n.root, path))
	return err == nil
}

func (n *node) mode(path string) os.FileMode {
	n.t.Helper()
	info, err := os.Lstat(filepath.Join(n.root, path))
	if err != nil {
		n.t.Fatal(err)
	}
	return info.Mode().Perm()
}

// script runs the emitted node script and wants it to end with the code. It returns what was printed.
func (n *node) script(code int, args ...string) string {
	n.t.Helper()
	return n.sh(code, filepath.Join(n.repo, "bootstrap/node/k8ssec-node.sh"), args...)
}

func (n *node) sh(code int, script string, args ...string) string {
	n.t.Helper()
	cmd := exec.Command("sh", append([]string{script}, args...)...)
	cmd.Env = append(os.Environ(), "K8SSEC_ROOT="+n.root)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		n.t.Fatal(err)
	}
	if got := cmd.ProcessState.ExitCode(); got != code {
		n.t.Fatalf("%v ends with %d, want %d\n%s", args, got, code, out.String())
	}
	return out.String()
}

const (
	keyFile = "etc/kubernetes/k8ssec-keys/encryption.yaml"
	apiPod  = "    - --encryption-provider-config=/" + keyFile + "\n"
)

// kubeadmInit leaves behind what `kubeadm init` does before the kubelet starts.
func (n *node) kubeadmInit() {
	n.put("etc/kubernetes/manifests/kube-apiserver.yaml", apiPod, 0o600)
	n.put("etc/kubernetes/manifests/etcd.yaml", "    - --initial-cluster=cp1=https://192.0.2.1:2380\n", 0o600)
	for _, name := range []string{"ca.crt", "server.crt", "server.key", "peer.crt", "peer.key"} {
		n.put("etc/kubernetes/pki/etcd/"+name, name, 0o600)
	}
	if err := os.MkdirAll(filepath.Join(n.root, "var/lib/etcd"), 0o755); err != nil {
		n.t.Fatal(err)
	}
}

var keyLine = regexp.MustCompile(`(?m)^        secret: ([A-Za-z0-9+/]{43}=)$`)

// key is the only key of the node's file.
func (n *node) key() string {
	n.t.Helper()
	found := keyLine.FindAllStringSubmatch(n.read(keyFile), -1)
	if len(found) != 1 {
		n.t.Fatalf("%d keys", len(found))
	}
	return found[0][1]
}

func TestNodeScriptMakesTheKeyOnce(t *testing.T) {
	n := newNode(t, `profiles: ["cis"]`)
	n.script(0, "--install", "control-plane")
	if n.exists(keyFile) {
		t.Fatal("a key before kubeadm init: a node that joins would have one as well")
	}
	n.kubeadmInit()
	n.script(2, "--check")
	if n.exists(keyFile) {
		t.Fatal("--check made something")
	}
	printed := n.script(0)
	key := n.key()
	if strings.Contains(printed, key) {
		t.Error("the key was printed")
	}
	if got := n.mode(keyFile); got != 0o600 {
		t.Errorf("the key has mode %o", got)
	}
	if got := n.mode("etc/kubernetes/k8ssec-keys"); got != 0o700 {
		t.Errorf("its directory has mode %o", got)
	}
	var config apiserverv1.EncryptionConfiguration
	if err := yaml.UnmarshalStrict([]byte(n.read(keyFile)), &config); err != nil {
		t.Fatal(err)
	}
	if got := config.Resources[0]; !sets.New(got.Resources...).Has("secrets") || len(got.Providers) != 1 || got.Providers[0].Secretbox == nil {
		t.Errorf("the file has %+v, want secretbox alone: with identity, plain text would be taken for a secret", got.Resources)
	}

	if printed := n.script(0); printed != "" || n.key() != key {
		t.Errorf("a second run changed something: %s", printed)
	}
	if printed := n.script(0, "--check"); !strings.Contains(printed, "all right") {
		t.Error(printed)
	}
	// Nothing of a half-done run is left where the API server looks.
	entries, err := os.ReadDir(filepath.Join(n.root, "etc/kubernetes/k8ssec-keys"))
	if err != nil || len(entries) != 1 {
		t.Errorf("the directory of the key holds %v, %v", entries, err)
	}
}

func TestNodeScriptMakesNoSecondKey(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(*node)
		code int
	}{
		{"on a worker", func(n *node) { n.put("var/lib/kubelet/config.yaml", "", 0o644) }, 0},
		{"on a control plane of another key", func(n *node) { n.put("etc/kubernetes/manifests/kube-apiserver.yaml", "", 0o600) }, 0},
		{"on a node that joins, before etcd", func(n *node) { n.put("etc/kubernetes/manifests/kube-apiserver.yaml", apiPod, 0o600) }, 1},
		{"on a node that joins, with etcd", func(n *node) {
			n.kubeadmInit()
			n.put("etc/kubernetes/manifests/etcd.yaml", "    - --initial-cluster-state=existing\n", 0o600)
		}, 1},
		{"where etcd has data", func(n *node) {
			n.kubeadmInit()
			n.put("var/lib/etcd/member/snap/db", "", 0o600)
		}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := newNode(t, `profiles: ["cis"]`)
			c.do(n)
			printed := n.script(c.code)
			if n.exists(keyFile) {
				t.Error("a key was made: this node could not read what the others wrote")
			}
			if told := strings.Contains(printed, "copy the file from another control plane node"); told != (c.code == 1) {
				t.Errorf("it said: %s", printed)
			}
		})
	}
}

func TestNodeScriptTightens(t *testing.T) {
	files := map[string][2]os.FileMode{
		"etc/kubernetes/manifests/kube-controller-manager.yaml":    {0o644, 0o600},
		"etc/kubernetes/manifests/kube-scheduler.yaml":             {0o755, 0o600},
		"etc/kubernetes/admin.conf":                                {0o640, 0o600},
		"etc/kubernetes/super-admin.conf":                          {0o666, 0o600},
		"etc/kubernetes/scheduler.conf":                            {0o644, 0o600},
		"etc/kubernetes/controller-manager.conf":                   {0o644, 0o600},
		"etc/kubernetes/kubelet.conf":                              {0o644, 0o600},
		"etc/kubernetes/pki/ca.crt":                                {0o666, 0o644},
		"etc/kubernetes/pki/ca.key":                                {0o644, 0o600},
		"etc/kubernetes/pki/sa.pub":                                {0o600, 0o600},
		"etc/kubernetes/pki/etcd/peer.key":                         {0o640, 0o600},
		"etc/kubernetes/pki/apiserver.crt":                         {0o400, 0o400}, // stricter stays
		"etc/cni/net.d/05-cilium.conflist":                         {0o644, 0o600},
		"var/lib/cni/networks/cbr0/10.244.0.2":                     {0o644, 0o600},
		"var/lib/kubelet/config.yaml":                              {0o644, 0o600},
		"usr/lib/systemd/system/kubelet.service.d/10-kubeadm.conf": {0o644, 0o600},
		"etc/systemd/system/kubelet.service":                       {0o644, 0o600},
		"var/log/kubernetes/audit/audit.log":                       {0o644, 0o600},
		"var/log/syslog":                                           {0o644, 0o644}, // not ours
	}
	n := newNode(t, `profiles: ["cis"]`)
	n.kubeadmInit()
	n.script(0)
	for path, modes := range files {
		n.put(path, "x", modes[0])
	}
	if err := os.Chmod(filepath.Join(n.root, "var/lib/etcd"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../../admin.conf", filepath.Join(n.root, "etc/kubernetes/pki/link.key")); err != nil {
		t.Fatal(err)
	}
	found := n.script(2, "--check")
	for path, modes := range files {
		if got := n.mode(path); got != modes[0] {
			t.Errorf("--check changed %s to %o", path, got)
		}
		if told := strings.Contains(found, "/"+path+" is"); told != (modes[0] != modes[1]) {
			t.Errorf("--check says of %s: %v", path, told)
		}
	}
	n.script(0)
	for path, modes := range files {
		if got := n.mode(path); got != modes[1] {
			t.Errorf("%s has mode %o, want %o", path, got, modes[1])
		}
	}
	if got := n.mode("var/lib/etcd"); got != 0o700 {
		t.Errorf("etcd's data has mode %o", got)
	}
	n.script(0, "--check")
	n.script(64, "--help")
}

func TestNodeScriptInstalls(t *testing.T) {
	n := newNode(t, `profiles: ["cis"]`)
	n.put("etc/kubernetes/k8ssec/admission/validating/old.yaml", "a policy that the repository no longer has", 0o600)
	n.script(0, "--install", "control-plane")
	for _, path := range []string{
		"usr/local/sbin/k8ssec-node.sh", "usr/local/sbin/k8ssec-rotate-key.sh",
		"usr/local/sbin/k8ssec-etcd-snapshot.sh", "etc/systemd/system/k8ssec-etcd-snapshot.service", "etc/systemd/system/k8ssec-etcd-snapshot.timer",
		"etc/systemd/system/kubelet.service.d/20-k8ssec.conf",
		"etc/kubernetes/k8ssec/authentication.yaml", "etc/kubernetes/k8ssec/admission.yaml",
	} {
		if got := n.mode(path); got&0o077 != 0 {
			t.Errorf("%s has mode %o", path, got)
		}
	}
	if n.exists("etc/kubernetes/k8ssec/admission/validating/old.yaml") {
		t.Error("a policy that is gone from the repository is still in force")
	}
	if printed := n.script(0, "--install", "control-plane"); printed != "" {
		t.Errorf("a second install is not quiet: %s", printed)
	}
	// What the kubelet's unit runs is the installed copy.
	if want := n.read("etc/systemd/system/kubelet.service.d/20-k8ssec.conf"); !strings.Contains(want, "ExecStartPre=-/bin/sh /usr/local/sbin/k8ssec-node.sh") {
		t.Error(want)
	}
	n.sh(0, filepath.Join(n.root, "usr/local/sbin/k8ssec-node.sh"), "--check")

	worker := newNode(t, `profiles: ["cis"]`)
	worker.script(0, "--install")
	if worker.exists("etc/kubernetes/k8ssec") || worker.exists("usr/local/sbin/k8ssec-rotate-key.sh") {
		t.Error("a worker has files of the control plane")
	}
}

func TestNodeScriptServesEtcdUser(t *testing.T) {
	n := newNode(t, `profiles: ["cis"], apiserver: etcdUser: true`)
	n.kubeadmInit()
	n.script(0)
	copied := "var/lib/k8ssec-etcd-pki/server.key"
	if got := n.read(copied); got != "server.key" {
		t.Errorf("etcd would get %q", got)
	}
	n.put("etc/kubernetes/pki/etcd/server.key", "renewed", 0o600)
	if found := n.script(2, "--check"); !strings.Contains(found, copied) {
		t.Errorf("an old copy is not told: %s", found)
	}
	n.script(0)
	if got := n.read(copied); got != "renewed" {
		t.Errorf("etcd would keep %q until it expires", got)
	}
	if n.mode(copied) != 0o600 || n.mode("var/lib/k8ssec-etcd-pki") != 0o700 {
		t.Error("etcd's copies are open")
	}
}

// TestRotation replaces the key on a rehearsed node. The steps that ask a running API server are
// proven against one.
func TestRotation(t *testing.T) {
	n := newNode(t, `profiles: ["cis"]`)
	script := filepath.Join(n.repo, "bootstrap/node/k8ssec-rotate-key.sh")
	var keys []string
	keep := func() []string {
		var found []string
		for _, m := range keyLine.FindAllStringSubmatch(n.read(keyFile), -1) {
			found = append(found, m[1])
		}
		return found
	}
	step := func(code int, args ...string) {
		t.Helper()
		printed := n.sh(code, script, args...)
		for _, key := range append(keep(), keys...) {
			if strings.Contains(printed, key) {
				t.Errorf("%v printed a key", args)
			}
		}
		if got := n.mode(keyFile); got != 0o600 {
			t.Errorf("%v leaves mode %o", args, got)
		}
		var config apiserverv1.EncryptionConfiguration
		if err := yaml.UnmarshalStrict([]byte(n.read(keyFile)), &config); err != nil {
			t.Errorf("%v: %v", args, err)
		}
	}
	n.kubeadmInit()
	n.script(0)
	keys = keep()
	old := keys[0]

	step(0, "status")
	step(1, "promote") // nothing to promote
	step(0, "drop")    // nothing to drop
	if got := keep(); len(got) != 1 || got[0] != old {
		t.Fatal("a step that had nothing to do changed the file")
	}
	step(0, "add")
	if got := keep(); len(got) != 2 || got[0] != old {
		t.Fatal("the new key writes before anybody else can read it")
	}
	newest := keep()[1]
	// At once, in the same second as the first key.
	if names := regexp.MustCompile(`key-\d{14}`).FindAllString(n.read(keyFile), -1); names[0] >= names[1] {
		t.Fatalf("the names %v do not tell which key is newer", names)
	}
	step(0, "add")
	step(1, "drop") // the newest does not write yet
	if got := keep(); len(got) != 2 {
		t.Fatalf("%d keys after a repeated add and a refused drop", len(got))
	}
	step(0, "promote")
	step(0, "promote")
	if got := keep(); len(got) != 2 || got[0] != newest || got[1] != old {
		t.Fatal("promote does not put the newest first, or loses the old one")
	}
	step(0, "drop")
	if got := keep(); len(got) != 1 || got[0] != newest {
		t.Fatal("drop does not leave the newest alone")
	}
	step(64, "rotate")

	// A cluster that was in plain text: identity stays until drop.
	n.put(keyFile, n.read(keyFile)+"  - identity: {}\n", 0o600)
	step(0, "add")
	step(0, "promote")
	if !strings.HasSuffix(n.read(keyFile), "  - identity: {}\n") {
		t.Error("identity is gone before everything is stored again")
	}
	step(0, "drop")
	if strings.Contains(n.read(keyFile), "identity") {
		t.Error("identity is left")
	}

	// The posture asks for more than the file has: nothing that is there is lost, and what is in plain
	// text can be read until drop.
	one := newNode(t, `profiles: ["cis"], encryption: resources: ["secrets"]`)
	one.kubeadmInit()
	one.script(0)
	n.put(keyFile, one.read(keyFile), 0o600)
	if found := n.script(2, "--check"); !strings.Contains(found, "does not encrypt configmaps") {
		t.Errorf("--check does not see what is not encrypted: %s", found)
	}
	step(0, "extend")
	step(0, "extend")
	extended := n.read(keyFile)
	if !strings.Contains(extended, "  - \"secrets\"\n  - \"configmaps\"\n  providers:\n") || !strings.HasSuffix(extended, "=\n  - identity: {}\n") {
		t.Errorf("extend makes %s", keyLine.ReplaceAllString(extended, "        secret: ..."))
	}
	step(0, "drop")
	n.script(0, "--check")

	// A file that somebody wrote by hand is not edited by line.
	n.put(keyFile, "resources:\n- providers: [{secretbox: {keys: [{name: a, secret: b}]}}]\n", 0o600)
	for _, s := range []string{"add", "promote", "drop"} {
		n.sh(1, script, s)
	}
}
