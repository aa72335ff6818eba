package controlplane

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// Node is a folder that stands for the filesystem of a control plane node, as it is after the
// repository's node script and `kubeadm init` have written to it.
type Node struct {
	Root string
	// Config is the configuration that kubeadm read.
	Config string

	kubernetes string // folder of kubeadm
	port       string // of the API server
}

// Prepare lays out the node of a repository and starts nothing.
func Prepare(t testing.TB, repository string) *Node {
	t.Helper()
	n := &Node{Root: t.TempDir(), kubernetes: kubernetesOf(t, repository), port: freePort(t)}
	n.install(t, repository)
	n.kubeadm(t, repository)
	n.beforeKubelet(t)
	n.movePaths(t)
	return n
}

// kubeadm runs `kubeadm init` as far as the files that it writes, and puts them where they belong.
// Its dry run writes them all into one folder, with the paths of a real node inside.
func (n *Node) kubeadm(t testing.TB, repository string) {
	t.Helper()
	config, err := kubeadmConfig(repository, n.port)
	if err != nil {
		t.Fatal(err)
	}
	// The only path of the configuration that kubeadm itself reads.
	config = strings.ReplaceAll(config, "directory: /etc/kubernetes/", "directory: "+n.Root+"/etc/kubernetes/")
	n.Config = filepath.Join(n.Root, "kubeadm.yaml")
	if err := os.WriteFile(n.Config, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	made := t.TempDir()
	cmd := exec.Command(filepath.Join(n.kubernetes, "kubeadm"), "init", "--dry-run", "--config", n.Config,
		"--skip-phases", "preflight,kubelet-start,wait-control-plane,upload-config,upload-certs,mark-control-plane,"+
			"bootstrap-token,kubelet-finalize,addon,show-join-command")
	cmd.Env = append(os.Environ(), "KUBEADM_INIT_DRYRUN_DIR="+made)
	run(t, cmd)
	err = filepath.WalkDir(made, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		rel, err := filepath.Rel(made, path)
		if err != nil {
			return err
		}
		to := filepath.Join(n.Root, "etc/kubernetes/pki", rel)
		switch filepath.Ext(rel) {
		case ".yaml":
			to = filepath.Join(n.Root, "etc/kubernetes/manifests", rel)
		case ".conf":
			to = filepath.Join(n.Root, "etc/kubernetes", rel)
			if err := n.moveServer(path); err != nil {
				return err
			}
		}
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		return os.Rename(path, to)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// moveServer makes a kubeconfig name the place where the API server listens.
func (n *Node) moveServer(kubeconfig string) error {
	b, err := os.ReadFile(kubeconfig)
	if err != nil {
		return err
	}
	moved := serverLine.ReplaceAll(b, []byte("${1}server: https://127.0.0.1:"+n.port+"\n${1}tls-server-name: kubernetes"))
	return os.WriteFile(kubeconfig, moved, 0o600)
}

// Pod returns the static pod that kubeadm wrote for a component.
func (n *Node) Pod(name string) (*corev1.Pod, error) {
	b, err := os.ReadFile(filepath.Join(n.Root, "etc/kubernetes/manifests", name+".yaml"))
	if err != nil {
		return nil, err
	}
	pod := &corev1.Pod{}
	if err := yaml.UnmarshalStrict(b, pod); err != nil {
		return nil, fmt.Errorf("static pod of %s: %w", name, err)
	}
	return pod, nil
}

// written are the arguments that name files which the component writes.
var written = map[string]bool{"audit-log-path": true, "data-dir": true}

// arguments returns the arguments of the component's static pod, with each path replaced by the
// place in the scratch folder that the pod's volumes give it. Folders that the kubelet would create
// are created.
func (n *Node) arguments(name string) ([]string, error) {
	pod, err := n.Pod(name)
	if err != nil {
		return nil, err
	}
	if err := n.makeVolumes(pod); err != nil {
		return nil, err
	}
	container := pod.Spec.Containers[0]
	if container.Command[0] != name {
		return nil, fmt.Errorf("the pod runs %q", container.Command[0])
	}
	var args []string
	for _, arg := range append(container.Command[1:], container.Args...) {
		flag, value, found := strings.Cut(arg, "=")
		if !found || !strings.HasPrefix(value, "/") {
			args = append(args, arg)
			continue
		}
		place, readOnly, err := n.locate(pod, value)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", flag, err)
		}
		if readOnly && written[strings.TrimPrefix(flag, "--")] {
			return nil, fmt.Errorf("%s: the volume of %s is mounted read-only", flag, value)
		}
		args = append(args, flag+"="+place)
	}
	return args, nil
}

// locate maps a path of the component's container to the scratch folder.
func (n *Node) locate(pod *corev1.Pod, path string) (place string, readOnly bool, err error) {
	var best corev1.VolumeMount
	for _, m := range pod.Spec.Containers[0].VolumeMounts {
		if within(path, m.MountPath) && len(m.MountPath) > len(best.MountPath) {
			best = m
		}
	}
	for _, v := range pod.Spec.Volumes {
		if v.Name == best.Name && best.Name != "" && v.HostPath != nil {
			return filepath.Join(n.Root, v.HostPath.Path, strings.TrimPrefix(path, best.MountPath)), best.ReadOnly, nil
		}
	}
	return "", false, fmt.Errorf("no volume of the pod holds %s", path)
}

func within(path, dir string) bool {
	return path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}

// makeVolumes does what the kubelet does with the host paths of a static pod: it creates those that
// say so, and refuses the pod where another is missing or of the wrong type.
func (n *Node) makeVolumes(pod *corev1.Pod) error {
	for _, v := range pod.Spec.Volumes {
		if v.HostPath == nil || v.HostPath.Type == nil {
			continue
		}
		path := filepath.Join(n.Root, v.HostPath.Path)
		info, err := os.Stat(path)
		missing := errors.Is(err, fs.ErrNotExist)
		if err != nil && !missing {
			return err
		}
		switch kind := *v.HostPath.Type; {
		case kind == corev1.HostPathDirectoryOrCreate && missing:
			if err := os.MkdirAll(path, 0o755); err != nil {
				return err
			}
		case kind == corev1.HostPathFileOrCreate && missing:
			if err := os.WriteFile(path, nil, 0o644); err != nil {
				return err
			}
		case (kind == corev1.HostPathDirectory || kind == corev1.HostPathFile) && missing:
			return fmt.Errorf("volume %s: nothing is at %s, and the kubelet would not start the pod", v.Name, v.HostPath.Path)
		case (kind == corev1.HostPathDirectory) && !info.IsDir(), (kind == corev1.HostPathFile) && info.IsDir():
			return fmt.Errorf("volume %s: %s is not a %s", v.Name, v.HostPath.Path, kind)
		}
	}
	return nil
}

// serverLine is where a kubeconfig names the API server.
var serverLine = regexp.MustCompile(`(?m)^( +)server: .*$`)

// nodePath is an absolute path of a node inside a configuration file.
var nodePath = regexp.MustCompile(`(^|[\s"'=:\[,])(/(?:etc|var)/[A-Za-z0-9._/-]+)`)

// movePaths makes the configuration files of the control plane name the scratch folder.
func (n *Node) movePaths(t testing.TB) {
	t.Helper()
	dir := filepath.Join(n.Root, "etc/kubernetes/k8ssec")
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		moved := nodePath.ReplaceAll(b, []byte("${1}"+n.Root+"${2}"))
		if string(moved) == string(b) {
			return nil
		}
		return os.WriteFile(path, moved, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
}
