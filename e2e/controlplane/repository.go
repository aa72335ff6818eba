package controlplane

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	utilyaml "k8s.io/apimachinery/pkg/util/yaml"

	"github.com/k8ssec/k8ssec/e2e/components"
)

// K8ssec is the path of the command under test, built from the tree that the tests are in.
func K8ssec(t testing.TB) string {
	t.Helper()
	bin, err := components.K8ssec()
	if err != nil {
		t.Fatal(err)
	}
	return bin
}

// Init runs `k8ssec init` with the arguments and returns the repository that it wrote.
func Init(t testing.TB, args ...string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "prod")
	run(t, exec.Command(K8ssec(t), append([]string{"init", dir}, args...)...))
	return dir
}

// Generate runs `k8ssec generate` on a cluster file and returns the repository.
func Generate(t testing.TB, cluster string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "prod")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "cluster.cue"), []byte(cluster), 0o644); err != nil {
		t.Fatal(err)
	}
	run(t, exec.Command(K8ssec(t), "generate", dir))
	return dir
}

// kubernetesOf returns the folder of the binaries of the minor that a repository is for.
func kubernetesOf(t testing.TB, repository string) string {
	t.Helper()
	docs, err := bootstrapDocuments(repository)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range docs {
		version, _ := d["kubernetesVersion"].(string)
		if version == "" {
			continue
		}
		name, err := components.ForVersion(version)
		if err != nil {
			t.Fatal(err)
		}
		return ensure(t, name)
	}
	return ensure(t, components.Kubernetes)
}

// bootstrapDocuments returns the documents that kubeadm reads on the repository's platform.
func bootstrapDocuments(repository string) ([]map[string]any, error) {
	b, err := os.ReadFile(filepath.Join(repository, "bootstrap/kubeadm.yaml"))
	if errors.Is(err, fs.ErrNotExist) {
		return kindDocuments(repository)
	}
	if err != nil {
		return nil, err
	}
	return documents(b)
}

// kubeadmConfig is the emitted configuration with what only a node knows: its name, its address and
// the port.
func kubeadmConfig(repository, port string) (string, error) {
	number, err := strconv.Atoi(port)
	if err != nil {
		return "", err
	}
	docs, err := bootstrapDocuments(repository)
	if err != nil {
		return "", err
	}
	init := map[string]any{}
	var rest []map[string]any
	for _, d := range docs {
		if d["kind"] == "InitConfiguration" {
			init = d
		} else {
			rest = append(rest, d)
		}
	}
	init["apiVersion"], init["kind"] = "kubeadm.k8s.io/v1beta4", "InitConfiguration"
	init["localAPIEndpoint"] = map[string]any{"advertiseAddress": advertise, "bindPort": number}
	registration, _ := init["nodeRegistration"].(map[string]any)
	if registration == nil {
		registration = map[string]any{}
	}
	registration["name"] = node
	init["nodeRegistration"] = registration
	var b strings.Builder
	for _, d := range append([]map[string]any{init}, rest...) {
		out, err := yaml.Marshal(d)
		if err != nil {
			return "", err
		}
		b.WriteString("---\n" + string(out))
	}
	return b.String(), nil
}

// documents decodes every document of a YAML text.
func documents(b []byte) ([]map[string]any, error) {
	var docs []map[string]any
	r := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(b)))
	for {
		doc, err := r.Read()
		if errors.Is(err, io.EOF) {
			return docs, nil
		}
		if err != nil {
			return nil, err
		}
		var m map[string]any
		if err := yaml.UnmarshalStrict(doc, &m); err != nil {
			return nil, err
		}
		if len(m) > 0 {
			docs = append(docs, m)
		}
	}
}
