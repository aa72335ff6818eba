// Package backup_test runs what the domain backup emits: the snapshots of etcd on a real one, and the
// steps of the restore test, each with the rights that its job has, against a real API server.
package backup_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/k8ssec/k8ssec/e2e/controlplane"
)

const clusterFile = `package cluster

profiles: ["baseline"]
cluster: name: "prod"
namespaces: "team-a": owner: "team-a"
backup: {
	install: "existing"
	location: {bucket: "prod-backups", region: "eu-central-1", credentialSecret: "bucket"}
	restoreTest: namespace: "team-a"
	etcdSnapshots: keep: 2
}
`

func TestBackup(t *testing.T) {
	c := controlplane.StartServer(t, controlplane.Generate(t, clusterFile))
	c.ApplyCRDs(t)
	if errs := c.Apply(t); len(errs) > 0 {
		t.Fatal(errors.Join(errs...))
	}
	t.Run("snapshot", func(t *testing.T) { snapshot(t, c) })
	t.Run("restore test", func(t *testing.T) { restoreTest(t, c) })
}

// crictl stands for the runtime of the node: it runs what etcd's container has as the host's process. The
// check of a snapshot is etcdutl's: the last 32 bytes are the SHA-256 of all before.
const crictl = `#!/bin/sh
set -eu
case $1 in
ps) echo etcd-container ;;
exec)
  shift 2
  tool=$1
  shift
  for arg in "$@"; do
    shift
    set -- "$@" "$(echo "$arg" | sed "s|^https://127.0.0.1:2379$|ENDPOINT|; s|^/var/lib/etcd/|ROOT/var/lib/etcd/|; s|^/etc/kubernetes/|ROOT/etc/kubernetes/|")"
  done
  case $tool in
  etcdctl) exec "TOOLS/etcdctl" "$@" ;;
  etcdutl)
    for file in "$@"; do :; done
    size=$(($(stat -c %s "$file") - 32))
    [ "$(head -c "$size" "$file" | sha256sum | cut -d' ' -f1)" = "$(tail -c 32 "$file" | od -An -tx1 | tr -d ' \n')" ] || exit 1
    echo '{"hash":1,"revision":2,"totalKey":345,"totalSize":6}'
    ;;
  esac
  ;;
esac
`

func snapshot(t *testing.T, c *controlplane.ControlPlane) {
	var endpoint string
	for _, arg := range c.Arguments["etcd"] {
		if urls, ok := strings.CutPrefix(arg, "--listen-client-urls="); ok {
			endpoint, _, _ = strings.Cut(urls, ",")
		}
	}
	bin := t.TempDir()
	fake := func(text string) {
		t.Helper()
		text = strings.NewReplacer("ENDPOINT", endpoint, "ROOT", c.Root, "TOOLS", c.Etcd()).Replace(text)
		if err := os.WriteFile(filepath.Join(bin, "crictl"), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	fake(crictl)
	script := func(code int, args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), filepath.Join(c.Repository, "bootstrap/node/k8ssec-etcd-snapshot.sh"), args...)
		cmd.Env = append(os.Environ(), "K8SSEC_ROOT="+c.Root, "PATH="+bin+":"+os.Getenv("PATH"))
		var b bytes.Buffer
		cmd.Stdout, cmd.Stderr = &b, &b
		err := cmd.Run()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		if got := cmd.ProcessState.ExitCode(); got != code {
			t.Fatalf("%v: exit code %d, want %d\n%s", args, got, code, b.String())
		}
		return b.String()
	}
	kept := func() []string {
		t.Helper()
		files, err := filepath.Glob(filepath.Join(c.Root, "var/backups/etcd/etcd-*"))
		if err != nil {
			t.Fatal(err)
		}
		return files
	}
	for range 3 {
		script(0)
		time.Sleep(1100 * time.Millisecond) // the name has the second
	}
	// Two are kept, each with its hash, and nobody else reads them.
	files := kept()
	if len(files) != 4 {
		t.Fatalf("kept: %v", files)
	}
	for _, f := range files {
		info, err := os.Stat(f)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", f, info.Mode(), err)
		}
		if strings.HasSuffix(f, ".sha256") {
			cmd := exec.CommandContext(t.Context(), "sha256sum", "--check", "--quiet", filepath.Base(f))
			cmd.Dir = filepath.Dir(f)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%s: %s", f, out)
			}
		} else if data, err := os.ReadFile(f); err != nil || !bytes.Contains(data, []byte("/registry/namespaces/team-a")) {
			t.Errorf("%s does not hold the cluster (%v)", f, err)
		}
	}
	if out := script(0, "list"); strings.Count(out, "seconds old") != 2 {
		t.Errorf("list:\n%s", out)
	}
	script(64, "nonsense")
	// Nothing broken counts, and nothing good is lost for it.
	for what, text := range map[string]string{
		"a broken snapshot":  strings.Replace(crictl, `etcdctl) exec "TOOLS/etcdctl" "$@" ;;`, `etcdctl) "TOOLS/etcdctl" "$@"; for f in "$@"; do :; done; printf x | dd of="$f" bs=1 seek=100 conv=notrunc 2>/dev/null ;;`, 1),
		"an empty snapshot":  strings.Replace(crictl, `"totalKey":345`, `"totalKey":0`, 1),
		"no etcd":            strings.Replace(crictl, "ps) echo etcd-container ;;", "ps) ;;", 1),
		"etcd does not give": strings.Replace(crictl, `exec "TOOLS/etcdctl" "$@"`, "exit 1", 1),
	} {
		fake(text)
		script(1)
		if now := kept(); strings.Join(now, " ") != strings.Join(files, " ") {
			t.Errorf("%s: kept %v, before %v", what, now, files)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(c.Root, "var/lib/etcd/*.partial")); len(left) > 0 {
		t.Errorf("left in etcd's directory: %v", left)
	}
}

