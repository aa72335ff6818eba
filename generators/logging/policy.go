package logging

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"

	"github.com/k8ssec/k8ssec/cue/posture"
)

// The identities of the control plane. Nobody gets one of them without the control plane's own keys,
// and then the log is lost anyway.
const (
	apiServer         = "system:apiserver"
	controllerManager = "system:kube-controller-manager"
	scheduler         = "system:kube-scheduler"
	kubeProxy         = "system:serviceaccount:kube-system:kube-proxy"
	nodes             = "system:nodes"
)

// controller is the service account of one of the controller manager's controllers.
func controller(name string) string { return "system:serviceaccount:kube-system:" + name }

// core names resources of the core group.
func core(resources ...string) auditv1.GroupResources {
	return auditv1.GroupResources{Resources: resources}
}

// group names resources of another group; none means all of it, subresources included. The group "*"
// is not used: up to 1.35 the API server refuses it.
func group(name string, resources ...string) auditv1.GroupResources {
	return auditv1.GroupResources{Group: name, Resources: resources}
}

var (
	reads  = []string{"get", "list", "watch"}
	writes = []string{"create", "update", "patch", "delete", "deletecollection"}
)

// auditPolicy is the policy of a posture. Policies of both kinds begin with the same rules; "full"
// leaves out the one that silences what the control plane itself reads, and keeps responses.
func auditPolicy(p *posture.Posture) *auditv1.Policy {
	policy := &auditv1.Policy{
		TypeMeta:   metav1.TypeMeta{APIVersion: auditv1.SchemeGroupVersion.String(), Kind: "Policy"},
		ObjectMeta: metav1.ObjectMeta{Name: "k8ssec-" + p.Logging.Audit.Policy},
		// A request is recorded when it is answered, and a stream also when it begins.
		OmitStages: []auditv1.Stage{auditv1.StageRequestReceived},
		// Who changed which field when is in the records themselves.
		OmitManagedFields: true,
	}
	full := p.Logging.Audit.Policy == "full"
	policy.Rules = slices.Concat(quiet(p), sensitive(), quietReads(full), bodies(p, full), []auditv1.PolicyRule{
		// All else: who, what, from where, with which answer.
		{Level: auditv1.LevelMetadata},
	})
	return policy
}

// quiet silences the heartbeat of the cluster: most of what an API server answers, and nothing that
// an intruder gains by.
func quiet(p *posture.Posture) []auditv1.PolicyRule {
	rules := []auditv1.PolicyRule{
		// The probes of the kubelet and of load balancers, which carry no credentials. Nobody else has
		// the group: a request with credentials is recorded.
		{Level: auditv1.LevelNone, UserGroups: []string{"system:unauthenticated"}, Verbs: []string{"get"}, NonResourceURLs: []string{"/healthz", "/livez", "/readyz"}},
		// What controllers ask again and again to learn which APIs there are.
		{Level: auditv1.LevelNone, Users: []string{apiServer, controllerManager, controller("generic-garbage-collector"), controller("resourcequota-controller"), controller("namespace-controller")}, Verbs: []string{"get"}, NonResourceURLs: []string{"/api", "/api/*", "/apis", "/apis/*", "/openapi/*"}},
		// Nodes say every ten seconds that they live.
		{Level: auditv1.LevelNone, UserGroups: []string{nodes}, Verbs: []string{"get", "update"}, Resources: []auditv1.GroupResources{group("coordination.k8s.io", "leases")}, Namespaces: []string{"kube-node-lease"}},
		// The control plane elects its leaders every two seconds.
		{Level: auditv1.LevelNone, Users: []string{apiServer, controllerManager, scheduler}, Verbs: []string{"get", "update"}, Resources: []auditv1.GroupResources{group("coordination.k8s.io", "leases")}, Namespaces: []string{"kube-system"}},
	}
	for _, e := range elections(p) {
		rules = append(rules, auditv1.PolicyRule{
			Level: auditv1.LevelNone, Users: e.users, Verbs: []string{"get", "update"},
			Resources: []auditv1.GroupResources{group("coordination.k8s.io", "leases")}, Namespaces: []string{e.namespace},
		})
	}
	return append(rules,
		// Events are a log themselves. Their deletion is recorded, and so is who else writes them.
		auditv1.PolicyRule{Level: auditv1.LevelNone, UserGroups: []string{nodes, "system:serviceaccounts:kube-system"}, Verbs: []string{"create", "patch"}, Resources: []auditv1.GroupResources{core("events"), group("events.k8s.io", "events")}},
		auditv1.PolicyRule{Level: auditv1.LevelNone, Users: []string{apiServer, controllerManager, scheduler}, Verbs: []string{"create", "patch"}, Resources: []auditv1.GroupResources{core("events"), group("events.k8s.io", "events")}},
	)
}

