package controlplane_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/k8ssec/k8ssec/e2e/controlplane"
)

var keyName = regexp.MustCompile(`(?m)^      - name: (\S+)$`)

// TestRotation replaces the key at rest with the emitted script, step by step, while the API server
// runs. It reads its configuration once a minute, and so long does each step take.
func TestRotation(t *testing.T) {
	t.Parallel()
	c := controlplane.Start(t, controlplane.Init(t, "--profile", "cis"))
	file := filepath.Join(c.Root, "etc/kubernetes/k8ssec-keys/encryption.yaml")
	keys := func() []string {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, m := range keyName.FindAllStringSubmatch(string(b), -1) {
			names = append(names, m[1])
		}
		return names
	}
	script := func(step string) {
		cmd := exec.Command("sh", filepath.Join(c.Root, "usr/local/sbin/k8ssec-rotate-key.sh"), step)
		cmd.Env = append(os.Environ(), "K8SSEC_ROOT="+c.Root, "KUBECONFIG="+c.Kubeconfig(),
			"PATH="+c.Tools()+string(os.PathListSeparator)+os.Getenv("PATH"))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", step, err, out)
		}
	}
	const marker = "older-than-the-key"
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "old"}, StringData: map[string]string{"k": marker}}
	if _, err := c.Client(t).CoreV1().Secrets("default").Create(t.Context(), secret, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	storedWith := func(key string) bool {
		return bytes.HasPrefix(c.Stored(t, "/registry/secrets/default/old"), []byte("k8s:enc:secretbox:v1:"+key+":"))
	}
	first := keys()[0]
	if !storedWith(first) {
		t.Fatalf("the secret is not stored with %s", first)
	}

	script("add")
	loaded(t, c, file)
	script("promote")
	loaded(t, c, file)
	second := keys()[0]
	if second == first {
		t.Fatalf("%s writes still", first)
	}
	if !storedWith(first) {
		t.Error("the secret is stored with another key before anything has stored it again")
	}
	script("rewrite")
	if !storedWith(second) {
		t.Errorf("after the rewrite the secret is not stored with %s", second)
	}
	script("drop")
	if got := keys(); len(got) != 1 || got[0] != second {
		t.Errorf("after drop the keys are %q, want %s", got, second)
	}
	got, err := c.Client(t).CoreV1().Secrets("default").Get(t.Context(), "old", metav1.GetOptions{})
	if err != nil || string(got.Data["k"]) != marker {
		t.Errorf("the API returns %q, %v", got.Data["k"], err)
	}
}

// loaded waits until the API server says that it works with the file as it is.
func loaded(t *testing.T, c *controlplane.ControlPlane, file string) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(b)
	want := hex.EncodeToString(sum[:])
	client := c.Client(t).Discovery().RESTClient()
	for end := time.Now().Add(3 * time.Minute); time.Now().Before(end); time.Sleep(time.Second) {
		metrics, err := client.Get().AbsPath("/metrics").DoRaw(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(metrics)) {
			if strings.HasPrefix(line, "apiserver_encryption_config_controller_last_config_info{") && strings.Contains(line, want) {
				return
			}
		}
	}
	t.Fatal("the API server does not take over the new configuration")
}
