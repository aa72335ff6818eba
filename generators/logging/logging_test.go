package logging_test

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/apis/audit"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	baseaudit "k8s.io/apiserver/pkg/audit"
	"k8s.io/apiserver/pkg/audit/policy"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/generators/generatortest"
	"github.com/k8ssec/k8ssec/generators/logging"
	"github.com/k8ssec/k8ssec/internal/manifest"
)

func TestGolden(t *testing.T) { generatortest.Run(t, logging.New()) }

// evaluator loads the emitted file as the API server does.
func evaluator(t *testing.T, p *posture.Posture) baseaudit.PolicyRuleEvaluator {
	t.Helper()
	for _, f := range generatortest.Emit(t, logging.New(), p) {
		if f.Name != "bootstrap/control-plane/audit-policy.yaml" {
			continue
		}
		// A misspelt field would only be a warning in the API server's log.
		docs, err := manifest.Decode(f.Data)
		if err != nil || len(docs) != 1 {
			t.Fatalf("%d documents: %v", len(docs), err)
		}
		value, err := manifest.Value(docs[0].Node)
		if err != nil {
			t.Fatal(err)
		}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(value.(map[string]any), &auditv1.Policy{}, true); err != nil {
			t.Fatal(err)
		}
		loaded, err := policy.LoadPolicyFromBytes(f.Data)
		if err != nil {
			t.Fatal(err)
		}
		return policy.NewPolicyRuleEvaluator(loaded)
	}
	t.Fatal("no audit policy")
	return nil
}

// who does something, in the words of the audit log.
func who(name string, groups ...string) user.Info {
	return &user.DefaultInfo{Name: name, Groups: append(groups, "system:authenticated")}
}

var (
	stranger   = &user.DefaultInfo{Name: "system:anonymous", Groups: []string{"system:unauthenticated"}}
	person     = who("oidc:mallory", "oidc:team-a")
	workload   = who("system:serviceaccount:team-a:web", "system:serviceaccounts", "system:serviceaccounts:team-a")
	kubelet    = who("system:node:worker-1", "system:nodes")
	admin      = who("kubernetes-admin", "kubeadm:cluster-admins")
	system     = who("system:serviceaccount:kube-system:addon", "system:serviceaccounts", "system:serviceaccounts:kube-system")
	flux       = who("system:serviceaccount:flux-system:kustomize-controller", "system:serviceaccounts", "system:serviceaccounts:flux-system")
	daemonSets = who("system:serviceaccount:kube-system:daemon-set-controller", "system:serviceaccounts", "system:serviceaccounts:kube-system")
	manager    = who("system:kube-controller-manager")
	loopback   = who("system:apiserver", "system:masters")
	proxy      = who("system:serviceaccount:kube-system:kube-proxy", "system:serviceaccounts", "system:serviceaccounts:kube-system")
)

// do is a request for a resource: "pods/exec" is a subresource, "deployments.apps" has a group.
func do(by user.Info, verb, namespace, what string) authorizer.AttributesRecord {
	resource, subresource, _ := strings.Cut(what, "/")
	resource, group, _ := strings.Cut(resource, ".")
	return authorizer.AttributesRecord{
		User: by, Verb: verb, Namespace: namespace, APIGroup: group, APIVersion: "v1",
		Resource: resource, Subresource: subresource, Name: "some", ResourceRequest: true,
	}
}

func path(by user.Info, verb, p string) authorizer.AttributesRecord {
	return authorizer.AttributesRecord{User: by, Verb: verb, Path: p}
}

