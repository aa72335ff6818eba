package apiserver

import (
	"strconv"

	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/generators"
)

// cis is the id of a control of the CIS benchmark.
func cis(section string, number int) string {
	return "cis-" + section + "." + strconv.Itoa(number)
}

// servingHeading is the section that answers CIS 1.2.5 and 4.2.9 until the posture asks for both.
const servingHeading = "## Let the API server verify the kubelets"

// controlPlanePage is docs/control-plane.md: how the files come to the nodes, and the controls that
// only people can keep.
func controlPlanePage(p *posture.Posture) (generators.Artifact, error) {
	text, err := generators.Text("apiserver/control-plane.md.tmpl", struct {
		*posture.Posture
		Node             nodeData
		NodeDir          string
		PinnedVersion    string
		ServingProcedure bool
		StaticAdmission  bool
		AnonymousPaths   []string
		EncryptionFile   string
	}{
		Posture:          p,
		Node:             newNodeData(p),
		NodeDir:          generators.NodeDir,
		PinnedVersion:    versions[p.Cluster.Kubernetes],
		ServingProcedure: !p.APIServer.KubeletCertificateAuthority || !p.Kubelet.ServerTLSBootstrap,
		StaticAdmission:  staticAdmission(p),
		AnonymousPaths:   anonymousPaths(p),
		EncryptionFile:   encryptionFile(p),
	})
	if err != nil {
		return generators.Artifact{}, err
	}
	var claims []generators.Claim
	if !p.APIServer.KubeletCertificateAuthority {
		claims = append(claims, generators.Claim{Control: "cis-1.2.5", Field: servingHeading})
	}
	if !p.Kubelet.ServerTLSBootstrap {
		claims = append(claims, generators.Claim{Control: "cis-4.2.9", Field: servingHeading})
	}
	return generators.Artifact{Path: "docs/control-plane.md", Kind: generators.Procedure, Text: text, Claims: claims}, nil
}
