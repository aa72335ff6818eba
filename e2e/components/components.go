// Package components builds the real binaries that the tests run, from wrapper modules that pin
// them: kube-apiserver, kubeadm and the like are proven against, not imitated.
//
// Each folder beside this file is a Go module of its own. Its binaries are built once into a cache
// that is named by everything that decides their bytes, so a second run builds nothing and a
// changed pin never meets a stale binary.
package components

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Set is one wrapper module.
type Set struct {
	// Name is the folder.
	Name string
	// Binaries maps the name of each binary to its package.
	Binaries map[string]string
	// stamp is the module whose version the binaries report, and variables the ones that hold it, as
	// the linker sets them. Without it kubeadm takes itself for v0.0.0 and refuses every configuration.
	stamp     string
	variables func(version string) []string
	// tags are build tags.
	tags string
	// cgo links with C; all others are static.
	cgo bool
	// untidy says that the module's requirements cannot be tidied, because some of what its unused
	// packages need is not served: the go command may then complete them while it builds.
	untidy bool
}

// The minors, newest first. The newest has everything that runs; the older ones have what reads
// the emitted files.
const (
	Kubernetes   = "kubernetes"
	Kubernetes36 = "kubernetes-1.36"
	Kubernetes35 = "kubernetes-1.35"
	Kubernetes34 = "kubernetes-1.34"
	Etcd         = "etcd"
	Helm         = "helm"
)

// What a kind cluster is made of besides.
const (
	Kind                = "kind"
	Containerd          = "containerd"
	Runc                = "runc"
	CNI                 = "cni"
	CoreDNS             = "coredns"
	Cilium              = "cilium"
	SourceController    = "source-controller"
	KustomizeController = "kustomize-controller"
)

// kubernetesVersion sets what every binary of Kubernetes says of itself.
func kubernetesVersion(version string) []string {
	part := strings.SplitN(version, ".", 3)
	var out []string
	for _, p := range []string{"k8s.io/client-go/pkg/version", "k8s.io/component-base/version"} {
		for _, v := range []string{
			"gitVersion=v" + version, "gitMajor=" + part[0], "gitMinor=" + part[1], "gitTreeState=clean",
			"gitCommit=" + strings.Repeat("0", 40), "buildDate=1970-01-01T00:00:00Z",
		} {
			out = append(out, p+"."+v)
		}
	}
	return out
}

// Sets returns every wrapper module.
func Sets() []Set {
	reader := map[string]string{
		"kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
		"kubeadm":        "k8s.io/kubernetes/cmd/kubeadm",
	}
	const plugins = "github.com/containernetworking/plugins/plugins"
	return []Set{
		{Name: Kubernetes, stamp: "k8s.io/kubernetes", variables: kubernetesVersion, Binaries: map[string]string{
			"agnhost":                 "k8s.io/kubernetes/test/images/agnhost",
			"kube-apiserver":          "k8s.io/kubernetes/cmd/kube-apiserver",
			"kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
			"kube-proxy":              "k8s.io/kubernetes/cmd/kube-proxy",
			"kube-scheduler":          "k8s.io/kubernetes/cmd/kube-scheduler",
			"kubeadm":                 "k8s.io/kubernetes/cmd/kubeadm",
			"kubectl":                 "k8s.io/kubernetes/cmd/kubectl",
			"kubelet":                 "k8s.io/kubernetes/cmd/kubelet",
		}},
		{Name: Kubernetes36, stamp: "k8s.io/kubernetes", variables: kubernetesVersion, Binaries: reader},
		{Name: Kubernetes35, stamp: "k8s.io/kubernetes", variables: kubernetesVersion, Binaries: reader},
		{Name: Kubernetes34, stamp: "k8s.io/kubernetes", variables: kubernetesVersion, Binaries: reader},
		{Name: Etcd, Binaries: map[string]string{
			"etcd":    "go.etcd.io/etcd/server/v3",
			"etcdctl": "go.etcd.io/etcd/etcdctl/v3",
		}},
		{Name: Helm, Binaries: map[string]string{"helm": "helm.sh/helm/v4/cmd/helm"}},
		{Name: Kind, stamp: "sigs.k8s.io/kind", Binaries: map[string]string{"kind": "sigs.k8s.io/kind"}},
		{
			Name: Containerd, stamp: "github.com/containerd/containerd/v2", tags: "no_aufs no_zfs no_btrfs no_devmapper",
			variables: func(v string) []string {
				return []string{"github.com/containerd/containerd/v2/version.Version=v" + v}
			},
			Binaries: map[string]string{
				"containerd":              "github.com/containerd/containerd/v2/cmd/containerd",
				"containerd-shim-runc-v2": "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2",
				"ctr":                     "github.com/containerd/containerd/v2/cmd/ctr",
			},
		},
		{
			Name: Runc, stamp: "github.com/opencontainers/runc", tags: "seccomp", cgo: true,
			variables: func(v string) []string { return []string{"main.version=" + v} },
			Binaries:  map[string]string{"runc": "github.com/opencontainers/runc"},
		},
		{Name: CNI, Binaries: map[string]string{
			"firewall":   plugins + "/meta/firewall",
			"host-local": plugins + "/ipam/host-local",
			"loopback":   plugins + "/main/loopback",
			"portmap":    plugins + "/meta/portmap",
			"ptp":        plugins + "/main/ptp",
		}},
		{Name: CoreDNS, Binaries: map[string]string{"coredns": "github.com/coredns/coredns"}},
		{
			Name: Cilium, stamp: "github.com/cilium/cilium", tags: "osusergo", untidy: true,
			variables: func(v string) []string { return []string{"github.com/cilium/cilium/pkg/version.ciliumVersion=" + v} },
			Binaries: map[string]string{
				"cilium-agent": "github.com/cilium/cilium/daemon",
				"cilium-cni":   "github.com/cilium/cilium/plugins/cilium-cni",
			},
		},
		{Name: SourceController, untidy: true, Binaries: map[string]string{
			"source-controller": "github.com/fluxcd/source-controller",
		}},
		{Name: KustomizeController, untidy: true, Binaries: map[string]string{
			"kustomize-controller": "github.com/fluxcd/kustomize-controller",
		}},
	}
}