// steps are what an intruder does, from the first look to the covering of tracks. Each must leave a
// record; want is its level, most what it may be at most where a body would be a secret.
var steps = []struct {
	step string
	do   authorizer.AttributesRecord
	want audit.Level
}{
	{"a stranger asks for the version", path(stranger, "get", "/version"), audit.LevelMetadata},
	{"a stranger lists the APIs", path(stranger, "get", "/apis"), audit.LevelMetadata},
	{"a stranger posts to a health check", path(stranger, "post", "/livez"), audit.LevelMetadata},
	{"a stranger tries a path below a health check", path(stranger, "get", "/livez/../api/v1/secrets"), audit.LevelMetadata},
	{"a stranger reads the cluster-info", do(stranger, "get", "kube-public", "configmaps"), audit.LevelMetadata},
	{"a stolen workload token learns the APIs", path(workload, "get", "/apis"), audit.LevelMetadata},
	{"it asks what it may do", do(workload, "create", "", "selfsubjectrulesreviews.authorization.k8s.io"), audit.LevelRequest},
	{"it asks whether it may do one thing", do(workload, "create", "", "selfsubjectaccessreviews.authorization.k8s.io"), audit.LevelRequest},
	{"it asks who it is", do(workload, "create", "", "selfsubjectreviews.authentication.k8s.io"), audit.LevelRequest},
	{"it lists the pods of all namespaces", do(workload, "list", "", "pods"), audit.LevelMetadata},
	{"it lists secrets", do(workload, "list", "team-b", "secrets"), audit.LevelMetadata},
	{"it watches secrets", do(workload, "watch", "", "secrets"), audit.LevelMetadata},
	{"it reads a secret as a system account", do(system, "get", "kube-system", "secrets"), audit.LevelMetadata},
	{"it reads secrets as the controller manager", do(manager, "list", "", "secrets"), audit.LevelMetadata},
	{"it reads secrets as the API server", do(loopback, "list", "", "secrets"), audit.LevelMetadata},
	{"it reads a secret as a node", do(kubelet, "get", "team-a", "secrets"), audit.LevelMetadata},
	{"it writes a secret", do(person, "create", "team-a", "secrets"), audit.LevelMetadata},
	{"it patches a secret", do(person, "patch", "team-a", "secrets"), audit.LevelMetadata},
	{"it changes cluster DNS", do(person, "update", "kube-system", "configmaps"), audit.LevelMetadata},
	{"it makes a token", do(person, "create", "kube-system", "serviceaccounts/token"), audit.LevelMetadata},
	{"a controller makes a token", do(manager, "create", "kube-system", "serviceaccounts/token"), audit.LevelMetadata},
	{"it tests a token", do(workload, "create", "", "tokenreviews.authentication.k8s.io"), audit.LevelMetadata},
	{"it runs a command over SPDY", do(person, "create", "team-a", "pods/exec"), audit.LevelMetadata},
	{"it runs a command over WebSocket", do(person, "get", "team-a", "pods/exec"), audit.LevelMetadata},
	{"it runs a command as the controller manager", do(manager, "get", "team-a", "pods/exec"), audit.LevelMetadata},
	{"it runs a command as the API server", do(loopback, "get", "team-a", "pods/exec"), audit.LevelMetadata},
	{"it attaches", do(person, "get", "team-a", "pods/attach"), audit.LevelMetadata},
	{"it forwards a port", do(person, "get", "team-a", "pods/portforward"), audit.LevelMetadata},
	{"it goes through a pod", do(person, "get", "team-a", "pods/proxy"), audit.LevelMetadata},
	{"it goes through a service", do(person, "get", "team-a", "services/proxy"), audit.LevelMetadata},
	{"it goes through a node", do(person, "get", "", "nodes/proxy"), audit.LevelMetadata},
	{"it goes through a node as kube-proxy", do(proxy, "get", "", "nodes/proxy"), audit.LevelMetadata},
	{"it adds a debug container", do(person, "patch", "team-a", "pods/ephemeralcontainers"), audit.LevelRequest},
	{"it starts a pod", do(person, "create", "team-a", "pods"), audit.LevelRequest},
	{"it starts a pod as a system account", do(system, "create", "kube-system", "pods"), audit.LevelRequest},
	{"it starts a pod as the DaemonSet controller", do(daemonSets, "create", "kube-system", "pods"), audit.LevelMetadata},
	{"it changes an image", do(person, "patch", "team-a", "deployments.apps"), audit.LevelRequest},
	{"it starts a DaemonSet", do(person, "create", "kube-system", "daemonsets.apps"), audit.LevelRequest},
	{"it starts a CronJob to come back", do(person, "create", "team-a", "cronjobs.batch"), audit.LevelRequest},
	{"a node mirrors a static pod", do(kubelet, "create", "kube-system", "pods"), audit.LevelRequest},
	{"it makes a volume of a host path", do(person, "create", "", "persistentvolumes"), audit.LevelRequest},
	{"it binds itself to cluster-admin", do(person, "create", "", "clusterrolebindings.rbac.authorization.k8s.io"), audit.LevelRequestResponse},
	{"it binds itself as a system account", do(system, "create", "", "clusterrolebindings.rbac.authorization.k8s.io"), audit.LevelRequestResponse},
	{"it binds itself as the API server", do(loopback, "patch", "", "clusterroles.rbac.authorization.k8s.io"), audit.LevelRequestResponse},
	{"it widens a role through GitOps", do(flux, "patch", "team-a", "roles.rbac.authorization.k8s.io"), audit.LevelRequestResponse},
	{"it takes the Pod Security label away", do(person, "patch", "", "namespaces"), audit.LevelRequestResponse},
	{"it makes a service account", do(person, "create", "kube-system", "serviceaccounts"), audit.LevelRequestResponse},
	{"it asks for a client certificate", do(person, "create", "", "certificatesigningrequests.certificates.k8s.io"), audit.LevelRequestResponse},
	{"it approves it", do(admin, "update", "", "certificatesigningrequests.certificates.k8s.io/approval"), audit.LevelRequestResponse},
	{"it puts a webhook between", do(person, "create", "", "mutatingwebhookconfigurations.admissionregistration.k8s.io"), audit.LevelRequestResponse},
	{"it deletes an admission policy", do(person, "delete", "", "validatingadmissionpolicies.admissionregistration.k8s.io"), audit.LevelRequestResponse},
	{"it deletes bindings of policies at once", do(person, "deletecollection", "", "validatingadmissionpolicybindings.admissionregistration.k8s.io"), audit.LevelRequestResponse},
	{"it puts an API of its own in place", do(person, "create", "", "apiservices.apiregistration.k8s.io"), audit.LevelRequestResponse},
	{"it opens the network", do(person, "delete", "team-a", "networkpolicies.networking.k8s.io"), audit.LevelRequest},
	{"it opens Cilium's network", do(person, "create", "team-a", "ciliumnetworkpolicies.cilium.io"), audit.LevelRequest},
	{"it takes an address with a service", do(person, "patch", "team-a", "services"), audit.LevelRequest},
	{"it publishes a service", do(person, "create", "team-a", "ingresses.networking.k8s.io"), audit.LevelRequest},
	{"it labels a node", do(kubelet, "patch", "", "nodes"), audit.LevelRequest},
	{"it points GitOps elsewhere", do(person, "patch", "flux-system", "gitrepositories.source.toolkit.fluxcd.io"), audit.LevelMetadata},
	{"it reads a store of secrets", do(person, "get", "team-a", "secretstores.external-secrets.io"), audit.LevelMetadata},
	{"it changes a CRD", do(person, "update", "", "customresourcedefinitions.apiextensions.k8s.io"), audit.LevelMetadata},
	{"it reads logs", do(person, "get", "team-a", "pods/log"), audit.LevelMetadata},
	{"it takes over a leader's lease", do(person, "update", "kube-system", "leases.coordination.k8s.io"), audit.LevelMetadata},
	{"it takes over GitOps' lease as another account", do(workload, "update", "flux-system", "leases.coordination.k8s.io"), audit.LevelMetadata},
	{"GitOps' account takes over the control plane's lease", do(flux, "update", "kube-system", "leases.coordination.k8s.io"), audit.LevelMetadata},
	{"it deletes a node's lease", do(kubelet, "delete", "kube-node-lease", "leases.coordination.k8s.io"), audit.LevelMetadata},
	{"it writes false events", do(person, "create", "team-a", "events"), audit.LevelMetadata},
	{"it deletes events", do(person, "delete", "team-a", "events"), audit.LevelMetadata},
	{"it deletes all events as a system account", do(system, "deletecollection", "kube-system", "events.events.k8s.io"), audit.LevelMetadata},
	{"it deletes a namespace", do(admin, "delete", "", "namespaces"), audit.LevelRequestResponse},
	{"it deletes backups", do(person, "delete", "velero", "backups.velero.io"), audit.LevelMetadata},
	{"it reads the API server's memory", path(admin, "get", "/debug/pprof/heap"), audit.LevelMetadata},
}

