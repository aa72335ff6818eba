package apiserver

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/generators"
)

// New returns the generator of the domain apiserver.
func New() generators.Generator { return generator{} }

type generator struct{}

// Domain is "apiserver".
func (generator) Domain() string { return "apiserver" }

// Generate emits bootstrap/ but for the audit policy, which is the logging domain's, and the
// encryption configuration of a KMS, which is the encryption domain's.
func (generator) Generate(p *posture.Posture) (*generators.Output, error) {
	if p.Encryption.Provider == "kms" && p.Encryption.KMS == nil {
		return nil, fmt.Errorf("encryption.provider is kms, but encryption.kms is not set")
	}
	out := &generators.Output{Undecided: undecided(p)}
	bootstrap, err := bootstrapFile(p)
	if err != nil {
		return nil, err
	}
	out.Artifacts = append(out.Artifacts, bootstrap, authentication(p), admission(p))
	if p.APIServer.EtcdUser {
		patch, err := etcdPatch()
		if err != nil {
			return nil, err
		}
		out.Artifacts = append(out.Artifacts, patch)
	}
	node, err := nodeFiles(p)
	if err != nil {
		return nil, err
	}
	out.Artifacts = append(out.Artifacts, node...)
	page, err := controlPlanePage(p)
	if err != nil {
		return nil, err
	}
	out.Artifacts = append(out.Artifacts, page)
	return out, nil
}

func bootstrapFile(p *posture.Posture) (generators.Artifact, error) {
	if p.Cluster.Platform == "kind" {
		return kindConfig(p)
	}
	return kubeadmConfig(p)
}

func undecided(p *posture.Posture) []generators.Decision {
	if p.Identity.OIDC != nil {
		return nil
	}
	return []generators.Decision{{
		Controls: []string{"nsa-A2", "api-2"},
		Line:     `identity: oidc: issuerURL: "https://login.internal/realms/staff"`,
		Enables:  "people sign in at the identity provider: the jwt section of bootstrap/control-plane/authentication.yaml, with token lifetime, required claims and prefixes checked by the API server",
	}}
}

// The paths that kubeadm's probes call without credentials
// (cmd/kubeadm/app/phases/controlplane/manifests.go).
var probePaths = []string{"/livez", "/readyz"}

// The path that token-based kubeadm join reads without credentials to find the cluster's CA.
const clusterInfoPath = "/api/v1/namespaces/kube-public/configmaps/cluster-info"

// anonymousPaths are the only paths that answer without credentials.
func anonymousPaths(p *posture.Posture) []string {
	paths := slices.Clone(p.APIServer.AnonymousPaths)
	for _, probe := range probePaths {
		if !slices.Contains(paths, probe) {
			paths = append(paths, probe)
		}
	}
	// The workers of kind join by token as well.
	if p.APIServer.TokenJoin || p.Cluster.Platform == "kind" {
		paths = append(paths, clusterInfoPath)
	}
	slices.Sort(paths)
	return slices.Compact(paths)
}

// admissionPlugins are the plug-ins besides the defaults. kubeadm's own default, NodeRestriction,
// would be lost if the list left it out.
func admissionPlugins(p *posture.Posture) []string {
	plugins := append([]string{"NodeRestriction"}, p.APIServer.AdmissionPlugins...)
	if p.Images.AlwaysPull || pullsForCredentials(p) {
		plugins = append(plugins, "AlwaysPullImages")
	}
	if p.APIServer.EventRateLimit.Enabled {
		plugins = append(plugins, "EventRateLimit")
	}
	slices.Sort(plugins)
	return slices.Compact(plugins)
}

// pullsForCredentials says that AlwaysPullImages stands in for a check that the kubelet makes itself
// from 1.35 on (KEP-2535): before, only a pull proves that a pod may use an image.
func pullsForCredentials(p *posture.Posture) bool {
	return p.Cluster.Minor() < 35 && p.Kubelet.ImagePullCredentials != "NeverVerify"
}

// hasPlugin says whether an admission plug-in is enabled.
func hasPlugin(p *posture.Posture, name string) bool {
	return slices.Contains(admissionPlugins(p), name)
}

// staticAdmission says whether the API server loads policies from files, which it does from 1.37 on
// (KEP-5793). The workloads domain emits the files.
func staticAdmission(p *posture.Posture) bool {
	return p.Workloads.Static && p.Cluster.Minor() >= 37
}

// encryptionFile is the EncryptionConfiguration on a control plane node. The one with a local key is
// made there; the one of a KMS holds no secret and comes from the repository.
func encryptionFile(p *posture.Posture) string {
	if p.Encryption.Provider == "kms" {
		return generators.NodeDir + "/encryption.yaml"
	}
	return generators.NodeKeyDir + "/encryption.yaml"
}

// kmsDir is the directory of the KMS plug-in's socket. The plug-in makes a new socket at each start,
// so the directory is mounted.
func kmsDir(p *posture.Posture) string {
	return path.Dir(strings.TrimPrefix(p.Encryption.KMS.Endpoint, "unix://"))
}