// election is an add-on's controllers that elect a leader in their own namespace.
type election struct {
	namespace string
	users     []string
}

// elections are those of the add-ons that the posture has: a renewal every two seconds each.
func elections(p *posture.Posture) []election {
	of := func(namespace string, accounts ...string) election {
		e := election{namespace: namespace}
		for _, account := range accounts {
			e.users = append(e.users, "system:serviceaccount:"+namespace+":"+account)
		}
		return e
	}
	var list []election
	if p.Cluster.CNI == "cilium" {
		list = append(list, of("kube-system", "cilium-operator"))
	}
	if p.GitOps.Engine == "flux" {
		list = append(list, of(p.GitOps.Namespace, "source-controller", "kustomize-controller", "helm-controller", "notification-controller"))
	}
	if p.Encryption.CertManager == posture.InstallInstall {
		list = append(list, of("cert-manager", "cert-manager", "cert-manager-cainjector"))
	}
	return list
}

// sensitive is what must be recorded whoever does it, and never with its body.
func sensitive() []auditv1.PolicyRule {
	return []auditv1.PolicyRule{
		// Bodies that are secrets: secrets themselves, configuration that people mistake for a place for
		// them, and every answer that is a token.
		{Level: auditv1.LevelMetadata, Resources: []auditv1.GroupResources{
			core("secrets", "configmaps", "serviceaccounts/token"),
			group("authentication.k8s.io", "tokenreviews"),
		}},
		// The ways into a running container or past the API server, of all verbs: over WebSocket exec is
		// a get.
		{Level: auditv1.LevelMetadata, Resources: []auditv1.GroupResources{
			core("pods/exec", "pods/attach", "pods/portforward", "pods/proxy", "services/proxy", "nodes/proxy"),
		}},
	}
}

// quietReads silences what the control plane reads of kinds that hold no secret. Each kind is named:
// an empty list would take in pods/exec.
func quietReads(full bool) []auditv1.PolicyRule {
	if full {
		return nil
	}
	return []auditv1.PolicyRule{
		{Level: auditv1.LevelNone, Users: []string{kubeProxy}, Verbs: reads, Resources: []auditv1.GroupResources{
			core("endpoints", "nodes", "services"),
			group("discovery.k8s.io", "endpointslices"),
			group("networking.k8s.io", "servicecidrs"),
		}},
		{Level: auditv1.LevelNone, Users: []string{apiServer, controllerManager, scheduler}, Verbs: reads, Resources: []auditv1.GroupResources{
			core("endpoints", "limitranges", "namespaces", "nodes", "persistentvolumeclaims", "persistentvolumes", "pods", "replicationcontrollers", "resourcequotas", "serviceaccounts", "services"),
			group("admissionregistration.k8s.io", "mutatingadmissionpolicies", "mutatingadmissionpolicybindings", "mutatingwebhookconfigurations", "validatingadmissionpolicies", "validatingadmissionpolicybindings", "validatingwebhookconfigurations"),
			group("apiextensions.k8s.io", "customresourcedefinitions"),
			group("apiregistration.k8s.io", "apiservices"),
			group("apps", "controllerrevisions", "daemonsets", "deployments", "replicasets", "statefulsets"),
			group("autoscaling", "horizontalpodautoscalers"),
			group("batch", "cronjobs", "jobs"),
			group("certificates.k8s.io", "certificatesigningrequests"),
			group("coordination.k8s.io", "leases"),
			group("discovery.k8s.io", "endpointslices"),
			group("flowcontrol.apiserver.k8s.io", "flowschemas", "prioritylevelconfigurations"),
			group("networking.k8s.io", "ingressclasses", "ingresses", "ipaddresses", "networkpolicies", "servicecidrs"),
			group("node.k8s.io", "runtimeclasses"),
			group("policy", "poddisruptionbudgets"),
			group("rbac.authorization.k8s.io", "clusterrolebindings", "clusterroles", "rolebindings", "roles"),
			group("resource.k8s.io", "deviceclasses", "resourceclaims", "resourceclaimtemplates", "resourceslices"),
			group("scheduling.k8s.io", "priorityclasses"),
			group("storage.k8s.io", "csidrivers", "csinodes", "csistoragecapacities", "storageclasses", "volumeattachments", "volumeattributesclasses"),
		}},
	}
}

