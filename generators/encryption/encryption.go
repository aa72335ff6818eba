package encryption

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiserverv1 "k8s.io/apiserver/pkg/apis/apiserver/v1"

	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/generators"
	"github.com/k8ssec/k8ssec/generators/addons"
)

// New returns the generator of the domain encryption.
func New() generators.Generator { return generator{} }

type generator struct{}

// Domain is "encryption".
func (generator) Domain() string { return "encryption" }

// Generate emits the EncryptionConfiguration of a KMS, or the script that replaces the local key.
func (generator) Generate(p *posture.Posture) (*generators.Output, error) {
	first := rotateScript
	if p.Encryption.Provider == "kms" {
		first = kmsConfig
	}
	config, err := first(p)
	if err != nil {
		return nil, err
	}
	page, err := encryptionPage(p)
	if err != nil {
		return nil, err
	}
	out := &generators.Output{Artifacts: []generators.Artifact{config, page}}
	if p.Encryption.CertManager == posture.InstallInstall {
		release, err := addons.Release(p, "cert-manager", certManagerValues(p), generators.Claims("values.global.leaderElection", "enc-7")...)
		if err != nil {
			return nil, err
		}
		out.Artifacts = append(out.Artifacts, release...)
	}
	if p.Encryption.CertManager == posture.InstallOff {
		out.Undecided = append(out.Undecided, generators.Decision{
			Controls: []string{"enc-7"},
			Line:     `encryption: certManager: "install"`,
			Enables:  "certificates inside of the cluster are issued and renewed by cert-manager",
		})
	}
	if p.Encryption.MutualTLS == "off" && p.Network.Encryption == "off" {
		line := `network: encryption: "wireguard"`
		if p.Cluster.CNI == "other" {
			line = `encryption: mutualTLS: "mesh"`
		}
		out.Undecided = append(out.Undecided, generators.Decision{
			Controls: []string{"enc-6"},
			Line:     line,
			Enables:  "traffic between pods is encrypted; docs/encryption.md says what has to be set in the CNI or the mesh first",
		})
	}
	return out, nil
}

// certManagerValues are those of the chart cert-manager.
func certManagerValues(p *posture.Posture) map[string]any {
	resources := map[string]any{
		"requests": map[string]any{"cpu": "20m", "memory": "64Mi"},
		"limits":   map[string]any{"cpu": "500m", "memory": "256Mi"},
	}
	return map[string]any{
		"crds": map[string]any{"enabled": true, "keep": true},
		"global": map[string]any{
			// By default the controllers would elect their leaders in kube-system.
			"leaderElection":    map[string]any{"namespace": "cert-manager"},
			"priorityClassName": addons.Priority(p),
		},
		"resources":       resources,
		"webhook":         map[string]any{"resources": resources},
		"cainjector":      map[string]any{"resources": resources},
		"startupapicheck": map[string]any{"enabled": false},
	}
}

// kmsConfig is bootstrap/control-plane/encryption.yaml, which holds no secret: the keys are with the
// KMS. apiVersion is written out because it defaults to v1, which has been off since 1.29.
func kmsConfig(p *posture.Posture) (generators.Artifact, error) {
	kms := p.Encryption.KMS
	if kms == nil {
		return generators.Artifact{}, fmt.Errorf("encryption.provider is kms, but encryption.kms is not set")
	}
	timeout, err := time.ParseDuration(kms.Timeout)
	if err != nil {
		return generators.Artifact{}, fmt.Errorf("encryption.kms.timeout: %w", err)
	}
	config := &apiserverv1.EncryptionConfiguration{
		TypeMeta: metav1.TypeMeta{APIVersion: apiserverv1.SchemeGroupVersion.String(), Kind: "EncryptionConfiguration"},
		Resources: []apiserverv1.ResourceConfiguration{{
			Resources: p.Encryption.Resources,
			Providers: []apiserverv1.ProviderConfiguration{{
				KMS: &apiserverv1.KMSConfiguration{
					APIVersion: "v2",
					Name:       kms.Name,
					Endpoint:   kms.Endpoint,
					Timeout:    &metav1.Duration{Duration: timeout},
				},
			}},
		}},
	}
	return generators.Artifact{
		Path:    "bootstrap/control-plane/encryption.yaml",
		Kind:    generators.ControlPlane,
		Comment: "Read by kube-apiserver (--encryption-provider-config) in " + generators.NodeDir + ", and again when it changes.",
		Objects: []generators.Object{{
			Value: config,
			Why: "Each object is encrypted with a key of its own, and that key by the KMS, whose plug-in listens on the socket of this node. " +
				"The list ends here on purpose: with identity below, whoever can write to etcd could put plain text there.",
			Claims: generators.Claims("resources[0]", "cis-1.2.28", "nsa-N4", "enc-1", "enc-3"),
		}},
	}, nil
}