// secret are the resources whose bodies are secrets.
var secret = map[string]bool{"secrets": true, "configmaps": true, "serviceaccounts/token": true, "tokenreviews": true}

var postures = []struct{ name, file string }{
	{"standard", `profiles: ["baseline"]`},
	{"standard on 1.34", "profiles: [\"cis\"]\ncluster: kubernetes: \"1.34\""},
	{"standard with Calico and Argo CD", "profiles: [\"cis\"]\ncluster: cni: \"calico\"\ngitops: {engine: \"argocd\", namespace: \"argocd\"}"},
	{"full", "profiles: [\"cis\"]\nlogging: audit: policy: \"full\""},
}

func TestAttackLeavesRecords(t *testing.T) {
	rank := map[audit.Level]int{audit.LevelNone: 0, audit.LevelMetadata: 1, audit.LevelRequest: 2, audit.LevelRequestResponse: 3}
	for _, p := range postures {
		t.Run(p.name, func(t *testing.T) {
			post := generatortest.Posture(t, p.file)
			e := evaluator(t, post)
			for _, s := range steps {
				if s.do.APIGroup == "cilium.io" && post.Cluster.CNI != "cilium" {
					continue
				}
				got := e.EvaluatePolicyRule(s.do)
				if rank[got.Level] < rank[s.want] {
					t.Errorf("%s: level %s, want at least %s", s.step, got.Level, s.want)
				}
				what := s.do.Resource
				if s.do.Subresource != "" {
					what += "/" + s.do.Subresource
				}
				if secret[what] && got.Level != audit.LevelMetadata {
					t.Errorf("%s: level %s would write the secret into the log", s.step, got.Level)
				}
				for _, stage := range got.OmitStages {
					if stage != audit.StageRequestReceived {
						t.Errorf("%s: the stage %s is left out", s.step, stage)
					}
				}
			}
		})
	}
}

