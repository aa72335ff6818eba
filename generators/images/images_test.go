package images_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/k8ssec/k8ssec/generators/generatortest"
	"github.com/k8ssec/k8ssec/generators/images"
)

func TestGolden(t *testing.T) { generatortest.Run(t, images.New()) }

// TestPatterns shows that a signer's pattern takes what it should, and no name that merely looks like it.
func TestPatterns(t *testing.T) {
	files := generatortest.Emit(t, images.New(), generatortest.Posture(t, `profiles: ["restricted"]
images: {verify: "kyverno", signers: ci: {images: ["registry.internal/team-a/*"], issuer: "https://ci.internal", subject: "x"}}
`))
	var policy string
	for _, f := range files {
		if f.Name == "manifests/images/signatures.yaml" {
			policy = string(f.Data)
		}
	}
	m := regexp.MustCompile(`image\.matches\('([^']+)'\)`).FindStringSubmatch(policy)
	if m == nil {
		t.Fatal(policy)
	}
	re := regexp.MustCompile(strings.ReplaceAll(m[1], `\\`, `\`))
	for image, want := range map[string]bool{
		"registry.internal/team-a/app:1":               true,
		"registry.internal/team-a/sub/app@sha256:0123": true,
		"registry.internal/team-b/app:1":               false,
		"registryXinternal/team-a/app:1":               false,
		"evil.org/registry.internal/team-a/app:1":      false,
		"registry.internal/team-a":                     false,
	} {
		if re.MatchString(image) != want {
			t.Errorf("%s matches %s: %t", re, image, !want)
		}
	}
}