// rotateScript is bootstrap/node/k8ssec-rotate-key.sh.
func rotateScript(p *posture.Posture) (generators.Artifact, error) {
	named, groups := split(p.Encryption.Resources)
	text, err := generators.Text("encryption/k8ssec-rotate-key.sh.tmpl", struct {
		File             string
		RotationDays     int
		Resources        []string
		Named, Groups    []string
		Plain            []string
		StorageMigration bool
	}{
		File:             strings.TrimPrefix(path.Join(generators.NodeKeyDir, "encryption.yaml"), "/"),
		RotationDays:     p.Encryption.KeyRotationDays,
		Resources:        p.Encryption.Resources,
		Plain:            plain(p.Encryption.Resources),
		Named:            named,
		Groups:           groups,
		StorageMigration: storageMigration(p),
	})
	return generators.Artifact{
		Path:       "bootstrap/node/k8ssec-rotate-key.sh",
		Kind:       generators.Node,
		Executable: true,
		Text:       text,
	}, err
}

// plain are the kinds that the script looks for in plain text: where etcd keeps others depends on their
// group.
func plain(resources []string) []string {
	var kinds []string
	for _, kind := range []string{"secrets", "configmaps"} {
		if slices.Contains(resources, kind) || slices.Contains(resources, "*.") || slices.Contains(resources, "*.*") {
			kinds = append(kinds, kind)
		}
	}
	return kinds
}

// split divides what is encrypted into single resources and, for wildcards, the options with which
// kubectl api-resources lists them.
func split(resources []string) (named, groups []string) {
	for _, resource := range resources {
		group, wildcard := strings.CutPrefix(resource, "*.")
		switch {
		case !wildcard:
			named = append(named, resource)
		case group == "*":
			groups = append(groups, "")
		default:
			groups = append(groups, " --api-group="+group)
		}
	}
	return named, groups
}

// storageMigration says whether the API server stores objects again by itself: StorageVersionMigration
// is v1 and on from 1.37.
func storageMigration(p *posture.Posture) bool { return p.Cluster.Minor() >= 37 }

// encryptionPage is docs/encryption.md.
func encryptionPage(p *posture.Posture) (generators.Artifact, error) {
	named, _ := split(p.Encryption.Resources)
	text, err := generators.Text("encryption/encryption.md.tmpl", struct {
		*posture.Posture
		KeyDir, KeyFile  string
		StorageMigration bool
		LocalKey         bool
		Everything       bool
		Resources        string
		Named            []string
	}{
		Posture:          p,
		KeyDir:           generators.NodeKeyDir,
		KeyFile:          generators.NodeKeyDir + "/encryption.yaml",
		StorageMigration: storageMigration(p),
		LocalKey:         p.Encryption.Provider == "secretbox",
		Everything:       slices.Contains(p.Encryption.Resources, "*.*"),
		Resources:        strings.Join(p.Encryption.Resources, ", "),
		Named:            named,
	})
	if err != nil {
		return generators.Artifact{}, err
	}
	page := generators.Artifact{
		Path: "docs/encryption.md",
		Kind: generators.Procedure,
		Text: text,
		Claims: []generators.Claim{
			{Control: "enc-4", Field: "## Replace the key"},
		},
	}
	if p.Encryption.MutualTLS != "off" || p.Network.Encryption != "off" {
		page.Claims = append(page.Claims, generators.Claim{Control: "enc-6", Field: "## Between pods"})
	}
	return page, nil
}