// Find returns the set of that name.
func Find(name string) (Set, error) {
	var names []string
	for _, s := range Sets() {
		if s.Name == name {
			return s, nil
		}
		names = append(names, s.Name)
	}
	return Set{}, fmt.Errorf("no component %q; there are %s", name, strings.Join(names, ", "))
}

// ForVersion returns the set that has the kubeadm of a Kubernetes version such as "v1.36.3" or "1.36".
func ForVersion(version string) (string, error) {
	part := strings.Split(strings.TrimPrefix(version, "v"), ".")
	if len(part) < 2 {
		return "", fmt.Errorf("%q is no Kubernetes version", version)
	}
	minor := part[0] + "." + part[1]
	for _, name := range []string{Kubernetes34, Kubernetes35, Kubernetes36} {
		if strings.HasSuffix(name, minor) {
			return name, nil
		}
	}
	return Kubernetes, nil
}

// Ensure returns the folder that holds the binaries of the named set, and builds them first where
// they are missing. Progress goes to log. Several processes may call it at once.
func Ensure(log io.Writer, name string) (string, error) {
	set, err := Find(name)
	if err != nil {
		return "", err
	}
	module, err := moduleDir(name)
	if err != nil {
		return "", err
	}
	ldflags, err := set.ldflags(module)
	if err != nil {
		return "", err
	}
	sum, err := set.fingerprint(module, ldflags)
	if err != nil {
		return "", err
	}
	cache, err := cacheDir()
	if err != nil {
		return "", err
	}
	out := filepath.Join(cache, name+"-"+sum)
	if set.built(out) {
		return out, nil
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", err
	}
	unlock, err := lock(filepath.Join(cache, name+".lock"))
	if err != nil {
		return "", err
	}
	defer unlock()
	if set.built(out) { // by the process that held the lock
		return out, nil
	}
	if err := set.build(log, module, ldflags, out); err != nil {
		return "", err
	}
	return out, nil
}

// Version is the version that a set's binaries report, without the "v": "1.37.2".
func Version(name string) (string, error) {
	set, err := Find(name)
	if err != nil {
		return "", err
	}
	module, err := moduleDir(name)
	if err != nil {
		return "", err
	}
	return set.version(module)
}

func (s Set) version(module string) (string, error) {
	cmd := exec.Command("go", "list", "-m", "-f", "{{.Version}}", s.stamp)
	cmd.Dir = module
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=")
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("version of %s: %w", s.stamp, explain(err))
	}
	return strings.TrimPrefix(strings.TrimSpace(string(out)), "v"), nil
}

func (s Set) ldflags(module string) (string, error) {
	flags := "-s -w"
	if s.variables == nil {
		return flags, nil
	}
	version, err := s.version(module)
	if err != nil {
		return "", err
	}
	if strings.Count(version, ".") != 2 {
		return "", fmt.Errorf("%s has version %q, want three numbers", s.stamp, version)
	}
	for _, v := range s.variables(version) {
		flags += " -X " + v
	}
	return flags, nil
}

