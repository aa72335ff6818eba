package kind

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/k8ssec/k8ssec/e2e/components"
)

// image is one image that a cluster runs, made of what was built here.
type image struct {
	reference string
	config    v1.Config
	layer     layer
}

// searchPath is where programs are looked for in the images.
const searchPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// nobody runs what needs no rights, as Flux's own images do.
const nobody = "65534:65534"

// CiliumImage is the reference of the image of Cilium's agent.
const CiliumImage = "quay.io/cilium/cilium:v1.20.2"

// binaries are the folders of what was built, by component.
type binaries map[string]string

// nodeComponents are what a cluster is made of.
var nodeComponents = []string{
	components.Kubernetes, components.Etcd, components.Kind, components.Containerd, components.Runc, components.CNI,
	components.CoreDNS, components.Cilium, components.SourceController, components.KustomizeController,
}

// build builds components, where they are not there yet.
func build(log io.Writer, names ...string) (binaries, error) {
	b := binaries{}
	for _, name := range names {
		dir, err := components.Ensure(log, name)
		if err != nil {
			return nil, err
		}
		b[name] = dir
	}
	return b, nil
}

// path is the path of one binary.
func (b binaries) path(component, name string) string { return filepath.Join(b[component], name) }

// images returns every image that a node has before it starts, under the names that kubeadm, Cilium
// and Flux ask for.
func (b binaries) images(ctx context.Context, scratch string) ([]image, error) {
	list, err := b.kubeadmImages(ctx)
	if err != nil {
		return nil, err
	}
	var out []image
	for _, name := range []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler"} {
		l := layer{}
		l.add("/usr/local/bin/"+name, b.path(components.Kubernetes, name), 0o755)
		l.dir("/tmp", 0o1777)
		out = append(out, image{list[name], v1.Config{Entrypoint: []string{name}}, l})
	}

	// kube-proxy programs the kernel through the tools of the distribution.
	proxy := layer{}
	proxy.add("/usr/local/bin/kube-proxy", b.path(components.Kubernetes, "kube-proxy"), 0o755)
	if err := proxy.netfilter(ctx); err != nil {
		return nil, err
	}
	out = append(out, image{list["kube-proxy"], v1.Config{}, proxy})

	etcd := layer{}
	etcd.add("/usr/local/bin/etcd", b.path(components.Etcd, "etcd"), 0o755)
	etcd.add("/usr/local/bin/etcdctl", b.path(components.Etcd, "etcdctl"), 0o755)
	etcd.dir("/tmp", 0o755)
	out = append(out, image{list["etcd"], v1.Config{}, etcd})

	dns := layer{}
	dns.add("/coredns", b.path(components.CoreDNS, "coredns"), 0o755)
	out = append(out, image{list["coredns"], v1.Config{Entrypoint: []string{"/coredns"}}, dns})

	pause, err := pauseBinary(ctx, scratch)
	if err != nil {
		return nil, err
	}
	l := layer{}
	l.add("/pause", pause, 0o755)
	out = append(out, image{list["pause"], v1.Config{Entrypoint: []string{"/pause"}, User: "65535:65535"}, l})

	agnhost, err := agnhostReference()
	if err != nil {
		return nil, err
	}
	l = layer{}
	l.add("/agnhost", b.path(components.Kubernetes, "agnhost"), 0o755)
	l.dir("/tmp", 0o1777)
	out = append(out, image{agnhost, v1.Config{Entrypoint: []string{"/agnhost"}, Cmd: []string{"pause"}}, l})

	for _, name := range []string{components.SourceController, components.KustomizeController} {
		version, err := components.ModuleVersion("github.com/fluxcd/" + name)
		if err != nil {
			return nil, err
		}
		l := layer{}
		l.add("/usr/local/bin/"+name, b.path(name, name), 0o755)
		l.dir("/tmp", 0o1777)
		out = append(out, image{"ghcr.io/fluxcd/" + name + ":" + version, v1.Config{Entrypoint: []string{name}, User: nobody}, l})
	}

	cilium, err := b.cilium(ctx)
	if err != nil {
		return nil, err
	}
	out = append(out, image{CiliumImage, v1.Config{}, cilium})
	for i := range out {
		out[i].config.Env = []string{searchPath}
	}
	return out, nil
}