func restoreTest(t *testing.T, c *controlplane.ControlPlane) {
	job, err := c.Client(t).BatchV1().CronJobs("velero").Get(t.Context(), "k8ssec-restore-test", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	steps := steps(job)
	dir := t.TempDir()
	config, err := c.Client(t).CoreV1().ConfigMaps("velero").Get(t.Context(), "k8ssec-restore-test", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "restore.yaml"), []byte(config.Data["restore.yaml"]), 0o600); err != nil {
		t.Fatal(err)
	}
	// Each step as its container runs it, with the rights of the job's account.
	run := func(name string) (string, error) {
		t.Helper()
		args := steps[name]
		if args == nil {
			t.Fatalf("no step %s in %v", name, steps)
		}
		for i := range args {
			args[i] = strings.Replace(args[i], "/restore/restore.yaml", filepath.Join(dir, "restore.yaml"), 1)
			args[i] = strings.Replace(args[i], "/tmp/cache", filepath.Join(dir, "cache"), 1)
			args[i] = regexp.MustCompile(`^--timeout=.*`).ReplaceAllString(args[i], "--timeout=5s")
		}
		args = append(args, "--as=system:serviceaccount:velero:k8ssec-restore-test", "--as-group=system:serviceaccounts", "--as-group=system:authenticated")
		cmd := exec.CommandContext(t.Context(), filepath.Join(c.Tools(), "kubectl"), args...)
		cmd.Env = append(os.Environ(), "KUBECONFIG="+c.Kubeconfig())
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	pass := func(name string) {
		t.Helper()
		if out, err := run(name); err != nil {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
	fail := func(name, why string) {
		t.Helper()
		if out, err := run(name); err == nil {
			t.Errorf("%s passes although %s\n%s", name, why, out)
		}
	}
	status := func(patch string) {
		t.Helper()
		c.Kubectl(t, "-n", "velero", "patch", "restores.velero.io", "k8ssec-restore-test", "--type=merge", "-p", patch)
	}
	left := `
apiVersion: v1
kind: ConfigMap
metadata: {name: of-the-last-time, namespace: restore-test}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: elsewhere, namespace: team-a}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: default, namespace: restore-test}
`
	if errs := c.ApplyYAML(t, left); len(errs) > 0 {
		t.Fatal(errors.Join(errs...))
	}
	pass("forget-the-last") // there is none
	pass("empty")
	if out := c.Kubectl(t, "get", "configmaps", "-A", "-o", "name"); strings.Contains(out, "of-the-last-time") || !strings.Contains(out, "elsewhere") {
		t.Errorf("emptied wrongly:\n%s", out)
	}
	c.Kubectl(t, "-n", "restore-test", "get", "serviceaccount", "default")
	pass("restore")
	fail("restore", "the last one is still there")
	fail("completed", "Velero has not begun")
	status(`{"status":{"phase":"PartiallyFailed"}}`)
	fail("completed", "it failed in part")
	status(`{"status":{"phase":"Completed","progress":{"totalItems":0}}}`)
	pass("completed")
	fail("not-nothing", "nothing was restored")
	status(`{"status":{"progress":{"totalItems":7,"itemsRestored":7}}}`)
	pass("not-nothing")
	pass("empty-again")
	pass("forget-the-last")
	if out := c.Kubectl(t, "-n", "velero", "get", "restores.velero.io", "-o", "name"); strings.TrimSpace(out) != "" {
		t.Errorf("left: %s", out)
	}
}

func steps(job *batchv1.CronJob) map[string][]string {
	spec := job.Spec.JobTemplate.Spec.Template.Spec
	all := map[string][]string{}
	for _, c := range append(spec.InitContainers, spec.Containers...) {
		all[c.Name] = c.Args
	}
	return all
}