func (s Set) names() []string {
	names := make([]string, 0, len(s.Binaries))
	for n := range s.Binaries {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// fingerprint names everything that decides the bytes of the binaries.
func (s Set) fingerprint(module, ldflags string) (string, error) {
	h := sha256.New()
	for _, f := range []string{"go.mod", "go.sum"} {
		b, err := os.ReadFile(filepath.Join(module, f))
		if err != nil {
			return "", err
		}
		h.Write(b)
	}
	goVersion, err := exec.Command("go", "env", "GOVERSION").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOVERSION: %w", explain(err))
	}
	fmt.Fprintln(h, strings.TrimSpace(string(goVersion)), runtime.GOOS, runtime.GOARCH, ldflags, s.tags, s.cgo)
	for _, n := range s.names() {
		fmt.Fprintln(h, n, s.Binaries[n])
	}
	return hex.EncodeToString(h.Sum(nil))[:12], nil
}

func (s Set) built(dir string) bool {
	for n := range s.Binaries {
		if _, err := os.Stat(filepath.Join(dir, n)); err != nil {
			return false
		}
	}
	return true
}

// build compiles all binaries of the set with one go command, which shares the work among them,
// and moves them into place only when all are there.
func (s Set) build(log io.Writer, module, ldflags, out string) error {
	tmp, err := os.MkdirTemp(filepath.Dir(out), s.Name+"-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	var packages []string
	for _, n := range s.names() {
		packages = append(packages, s.Binaries[n])
	}
	fmt.Fprintf(log, "building %s (%s); the next run finds it in %s\n", s.Name, strings.Join(s.names(), ", "), out)
	begin := time.Now()
	args := []string{"build", "-trimpath", "-buildvcs=false", "-tags", s.tags, "-ldflags", ldflags, "-o", tmp + "/"}
	if s.untidy {
		args = append(args, "-mod=mod")
	}
	cgo := "CGO_ENABLED=0"
	if s.cgo {
		cgo = "CGO_ENABLED=1"
	}
	cmd := exec.Command("go", append(args, packages...)...)
	cmd.Dir = module
	cmd.Env = append(os.Environ(), cgo, "GOWORK=off", "GOFLAGS=")
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("build %s: %w", s.Name, err)
	}
	cpu := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	// The go command names a binary after the last part of its path that is no version.
	for _, n := range s.names() {
		made := filepath.Join(tmp, goName(s.Binaries[n]))
		if err := os.Rename(made, filepath.Join(tmp, n)); err != nil {
			return err
		}
	}
	if err := os.Chmod(tmp, 0o755); err != nil {
		return err
	}
	if err := os.RemoveAll(out); err != nil {
		return err
	}
	if err := os.Rename(tmp, out); err != nil {
		return err
	}
	fmt.Fprintf(log, "built %s in %.0f s (%.0f s of CPU)\n", s.Name, time.Since(begin).Seconds(), cpu.Seconds())
	return nil
}

func goName(pkg string) string {
	part := strings.Split(pkg, "/")
	last := part[len(part)-1]
	if len(part) > 1 && len(last) > 1 && last[0] == 'v' && strings.Trim(last[1:], "0123456789") == "" {
		return part[len(part)-2]
	}
	return last
}

// cacheDir is where binaries are kept: $K8SSEC_CACHE, else k8ssec in the user's cache folder.
func cacheDir() (string, error) {
	if dir := os.Getenv("K8SSEC_CACHE"); dir != "" {
		return filepath.Abs(dir)
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("no cache folder: set K8SSEC_CACHE: %w", err)
	}
	return filepath.Join(dir, "k8ssec"), nil
}

// moduleDir is the folder of the wrapper module, found through the go command so that it does not
// depend on the folder of the caller.
func moduleDir(name string) (string, error) {
	out, err := exec.Command("go", "list", "-f", "{{.Dir}}", "github.com/k8ssec/k8ssec/e2e/components").Output()
	if err != nil {
		return "", fmt.Errorf("find the wrapper modules: %w", explain(err))
	}
	return filepath.Join(strings.TrimSpace(string(out)), name), nil
}

// lock takes an exclusive lock on a file, so that tests of several packages build a set once.
func lock(path string) (func(), error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return func() { f.Close() }, nil
}

// explain adds what a failed command wrote to its standard error.
func explain(err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) && len(exit.Stderr) > 0 {
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(string(exit.Stderr)))
	}
	return err
}
