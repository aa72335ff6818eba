package workloads

import (
	"path"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/generators"
)

// staticMinor is the first minor that reads policies from files without a feature gate (KEP-5793).
const staticMinor = 37

// staticDir holds the files. The API server reads every .yaml in it and no folder below.
const staticDir = "bootstrap/control-plane/admission/validating"

// staticSuffix is reserved for policies from files: the API refuses it, so no request can remove or
// replace them.
const staticSuffix = ".static.k8s.io"

// staticControl is the control for the files as a whole.
const staticControl = "wl-30"

// static returns the files for the control plane nodes. They hold what must not depend on what is
// stored in etcd: the protection of the admission policies themselves, the protection of the labels
// that decide where policies hold, and the three rules that keep a pod from becoming root on its
// node.
func static(p *posture.Posture) []generators.Artifact {
	if !p.Workloads.Static || p.Cluster.Minor() < staticMinor {
		return nil
	}
	files := []generators.Artifact{selfProtection(p)}
	for _, pol := range policies() {
		switch pol.name {
		case "host-namespaces", "host-path", "namespace-labels", "privileged":
		default:
			continue
		}
		for _, r := range pol.apply(p) {
			// Templates are the business of the policy in the cluster, which tells the developer.
			r.templates, r.conditions = nil, slices.DeleteFunc(r.conditions, func(c admissionv1.MatchCondition) bool {
				return c.Name == fromTemplate
			})
			// The labels come with GitOps, long after kubeadm and the network plug-in have made pods.
			names := slices.Concat(r.waived, p.NamespacesOf("addon"), p.NamespacesOf("system"))
			names = slices.DeleteFunc(names, func(n string) bool { return slices.Contains(unusedNamespaces, n) })
			files = append(files, staticFile(pol.name, r.rule, r.enforcement, r.where.selector(p, names)))
		}
	}
	slices.SortFunc(files, func(a, b generators.Artifact) int { return strings.Compare(a.Path, b.Path) })
	return files
}

func staticFile(name string, r rule, e posture.Enforcement, namespaces *metav1.LabelSelector) generators.Artifact {
	full := objectName(name, "") + staticSuffix
	onPolicy, onBinding := r.claims(staticControl, e)
	return generators.Artifact{
		Path: path.Join(staticDir, name+".yaml"),
		Comment: "Read by the API server from " + staticFolder + ", not applied to the cluster: in force " +
			"before etcd is read, and out of reach of every API request. Keep the same files on all control plane " +
			"nodes; a change is taken up within a minute.",
		Kind: generators.ControlPlane,
		Objects: []generators.Object{
			{Value: r.object(full), Why: r.why, Claims: onPolicy},
			{
				Value:  binding(full, full, e, namespaces, nil),
				Why:    "Where it holds, and what happens to a request that breaks it.",
				Claims: onBinding,
			},
		},
	}
}

// staticFolder is where the files lie on a control plane node.
const staticFolder = generators.NodeDir + "/admission/validating"

// selfProtection keeps everyone but Git and break-glass from changing or removing what k8ssec emitted
// into admissionregistration.k8s.io. Policies stored in the cluster cannot do that: the API server
// never asks them about policies. It refuses whatever the posture's enforcement is, because it stands
// in nobody's way who works through Git.
func selfProtection(p *posture.Posture) generators.Artifact {
	r := rule{
		why: "Whoever may delete a policy or its binding has no policy. Webhooks and policies of others are not " +
			"touched by this rule, nor is the status that the controller manager writes.",
		where: clusterWide,
		match: []admissionv1.NamedRuleWithOperations{
			on("admissionregistration.k8s.io", []admissionv1.OperationType{admissionv1.Update, admissionv1.Delete},
				"mutatingadmissionpolicies", "mutatingadmissionpolicybindings", "mutatingwebhookconfigurations",
				"validatingadmissionpolicies", "validatingadmissionpolicybindings", "validatingwebhookconfigurations"),
		},
		exempt: emergencyOrGit(p),
		validations: []validation{{
			name:       "notOurs",
			expression: "oldObject.metadata.?labels[?'" + generators.LabelManagedBy + "'].orValue('') != 'k8ssec'",
			message:    "this policy is managed in Git: change cluster.cue or the repository, or use the break-glass procedure.",
			reason:     metav1.StatusReasonForbidden,
			controls:   []string{"cis-5.1.12", "nsa-S2"},
		}},
	}
	return staticFile("self-protection", r, posture.Enforce, nil)
}