// kubeadmImages are the references that kubeadm asks for, by the name of the image.
func (b binaries) kubeadmImages(ctx context.Context) (map[string]string, error) {
	version, err := components.Version(components.Kubernetes)
	if err != nil {
		return nil, err
	}
	out, err := exec.CommandContext(ctx, b.path(components.Kubernetes, "kubeadm"), "config", "images", "list",
		"--kubernetes-version", "v"+version).Output()
	if err != nil {
		return nil, fmt.Errorf("kubeadm config images list: %w", err)
	}
	list := map[string]string{}
	for _, reference := range strings.Fields(string(out)) {
		list[reference[strings.LastIndex(reference, "/")+1:strings.LastIndex(reference, ":")]] = reference
	}
	return list, nil
}

// pauseBinary compiles Kubernetes' pause, which is written in C.
func pauseBinary(ctx context.Context, scratch string) (string, error) {
	kubernetes, err := components.Module("k8s.io/kubernetes")
	if err != nil {
		return "", err
	}
	out := filepath.Join(scratch, "pause")
	return out, output(ctx, nil, "gcc", "-Os", "-Wall", "-static", "-DVERSION=k8ssec", "-o", out,
		filepath.Join(kubernetes, "build/pause/linux/pause.c"))
}

// agnhostReference is the image of Kubernetes' own network tests.
func agnhostReference() (string, error) {
	kubernetes, err := components.Module("k8s.io/kubernetes")
	if err != nil {
		return "", err
	}
	version, err := os.ReadFile(filepath.Join(kubernetes, "test/images/agnhost/VERSION"))
	return "registry.k8s.io/e2e-test-images/agnhost:" + strings.TrimSpace(string(version)), err
}

// clang is the compiler with which Cilium's agent makes its BPF programs: the version that Cilium
// itself uses.
const clang = "/usr/lib/llvm-19/bin/clang"

// cilium is the image of Cilium's agent: the agent, the CNI plug-in, the sources of the BPF programs
// and what compiles and loads them.
func (b binaries) cilium(ctx context.Context) (layer, error) {
	module, err := components.Module("github.com/cilium/cilium")
	if err != nil {
		return nil, err
	}
	l := layer{}
	l.add("/usr/bin/cilium-agent", b.path(components.Cilium, "cilium-agent"), 0o755)
	l.add("/opt/cni/bin/cilium-cni", b.path(components.Cilium, "cilium-cni"), 0o755)
	if err := l.tree("/var/lib/cilium/bpf", filepath.Join(module, "bpf")); err != nil {
		return nil, err
	}
	for name := range l {
		if strings.HasPrefix(name, "/var/lib/cilium/bpf/tests/") || strings.HasPrefix(name, "/var/lib/cilium/bpf/complexity-tests/") {
			delete(l, name)
		}
	}
	if err := l.libraries(ctx, clang); err != nil {
		return nil, err
	}
	l.symlink("/usr/bin/clang", clang)
	l.add("/bin/busybox", "/bin/busybox", 0o755)
	if err := l.netfilter(ctx); err != nil {
		return nil, err
	}
	for _, tool := range []string{"sh", "cp", "mv", "ls", "cat", "rm", "mount", "ip"} {
		l.symlink("/bin/"+tool, "busybox")
	}
	l.dir("/tmp", 0o1777)
	l.dir("/var/run", 0o755)
	return l, nil
}

// packImages writes each image as an archive into dir and returns the files.
func packImages(images []image, dir string) ([]string, error) {
	var files []string
	for _, i := range images {
		archive := filepath.Join(dir, strings.NewReplacer("/", "_", ":", "_").Replace(i.reference)+".tar")
		packed := archive + ".layer"
		f, err := os.Create(packed)
		if err != nil {
			return nil, err
		}
		err = i.layer.pack(f)
		if closed := f.Close(); err == nil {
			err = closed
		}
		if err != nil {
			return nil, fmt.Errorf("image %s: %w", i.reference, err)
		}
		if err := writeImage(archive, i.reference, i.config, packed); err != nil {
			return nil, fmt.Errorf("image %s: %w", i.reference, err)
		}
		if err := os.Remove(packed); err != nil {
			return nil, err
		}
		files = append(files, archive)
	}
	slices.Sort(files)
	return files, nil
}