// TestHeartbeatIsQuiet holds what makes a log useless to be left out: at rest a cluster sends these by
// the thousand.
func TestHeartbeatIsQuiet(t *testing.T) {
	for _, p := range postures {
		t.Run(p.name, func(t *testing.T) {
			post := generatortest.Posture(t, p.file)
			e := evaluator(t, post)
			quiet := []authorizer.AttributesRecord{
				path(stranger, "get", "/livez"),
				path(stranger, "get", "/readyz"),
				path(manager, "get", "/apis/apps/v1"),
				do(kubelet, "update", "kube-node-lease", "leases.coordination.k8s.io"),
				do(manager, "update", "kube-system", "leases.coordination.k8s.io"),
				do(loopback, "update", "kube-system", "leases.coordination.k8s.io"),
				do(kubelet, "create", "team-a", "events"),
				do(kubelet, "patch", "team-a", "events"),
				do(daemonSets, "create", "team-a", "events"),
			}
			if post.GitOps.Engine == "flux" {
				quiet = append(quiet, do(flux, "update", "flux-system", "leases.coordination.k8s.io"))
			}
			if post.Logging.Audit.Policy == "standard" {
				quiet = append(quiet,
					do(manager, "watch", "", "pods"),
					do(loopback, "list", "", "clusterroles.rbac.authorization.k8s.io"),
					do(proxy, "watch", "", "endpointslices.discovery.k8s.io"),
				)
			}
			for _, a := range quiet {
				if got := e.EvaluatePolicyRule(a); got.Level != audit.LevelNone {
					t.Errorf("%s %s %s%s %s: level %s", a.User.GetName(), a.Verb, a.Path, a.Resource, a.Namespace, got.Level)
				}
			}
		})
	}
}

// TestSilenceIsNarrow holds each rule of level None to name users, verbs and resources, and never a
// whole group of resources, which would take in subresources such as pods/exec.
func TestSilenceIsNarrow(t *testing.T) {
	for _, p := range postures {
		for _, f := range generatortest.Emit(t, logging.New(), generatortest.Posture(t, p.file)) {
			if f.Name != "bootstrap/control-plane/audit-policy.yaml" {
				continue
			}
			loaded, err := policy.LoadPolicyFromBytes(f.Data)
			if err != nil {
				t.Fatal(err)
			}
			for i, r := range loaded.Rules {
				for _, gr := range r.Resources {
					if gr.Group == "*" {
						t.Errorf("%s: rule %d: the API server refuses the group * up to 1.35", p.name, i)
					}
					if r.Level == audit.LevelNone && len(gr.Resources) == 0 {
						t.Errorf("%s: rule %d silences all of %q", p.name, i, gr.Group)
					}
				}
				if r.Level != audit.LevelNone {
					continue
				}
				if len(r.Users)+len(r.UserGroups) == 0 || len(r.Verbs) == 0 || len(r.Resources)+len(r.NonResourceURLs) == 0 {
					t.Errorf("%s: rule %d of level None does not name users, verbs and resources", p.name, i)
				}
				for _, group := range r.UserGroups {
					if group == "system:authenticated" || group == "system:masters" || group == "system:serviceaccounts" {
						t.Errorf("%s: rule %d silences the group %s", p.name, i, group)
					}
				}
			}
		}
	}
}
