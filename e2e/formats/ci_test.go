package formats

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rhysd/actionlint"
	"sigs.k8s.io/yaml"
)

// imageClusters are clusters whose CI jobs differ: signed by the job's own identity, by a key, by a key
// without the log, or not at all.
var imageClusters = map[string]string{
	"keyless": `images: {registries: ["registry.internal/prod"], verify: "kyverno", signers: ci: {images: ["registry.internal/*"], issuer: "https://ci.internal", subject: "x"}}`,
	"keyed":   `images: {registries: ["registry.internal/prod"], verify: "kyverno", signers: ci: {images: ["registry.internal/*"], key: "-----BEGIN PUBLIC KEY-----\nMFkw\n-----END PUBLIC KEY-----\n"}}`,
	"offline": `images: {registries: ["registry.internal/prod"], verify: "kyverno", signers: ci: {images: ["registry.internal/*"], tlog: "ignored", key: "-----BEGIN PUBLIC KEY-----\nMFkw\n-----END PUBLIC KEY-----\n"}}`,
	"none":    `images: failOn: "MEDIUM"`,
}

// generated is the repository of a cluster file.
func generated(t *testing.T, clusterFile string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "cluster.cue"), []byte(clusterFile), 0o600); err != nil {
		t.Fatal(err)
	}
	k8ssec(t, "generate", dir)
	return dir
}

// TestGitHubWorkflow lints the workflow with actionlint, and shows that the linter sees a mistake.
func TestGitHubWorkflow(t *testing.T) {
	for name, images := range imageClusters {
		t.Run(name, func(t *testing.T) {
			dir := generated(t, "profiles: [\"restricted\"]\n"+images+"\n")
			text, err := os.ReadFile(filepath.Join(dir, "ci/github/image.yml"))
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range lint(t, text) {
				t.Errorf("%d:%d: %s", e.Line, e.Column, e.Message)
			}
			broken := strings.Replace(string(text), "inputs.image }}", "inputs.imag }}", 1)
			if len(lint(t, []byte(broken))) == 0 {
				t.Error("the linter does not see an input that is not there")
			}
			if strings.Contains(string(text), "id-token: write") != (name == "keyless") {
				t.Errorf("the job may ask for an identity: %t", name != "keyless")
			}
		})
	}
}

func lint(t *testing.T, text []byte) []*actionlint.Error {
	t.Helper()
	l, err := actionlint.NewLinter(io.Discard, &actionlint.LinterOptions{})
	if err != nil {
		t.Fatal(err)
	}
	found, err := l.Lint("image.yml", text, nil)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// TestGitLabJob decodes the job and looks at what decides whether it can work.
func TestGitLabJob(t *testing.T) {
	for name, images := range imageClusters {
		t.Run(name, func(t *testing.T) {
			dir := generated(t, "profiles: [\"restricted\"]\n"+images+"\n")
			text, err := os.ReadFile(filepath.Join(dir, "ci/gitlab/image.yml"))
			if err != nil {
				t.Fatal(err)
			}
			var file struct {
				Stages []string `json:"stages"`
				Image  struct {
					Stage       string                       `json:"stage"`
					Image       string                       `json:"image"`
					Services    []string                     `json:"services"`
					Timeout     string                       `json:"timeout"`
					Variables   map[string]string            `json:"variables"`
					IDTokens    map[string]map[string]string `json:"id_tokens"`
					Rules       []map[string]string          `json:"rules"`
					Script      []string                     `json:"script"`
					AfterScript []string                     `json:"after_script"`
				} `json:"image"`
			}
			if err := yaml.UnmarshalStrict(text, &file); err != nil {
				t.Fatal(err)
			}
			script := strings.Join(file.Image.Script, "\n")
			if (len(file.Image.IDTokens) > 0) != (name == "keyless") || strings.Contains(script, "cosign") {
				t.Errorf("identity tokens: %v", file.Image.IDTokens)
			}
			if strings.Contains(script, "sign --yes") != (name != "none") || strings.Count(script, "--exit-code 1") != 2 {
				t.Errorf("the script is\n%s", script)
			}
		})
	}
}
