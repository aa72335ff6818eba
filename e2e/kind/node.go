package kind

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/k8ssec/k8ssec/e2e/components"
)

// distribution and rootPackages are the Debian that a node runs.
const distribution = "bookworm"

var rootPackages = []string{
	"bash", "ca-certificates", "conntrack", "e2fsprogs", "ethtool", "iproute2", "ipset", "iptables", "jq", "kmod", "libseccomp2",
	"mount", "nftables", "pigz", "procps", "socat", "systemd", "util-linux",
}

// buildPackages are what the images are made with.
var buildPackages = []string{
	"mmdebstrap:mmdebstrap", "gcc:gcc", "iptables:iptables", "nft:nftables", "ipset:ipset", "conntrack:conntrack",
	"/usr/lib/x86_64-linux-gnu/libc.a:libc6-dev",
	"busybox:busybox-static", clang + ":clang-19", "pkg-config:pkg-config", "/usr/include/seccomp.h:libseccomp-dev",
}

// bake makes the node image as `kind build node-image` does: the root file system with the binaries,
// and every image that a node runs in containerd's store.
func (e *Engine) bake(ctx context.Context, b binaries, tag string) error {
	scratch, err := os.MkdirTemp("", "k8ssec-node-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	var debian string
	if err := step(e.log, "Debian root file system", func() (err error) {
		debian, err = e.debian(ctx)
		return err
	}); err != nil {
		return err
	}
	images, err := b.images(ctx, scratch)
	if err != nil {
		return err
	}
	archives := filepath.Join(scratch, "images")
	if err := os.Mkdir(archives, 0o755); err != nil {
		return err
	}
	if _, err := packImages(images, archives); err != nil {
		return err
	}

	own, err := b.node(ctx)
	if err != nil {
		return err
	}
	packed := filepath.Join(scratch, "node.tar")
	f, err := os.Create(packed)
	if err != nil {
		return err
	}
	if err := errors.Join(own.pack(f), f.Close()); err != nil {
		return err
	}
	base, baseTag := filepath.Join(scratch, "base.tar"), tag+"-base"
	entrypoint := []string{"/usr/local/bin/entrypoint", "/sbin/init"}
	if err := writeImage(base, baseTag, v1.Config{
		Env: []string{searchPath, "container=docker"}, Entrypoint: entrypoint, StopSignal: "SIGRTMIN+3",
	}, debian, packed); err != nil {
		return err
	}
	if err := docker(ctx, "load", "--quiet", "--input", base); err != nil {
		return err
	}
	return e.preload(ctx, archives, baseTag, tag)
}

// debian returns a tar file with the root file system, made once.
func (e *Engine) debian(ctx context.Context) (string, error) {
	dir, err := components.Dir("debian")
	if err != nil {
		return "", err
	}
	// What kind's own Dockerfile does after it has installed its packages: only the units that a
	// node needs are started.
	const units = `cd "$1" && rm -f lib/systemd/system/multi-user.target.wants/* etc/systemd/system/*.wants/* \
		lib/systemd/system/local-fs.target.wants/* lib/systemd/system/sockets.target.wants/*udev* \
		lib/systemd/system/sockets.target.wants/*initctl* lib/systemd/system/basic.target.wants/* \
		lib/systemd/system/sysinit.target.wants/systemd-tmpfiles-setup.service \
		&& echo ReadKMsg=no >> etc/systemd/journald.conf && ln -sf /usr/lib/systemd/systemd sbin/init \
		&& rm -rf usr/share/doc usr/share/man usr/share/locale var/lib/apt/lists/* var/cache/apt/*`
	sum := sha256.Sum256([]byte(distribution + strings.Join(rootPackages, " ") + units))
	out := filepath.Join(dir, distribution+"-"+hex.EncodeToString(sum[:6])+".tar")
	if _, err := os.Stat(out); err == nil {
		return out, nil
	}
	tmp := out + ".tmp.tar"
	if err := output(ctx, nil, "mmdebstrap", "--quiet", "--variant=minbase", "--mode=root", "--format=tar",
		"--include="+strings.Join(rootPackages, ","), "--customize-hook="+units, distribution, tmp); err != nil {
		return "", err
	}
	return out, os.Rename(tmp, out)
}

// node is what a node has on top of Debian: kind's own files, the runtime, the kubelet.
func (b binaries) node(ctx context.Context) (layer, error) {
	module, err := components.Module("sigs.k8s.io/kind")
	if err != nil {
		return nil, err
	}
	files := filepath.Join(module, "images/base/files")
	l := layer{}
	for _, dir := range []string{"/etc", "/kind", "/usr/local/bin"} {
		if err := l.tree(dir, filepath.Join(files, dir)); err != nil {
			return nil, err
		}
	}
	for name, f := range l {
		f.mode = 0o644
		if strings.HasPrefix(name, "/kind/bin/") || strings.HasPrefix(name, "/usr/local/bin/") {
			f.mode = 0o755
		}
		l[name] = f
	}
	// For rootless engines only.
	delete(l, "/etc/systemd/system/containerd-fuse-overlayfs.service")

	for _, unit := range []string{"kubelet", "containerd", "undo-mount-hacks"} {
		l.symlink("/etc/systemd/system/multi-user.target.wants/"+unit+".service", "/etc/systemd/system/"+unit+".service")
	}
	l.symlink("/etc/systemd/system/systemd-binfmt.service", "/dev/null")
	l.dir("/etc/kubernetes/manifests", 0o755)
	l.dir("/etc/cni/net.d", 0o755)

	for _, name := range []string{"kubeadm", "kubelet", "kubectl"} {
		l.add("/usr/bin/"+name, b.path(components.Kubernetes, name), 0o755)
	}
	for _, name := range []string{"containerd", "containerd-shim-runc-v2", "ctr"} {
		l.add("/usr/local/bin/"+name, b.path(components.Containerd, name), 0o755)
	}
	l.add("/usr/local/sbin/runc", b.path(components.Runc, "runc"), 0o755)
	for _, name := range []string{"firewall", "host-local", "loopback", "portmap", "ptp"} {
		l.add("/opt/cni/bin/"+name, b.path(components.CNI, name), 0o755)
	}
	version, err := components.Version(components.Kubernetes)
	if err != nil {
		return nil, err
	}
	l.write("/kind/version", "v"+version)
	list, err := b.kubeadmImages(ctx)
	if err != nil {
		return nil, err
	}
	if err := l.containerd(files, list["pause"]); err != nil {
		return nil, err
	}
	spec, err := b.baseSpec(ctx)
	if err != nil {
		return nil, err
	}
	l["/etc/containerd/cri-base.json"] = file{mode: 0o644, data: spec}
	return l, nil
}

// containerd is kind's configuration with the pause image that kubeadm asks for. The machine may have
// no CAP_SYS_RESOURCE to give, without which a process cannot lower its own score; and there is no
// plug-in for rootless engines.
func (l layer) containerd(files, pause string) error {
	text, err := os.ReadFile(filepath.Join(files, "etc/containerd/config.toml"))
	if err != nil {
		return err
	}
	config := string(text)
	from, to := strings.Index(config, "[proxy_plugins]"), strings.Index(config, `[plugins."io.containerd.grpc.v1.cri".containerd]`)
	if from < 0 || to < from {
		return errors.New("kind's containerd configuration has another form than expected")
	}
	config = config[:from] + config[to:]
	var lines []string
	for line := range strings.SplitSeq(config, "\n") {
		switch key, _, _ := strings.Cut(strings.TrimSpace(line), " "); key {
		case "sandbox_image":
			line = "  sandbox_image = \"" + pause + "\""
		case "restrict_oom_score_adj":
			line = "  restrict_oom_score_adj = true"
		}
		lines = append(lines, line)
	}
	l.write("/etc/containerd/config.toml", strings.Join(lines, "\n"))
	return nil
}

// baseSpec is what every container of a node starts from, as kind's Dockerfile makes it.
func (b binaries) baseSpec(ctx context.Context) ([]byte, error) {
	out, err := exec.CommandContext(ctx, b.path(components.Containerd, "ctr"), "oci", "spec").Output()
	if err != nil {
		return nil, fmt.Errorf("ctr oci spec: %w", err)
	}
	var spec map[string]any
	if err := json.Unmarshal(out, &spec); err != nil {
		return nil, err
	}
	spec["hooks"] = map[string]any{"createContainer": []any{map[string]any{"path": "/kind/bin/mount-product-files.sh"}}}
	if process, ok := spec["process"].(map[string]any); ok {
		delete(process, "rlimits")
	}
	return json.Marshal(spec)
}

// preload imports the archives into containerd's store and keeps the result as the node image.
func (e *Engine) preload(ctx context.Context, archives, base, tag string) error {
	const container = "k8ssec-bake"
	remove := func() { _ = docker(context.WithoutCancel(ctx), "rm", "--force", "--volumes", container) }
	remove()
	defer remove()
	if err := docker(ctx, "run", "--detach", "--name", container, "--privileged", "--network", "none", "--entrypoint", "sleep",
		"--volume", archives+":/images:ro", base, "infinity"); err != nil {
		return err
	}
	if err := docker(ctx, "exec", "--detach", "--privileged", container, "sh", "-c", "echo $$ > /tmp/pid; exec containerd -l warn"); err != nil {
		return err
	}
	for end := time.Now().Add(30 * time.Second); docker(ctx, "exec", container, "ctr", "version") != nil; time.Sleep(200 * time.Millisecond) {
		if time.Now().After(end) {
			return errors.New("containerd does not answer in the node image")
		}
	}
	files, err := filepath.Glob(filepath.Join(archives, "*.tar"))
	if err != nil {
		return err
	}
	for _, f := range files {
		if err := docker(ctx, "exec", "--privileged", container, "ctr", "--namespace", "k8s.io", "images", "import",
			"--label", "io.cri-containerd.pinned=pinned", "--all-platforms", "--no-unpack", "--digests", "/images/"+filepath.Base(f)); err != nil {
			return err
		}
	}
	if err := docker(ctx, "exec", container, "sh", "-c", "kill $(cat /tmp/pid); rm /tmp/pid; sleep 1"); err != nil {
		return err
	}
	return docker(ctx, "commit", "--change", `ENTRYPOINT ["/usr/local/bin/entrypoint","/sbin/init"]`, "--change", "CMD []", container, tag)
}
