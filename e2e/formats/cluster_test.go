package formats

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/k8ssec/k8ssec/cmd/k8ssec/cli"
)

func clock() time.Time { return time.Date(2026, time.November, 22, 12, 0, 0, 0, time.UTC) }

// k8ssec runs the command and returns what it prints.
func k8ssec(t *testing.T, args ...string) []byte {
	t.Helper()
	var stdout, stderr bytes.Buffer
	if code := cli.Main(args, &stdout, &stderr, clock); code != 0 {
		t.Fatalf("%v exits with %d: %s", args, code, stderr.String())
	}
	return stdout.Bytes()
}

// repository is what is generated for a cluster file.
func repository(t *testing.T, source string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "prod")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "cluster.cue"), []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	k8ssec(t, "generate", dir)
	return dir
}

// objects are the objects of one file, as JSON.
func objects(t *testing.T, name string) [][]byte {
	t.Helper()
	text, err := os.ReadFile(name)
	if errors.Is(err, os.ErrNotExist) {
		t.Fatalf("%s is not emitted", name)
	}
	if err != nil {
		t.Fatal(err)
	}
	var list [][]byte
	for _, doc := range bytes.Split(text, []byte("\n---\n")) {
		data, err := yaml.YAMLToJSONStrict(doc)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(data, []byte("null")) {
			list = append(list, data)
		}
	}
	if len(list) == 0 {
		t.Fatal(io.ErrUnexpectedEOF)
	}
	return list
}

// watched is a cluster with every source of alerts.
const watched = `
profiles: ["cis"]
cluster: nodeCIDRs: ["10.0.0.0/24"]
network: monitoringNamespace: "monitoring"
kubelet: serverTLSBootstrap: true
encryption: {provider: "kms", kms: {name: "kms-1", endpoint: "unix:///var/run/kms/socket.sock"}, certManager: "install"}
logging: shipper: "vector"
images: scanner: "install"
benchmark: kubeBench: "install"
backup: {install: "install", location: {bucket: "prod-backups", region: "eu-central-1", roleARN: "arn:aws:iam::123456789012:role/velero"}}
alerts: {
	install: "install"
	receivers: {
		oncall: {kind: "pagerduty", secretRef: "alerts/routing-key"}
		chat: {kind: "slack", secretRef: "alerts/url", to: "#security"}
		mail: {kind: "email", secretRef: "alerts/password", to: "security@acme.internal", from: "alerts@acme.internal", smarthost: "smtp.acme.internal:587"}
		siem: {kind: "webhook", secretRef: "alerts/siem"}
	}
	routes: {critical: "oncall", warning: "chat", info: "mail"}
}
waivers: later: {control: "cis-5.3.1", scope: cluster: true, reason: "Shown by hand on this CNI.", owner: "platform", expires: "2026-12-20"}
namespaces: "team-a": owner: "team-a"
`