// bodies are the writes whose content an investigation needs: what was allowed, what ran, what was
// opened. None of these kinds is a place for secrets.
func bodies(p *posture.Posture, full bool) []auditv1.PolicyRule {
	request := auditv1.LevelRequest
	if full {
		request = auditv1.LevelRequestResponse
	}
	flows := []auditv1.GroupResources{
		core("services"),
		group("networking.k8s.io", "ingresses", "networkpolicies"),
		group("policy.networking.k8s.io", "clusternetworkpolicies", "adminnetworkpolicies", "baselineadminnetworkpolicies"),
	}
	switch p.Cluster.CNI {
	case "cilium":
		flows = append(flows, group("cilium.io", "ciliumnetworkpolicies", "ciliumclusterwidenetworkpolicies", "ciliumcidrgroups"))
	case "calico":
		calico := []string{"networkpolicies", "globalnetworkpolicies", "networksets", "globalnetworksets"}
		flows = append(flows, group("projectcalico.org", calico...), group("crd.projectcalico.org", calico...))
	}
	return []auditv1.PolicyRule{
		// Rights and admission, with the answer: what an object became is what counts.
		{Level: auditv1.LevelRequestResponse, Verbs: writes, Resources: []auditv1.GroupResources{
			group("rbac.authorization.k8s.io"),
			group("admissionregistration.k8s.io"),
			group("apiregistration.k8s.io", "apiservices"),
			group("certificates.k8s.io", "certificatesigningrequests", "certificatesigningrequests/approval", "certificatesigningrequests/status"),
			core("namespaces", "serviceaccounts"),
		}},
		// What somebody finds out about their own rights: the first step after a token is stolen.
		{Level: auditv1.LevelRequest, Verbs: []string{"create"}, Resources: []auditv1.GroupResources{
			group("authorization.k8s.io", "selfsubjectaccessreviews", "selfsubjectrulesreviews", "localsubjectaccessreviews"),
			group("authentication.k8s.io", "selfsubjectreviews"),
		}},
		// The pods of a workload are what its template says, which is recorded; the controllers' own
		// writes need no body.
		{Level: auditv1.LevelMetadata, Users: []string{
			controller("cronjob-controller"), controller("daemon-set-controller"), controller("deployment-controller"), controller("job-controller"),
			controller("replicaset-controller"), controller("replication-controller"), controller("statefulset-controller"),
		}, Verbs: writes, Resources: []auditv1.GroupResources{
			core("pods"), group("apps", "controllerrevisions", "replicasets"), group("batch", "jobs"),
		}},
		// What runs, and on what ground.
		{Level: request, Verbs: writes, Resources: []auditv1.GroupResources{
			core("pods", "pods/ephemeralcontainers", "pods/resize", "pods/binding", "bindings", "pods/eviction", "replicationcontrollers", "persistentvolumes", "persistentvolumeclaims", "nodes", "limitranges", "resourcequotas"),
			group("apps", "daemonsets", "deployments", "replicasets", "statefulsets", "deployments/scale", "replicasets/scale", "statefulsets/scale"),
			group("batch", "cronjobs", "jobs"),
			group("policy", "poddisruptionbudgets"),
			group("node.k8s.io", "runtimeclasses"),
			group("scheduling.k8s.io", "priorityclasses"),
			group("flowcontrol.apiserver.k8s.io", "flowschemas", "prioritylevelconfigurations"),
			group("storage.k8s.io", "csidrivers", "volumeattachments"),
		}},
		// Which ways were opened.
		{Level: request, Verbs: writes, Resources: flows},
	}
}
