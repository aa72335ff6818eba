package workloads

import (
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/generators"
)

// attempt is one way to break a rule, beside a twin that keeps it.
type attempt struct {
	// slug tells the attempts on one policy apart; it is part of the probe's ID.
	slug, title string
	// rule is the suffix of the rule that must answer.
	rule string
	// deny breaks the rule, allow keeps it. A nil allow means that another attempt has the twin.
	deny  generators.Admission
	allow *generators.Admission
	// templates says that the answer is that of the binding for templates, which only warns.
	templates bool
}

// Probes breaks each policy once in a namespace where it holds, and keeps it once.
func (generator) Probes(p *posture.Posture) []generators.Probe {
	var probes []generators.Probe
	for _, pol := range policies() {
		for _, r := range pol.apply(p) {
			namespace, ok := probed(p, r)
			if !ok || r.enforcement == posture.Audit {
				continue
			}
			for _, a := range attempts(p, pol.name, namespace) {
				if a.rule == r.suffix {
					probes = append(probes, a.probes(pol, r)...)
				}
			}
		}
	}
	return append(probes, staticProbes(p)...)
}

// probed is the first namespace in which a rule for tenants holds. Rules on other namespaces are
// probed where the attempt says.
func probed(p *posture.Posture, r applied) (string, bool) {
	for _, name := range p.NamespacesOf("tenant") {
		if !slices.Contains(r.waived, name) && !slices.Contains(r.allowed, name) {
			return name, true
		}
	}
	return "", r.where != tenants
}

func (a attempt) probes(pol policy, r applied) []generators.Probe {
	name := objectName(pol.name, r.suffix)
	bound, e := name, r.enforcement
	if a.templates {
		bound, e = name+"-templates", atMost(e, posture.Warn)
	}
	file := "manifests/workloads/" + pol.name + ".yaml: "
	artifacts := []string{file + "ValidatingAdmissionPolicy " + name, file + "ValidatingAdmissionPolicyBinding " + bound}
	deny := a.deny
	deny.By = "ValidatingAdmissionPolicy '" + name + "' with binding '" + bound + "'"
	deny.Warns = e == posture.Warn
	id := "workloads-" + pol.name
	if a.slug != "" {
		id += "-" + a.slug
	}
	probe := generators.Probe{
		ID: id + "-deny", Domain: domain, Kind: generators.Deny, Title: a.title, Why: r.why,
		Controls: r.controls(pol.control), Artifacts: artifacts, Check: deny,
	}
	if a.allow == nil {
		return []generators.Probe{probe}
	}
	allow := *a.allow
	allow.By, allow.Warns = deny.By, deny.Warns
	twin := probe
	twin.ID, twin.Kind, twin.Check, twin.Pair = id+"-allow", generators.Allow, allow, probe.ID
	twin.Title = "all else equal, but not " + a.title
	twin.Why, twin.Plain = "A rule that refuses everything protects nothing: somebody will take it away.", generators.PlainTwin
	probe.Pair = twin.ID
	return []generators.Probe{probe, twin}
}

// made creates an object by a dry run.
func made(object any) generators.Admission {
	return generators.Admission{Verb: "create", Object: object}
}

func sandboxed(object any) generators.Admission {
	return generators.Admission{Verb: "create", Object: object, Sandbox: generators.Open}
}

func as(id generators.Identity, a generators.Admission) generators.Admission {
	a.As = id
	return a
}

// attempts are the ways to break one policy.
func attempts(p *posture.Posture, policyName, namespace string) []attempt {
	if list := podAttempts(p, policyName, namespace); list != nil {
		return list
	}
	return guardAttempts(p, policyName, namespace)
}

// podAttempts change one thing about a pod that passes everything. What Pod Security refuses as well
// is asked for in a Deployment, of which Pod Security only warns.
func podAttempts(p *posture.Posture, policyName, namespace string) []attempt {
	template := func(slug, title string, change func(*corev1.PodSpec)) attempt {
		d, twin := generators.ProbeDeployment(p, namespace), made(generators.ProbeDeployment(p, namespace))
		change(&d.Spec.Template.Spec)
		return attempt{slug: slug, title: title, deny: made(d), allow: &twin}
	}
	pod := func(slug, title string, change func(*corev1.PodSpec)) attempt {
		d, twin := generators.ProbePod(p, namespace), made(generators.ProbePod(p, namespace))
		change(&d.Spec)
		return attempt{slug: slug, title: title, deny: made(d), allow: &twin}
	}
	alone := func(a attempt) attempt {
		a.allow = nil
		return a
	}
	context := func(spec *corev1.PodSpec) *corev1.SecurityContext { return spec.Containers[0].SecurityContext }
	switch policyName {
	case "host-path":
		return []attempt{template("", "a workload that mounts a path of the node", func(s *corev1.PodSpec) {
			s.Volumes = []corev1.Volume{{Name: "node", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/"}}}}
		})}
	case "host-namespaces":
		return []attempt{
			template("network", "a workload in the network of its node", func(s *corev1.PodSpec) { s.HostNetwork = true }),
			alone(template("pid", "a workload among the processes of its node", func(s *corev1.PodSpec) { s.HostPID = true })),
			alone(template("ipc", "a workload in the IPC namespace of its node", func(s *corev1.PodSpec) { s.HostIPC = true })),
		}
	case "privileged":
		return []attempt{template("", "a privileged container", func(s *corev1.PodSpec) {
			// The API refuses privileged beside allowPrivilegeEscalation: false.
			context(s).Privileged, context(s).AllowPrivilegeEscalation = new(true), nil
		})}
	case "host-ports":
		return []attempt{template("", "a container that takes a port of its node", func(s *corev1.PodSpec) {
			s.Containers[0].Ports = []corev1.ContainerPort{{ContainerPort: 8080, HostPort: 8080}}
		})}
	case "privilege-escalation":
		return []attempt{template("", "a container that may gain privileges", func(s *corev1.PodSpec) {
			context(s).AllowPrivilegeEscalation = new(true)
		})}
	case "seccomp":
		return []attempt{
			template("none", "a container without a seccomp profile", func(s *corev1.PodSpec) { s.SecurityContext.SeccompProfile = nil }),
			alone(template("unconfined", "a container with seccomp switched off", func(s *corev1.PodSpec) {
				s.SecurityContext.SeccompProfile.Type = corev1.SeccompProfileTypeUnconfined
			})),
		}
	case "read-only-root":
		return []attempt{pod("", "a container that can write its root filesystem", func(s *corev1.PodSpec) {
			context(s).ReadOnlyRootFilesystem = nil
		})}
	case "run-as-non-root":
		return []attempt{
			template("unset", "a container that may run as root", func(s *corev1.PodSpec) { s.SecurityContext.RunAsNonRoot = nil }),
			alone(template("user", "a container that runs as user 0", func(s *corev1.PodSpec) { s.SecurityContext.RunAsUser = new(int64(0)) })),
		}
	case "capabilities":
		return []attempt{
			template("kept", "a container that keeps its default capabilities", func(s *corev1.PodSpec) { context(s).Capabilities = nil }),
			alone(template("added", "a container with the capability SYS_ADMIN", func(s *corev1.PodSpec) {
				context(s).Capabilities.Add = []corev1.Capability{"SYS_ADMIN"}
			})),
		}
	case "resource-limits":
		// In a tenant's namespace the LimitRange fills in what is missing before the policy looks.
		bare := generators.ProbePod(p, "")
		bare.Spec.Containers[0].Resources = corev1.ResourceRequirements{}
		warned := template("template", "a workload without limits", func(s *corev1.PodSpec) {
			s.Containers[0].Resources = corev1.ResourceRequirements{}
		})
		warned.templates = true
		twin := sandboxed(generators.ProbePod(p, ""))
		return []attempt{warned, {title: "a pod without limits, where no LimitRange fills them in", deny: sandboxed(bare), allow: &twin}}
	case "no-default-service-account":
		return []attempt{pod("", "a pod with a token of the default service account", func(s *corev1.PodSpec) {
			s.AutomountServiceAccountToken = new(true)
		})}
	case "automount-token":
		// The account of the short-lived namespace does not say whether its pods get a token.
		asking, twin := generators.ProbePod(p, ""), generators.ProbePod(p, "")
		asking.Spec.ServiceAccountName, twin.Spec.ServiceAccountName = generators.ProbeName, generators.ProbeName
		asking.Spec.AutomountServiceAccountToken = nil
		silent := template("template", "a workload that does not say whether it needs a token", func(s *corev1.PodSpec) {
			s.AutomountServiceAccountToken = nil
		})
		silent.templates = true
		allow := sandboxed(twin)
		return []attempt{silent, {title: "a pod that gets a token without asking", deny: sandboxed(asking), allow: &allow}}
	case "no-latest":
		name, _, _ := strings.Cut(generators.ProbePod(p, "").Spec.Containers[0].Image, ":")
		return []attempt{
			pod("tag", "the image tag latest", func(s *corev1.PodSpec) { s.Containers[0].Image = name + ":latest" }),
			alone(pod("untagged", "an image without a tag", func(s *corev1.PodSpec) { s.Containers[0].Image = name })),
		}
	case "allowed-registries":
		return []attempt{pod("", "an image of a registry that is not on the list", func(s *corev1.PodSpec) {
			s.Containers[0].Image = "registry.invalid/" + s.Containers[0].Image
		})}
	case "digests":
		return []attempt{pod("", "an image named by its tag alone", func(s *corev1.PodSpec) {
			s.Containers[0].Image, _, _ = strings.Cut(s.Containers[0].Image, "@")
		})}
	case "secrets-as-env":
		return []attempt{pod("", "a secret as an environment variable", func(s *corev1.PodSpec) {
			s.Containers[0].EnvFrom = []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{
				LocalObjectReference: corev1.LocalObjectReference{Name: generators.ProbeName},
			}}}
		})}
	}
	return nil
}

// request is a certificate request of nobody: its private key was thrown away.
const request = `-----BEGIN CERTIFICATE REQUEST-----
MIHlMIGMAgEAMCoxGDAWBgNVBAoMD29pZGM6ZGV2ZWxvcGVyczEOMAwGA1UEAwwF
YWxpY2UwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAASmsj1xOQ1u1Phjeawfji/8
hvrrJ+JpBWW2QEZwqP6fydq05x5E1CS9mqJ3sAGzrNcK6FYeMY16CKcJ+jnnJ/M1
oAAwCgYIKoZIzj0EAwIDSAAwRQIhAN0doqkgW/fwQbvVxc93dCuH+qeZC+/pUDy1
H7Gfreb5AiBVK1Dv9BgPuDSZepMcSYLmk8CQ7XclnWsmHIIi6wKcYg==
-----END CERTIFICATE REQUEST-----
`

// guardAttempts are about objects other than pods. Who must ask differs: whoever is exempt from a
// policy proves nothing about it.
func guardAttempts(p *posture.Posture, policyName, namespace string) []attempt {
	janitor, git := generators.Janitor(), gitIdentity(p)
	meta := metav1.ObjectMeta{Name: generators.ProbeName, Namespace: namespace}
	service := func(kind corev1.ServiceType) *corev1.Service {
		return &corev1.Service{
			TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Service"}, ObjectMeta: meta,
			Spec: corev1.ServiceSpec{Type: kind, Ports: []corev1.ServicePort{{Port: 80}}},
		}
	}
	patched := func(id generators.Identity, apiVersion, kind, ns, name string, change map[string]any) generators.Admission {
		metadata, _ := change["metadata"].(map[string]any)
		if metadata == nil {
			metadata = map[string]any{}
		}
		metadata["name"] = name
		if ns != "" {
			metadata["namespace"] = ns
		}
		change["apiVersion"], change["kind"], change["metadata"] = apiVersion, kind, metadata
		return generators.Admission{As: id, Verb: "patch", Object: change}
	}
	const rbac = "rbac.authorization.k8s.io/v1"
	switch policyName {
	case "no-default-namespace":
		d, twin := generators.ProbeDeployment(p, "default"), made(generators.ProbeDeployment(p, namespace))
		a := attempt{title: "a workload in the namespace default", deny: made(d), allow: &twin}
		if namespace == "" {
			a.allow = nil
		}
		return []attempt{a}
	case "namespace-labels":
		if namespace == "" {
			return nil
		}
		label := func(key, value string) generators.Admission {
			return patched(janitor, "v1", "Namespace", "", namespace, map[string]any{"metadata": map[string]any{"labels": map[string]any{key: value}}})
		}
		twin := label("example", "harmless")
		return []attempt{
			{slug: "level", title: "a program lowers the Pod Security level of a namespace", deny: label("pod-security.kubernetes.io/enforce", "privileged"), allow: &twin},
			{slug: "kind", title: "a program declares a tenant to be part of the system", deny: label(generators.LabelKind, "system")},
		}
	case "rbac-guard":
		role := func(rule map[string]any) generators.Admission {
			return patched(janitor, rbac, "ClusterRole", "", "system:discovery", map[string]any{"rules": []any{rule}})
		}
		subjects := func(name string) generators.Admission {
			return patched(janitor, rbac, "RoleBinding", "kube-system", "system::extension-apiserver-authentication-reader",
				map[string]any{"subjects": []any{map[string]any{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": name}}})
		}
		list := func(words ...any) []any { return words }
		modest := role(map[string]any{"apiGroups": list(""), "resources": list("pods"), "verbs": list("get")})
		few := subjects(p.Identity.GroupsPrefix + generators.ProbeName)
		return []attempt{
			{
				slug: "wildcard", rule: "roles", title: "a program widens a role to every resource",
				deny: role(map[string]any{"apiGroups": list("*"), "resources": list("*"), "verbs": list("get")}), allow: &modest,
			},
			{
				slug: "proxy", rule: "roles", title: "a program adds nodes/proxy to a role",
				deny: role(map[string]any{"apiGroups": list(""), "resources": list("nodes/proxy"), "verbs": list("get")}),
			},
			{
				slug: "everybody", rule: "bindings", title: "a program binds a role to everybody",
				deny: subjects("system:authenticated"), allow: &few,
			},
		}
	case "exec-guard":
		enter := func(ns, how string) generators.Admission {
			return generators.Admission{As: git, Verb: "connect", Object: generators.ProbePod(p, ns), Subresource: how}
		}
		debugger := map[string]any{"spec": map[string]any{"ephemeralContainers": []any{map[string]any{
			"name": generators.ProbeName, "image": generators.ProbePod(p, "").Spec.Containers[0].Image, "terminationMessagePolicy": "File",
		}}}}
		ephemeral := patched(janitor, "v1", "Pod", p.Network.DNSNamespace, "", debugger)
		ephemeral.Subresource, ephemeral.Select = "ephemeralcontainers", p.Network.DNSPods
		list := []attempt{
			{slug: "exec", title: "a shell in a container of kube-system", deny: enter("kube-system", "exec")},
			{slug: "forward", title: "a port forwarded from kube-system", deny: enter("kube-system", "portforward")},
		}
		if p.Namespaces[p.Network.DNSNamespace].Kind == "system" {
			list = append(list, attempt{slug: "debug", title: "a debug container in a pod of cluster DNS", deny: ephemeral})
		}
		if namespace != "" {
			twin := enter(namespace, "exec")
			list[0].allow = &twin
		}
		return list
	case "service-external-ips":
		if slices.Contains(p.APIServer.AdmissionPlugins, "DenyServiceExternalIPs") {
			return nil // the plug-in answers first; the apiserver domain probes it
		}
		captor, twin := service(corev1.ServiceTypeClusterIP), made(service(corev1.ServiceTypeClusterIP))
		captor.Spec.ExternalIPs = []string{"203.0.113.7"}
		return []attempt{{title: "a service that claims an external address", deny: made(captor), allow: &twin}}
	case "service-types":
		twin := made(service(corev1.ServiceTypeClusterIP))
		return []attempt{
			{slug: "load-balancer", rule: "load-balancer", title: "a service of type LoadBalancer", deny: made(service(corev1.ServiceTypeLoadBalancer)), allow: &twin},
			{slug: "node-port", rule: "node-port", title: "a service of type NodePort", deny: made(service(corev1.ServiceTypeNodePort))},
		}
	case "service-account-token-secrets":
		secret := func(kind corev1.SecretType) *corev1.Secret {
			return &corev1.Secret{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"}, ObjectMeta: meta, Type: kind}
		}
		forever, twin := secret(corev1.SecretTypeServiceAccountToken), made(secret(corev1.SecretTypeOpaque))
		forever.Annotations = map[string]string{corev1.ServiceAccountNameKey: "default"}
		return []attempt{{title: "a secret with a token that never expires", deny: made(forever), allow: &twin}}
	case "csr-guard":
		csr := func(signer string) *certificatesv1.CertificateSigningRequest {
			return &certificatesv1.CertificateSigningRequest{
				TypeMeta:   metav1.TypeMeta{APIVersion: "certificates.k8s.io/v1", Kind: "CertificateSigningRequest"},
				ObjectMeta: metav1.ObjectMeta{Name: generators.ProbeName},
				Spec: certificatesv1.CertificateSigningRequestSpec{
					Request: []byte(request), SignerName: signer, Usages: []certificatesv1.KeyUsage{certificatesv1.UsageClientAuth},
				},
			}
		}
		twin := as(git, made(csr("k8ssec.dev/probe")))
		return []attempt{{
			title: "a request for a client certificate of the API server",
			deny:  as(git, made(csr(certificatesv1.KubeAPIServerClientSignerName))), allow: &twin,
		}}
	case "human-tokens":
		ask := func(id generators.Identity) generators.Admission {
			a := as(id, sandboxed(&authenticationv1.TokenRequest{
				TypeMeta:   metav1.TypeMeta{APIVersion: "authentication.k8s.io/v1", Kind: "TokenRequest"},
				ObjectMeta: metav1.ObjectMeta{Name: generators.ProbeName},
			}))
			a.Subresource = "token"
			return a
		}
		twin := ask(generators.ServiceAccount(generators.ProbeNamespace, generators.ProbeName))
		return []attempt{{title: "a person makes a token of a service account", deny: ask(generators.Person(p)), allow: &twin}}
	case "disruption-budget":
		budget := func(n int32) *policyv1.PodDisruptionBudget {
			most := intstr.FromInt32(n)
			return &policyv1.PodDisruptionBudget{
				TypeMeta: metav1.TypeMeta{APIVersion: "policy/v1", Kind: "PodDisruptionBudget"}, ObjectMeta: meta,
				Spec: policyv1.PodDisruptionBudgetSpec{
					MaxUnavailable: &most, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": generators.ProbeName}},
				},
			}
		}
		replicated := func(budget string) *appsv1.Deployment {
			d := generators.ProbeDeployment(p, namespace)
			d.Spec.Replicas = new(int32(2))
			if budget != "" {
				d.Annotations = map[string]string{"k8ssec.dev/disruption-budget": budget}
			}
			return d
		}
		one, named := made(budget(1)), made(replicated(generators.ProbeName))
		return []attempt{
			{slug: "drainable", rule: "drainable", title: "a budget that lets no pod go", deny: made(budget(0)), allow: &one},
			{slug: "named", title: "replicas that name no budget", deny: made(replicated("")), allow: &named},
		}
	}
	return nil
}

// gitIdentity is the controller that applies the repository.
func gitIdentity(p *posture.Posture) generators.Identity {
	accounts := generators.GitOpsAccounts(p)
	return generators.ServiceAccount(p.GitOps.Namespace, accounts[len(accounts)-1][strings.LastIndex(accounts[len(accounts)-1], ":")+1:])
}

func hasStatic(p *posture.Posture) bool {
	return p.Workloads.Static && p.Cluster.Minor() >= staticMinor
}

// staticProbes break what the files on the control plane nodes hold; their rules answer before those
// in the cluster. Pods are asked for in a short-lived namespace without Pod Security, which would
// answer first elsewhere.
func staticProbes(p *posture.Posture) []generators.Probe {
	if !hasStatic(p) {
		return nil
	}
	var probes []generators.Probe
	for _, pol := range policies() {
		switch pol.name {
		case "host-namespaces", "host-path", "namespace-labels", "privileged":
		default:
			continue
		}
		for _, r := range pol.apply(p) {
			namespace, ok := probed(p, r)
			list := attempts(p, pol.name, namespace)
			if r.enforcement == posture.Audit || !ok || len(list) == 0 {
				continue
			}
			changed := list[0]
			deny := changed.deny
			if deployment, ok := changed.deny.Object.(*appsv1.Deployment); ok {
				pod := generators.ProbePod(p, "")
				pod.Spec = deployment.Spec.Template.Spec
				deny = sandboxed(pod)
			}
			deny.By, deny.Warns = "ValidatingAdmissionPolicy '"+objectName(pol.name, "")+staticSuffix+"'", r.enforcement == posture.Warn
			probes = append(probes, generators.Probe{
				ID: "workloads-static-" + pol.name + "-deny", Domain: domain, Kind: generators.Deny,
				Title: strings.Replace(changed.title, "workload", "pod", 1) + ": the rule from the file on the control plane nodes",
				Why:   r.why, Controls: append([]string{staticControl}, r.controls(pol.control)...),
				Artifacts: []string{staticDir + "/" + pol.name + ".yaml"}, Check: deny,
			})
		}
	}
	target := map[string]any{
		"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
		"metadata": map[string]any{"name": objectName("privileged", "")},
	}
	harmless := map[string]any{
		"apiVersion": target["apiVersion"], "kind": target["kind"],
		"metadata": map[string]any{"name": objectName("privileged", ""), "annotations": map[string]any{"example": "harmless"}},
	}
	protection := generators.Probe{
		ID: "workloads-self-protection-deny", Domain: domain, Kind: generators.Deny, Title: "a program deletes a policy's binding",
		Why:      "Whoever may delete a policy or its binding has no policy.",
		Controls: []string{staticControl, "cis-5.1.12", "nsa-S2"}, Artifacts: []string{staticDir + "/self-protection.yaml"},
		Pair: "workloads-self-protection-allow",
		Check: generators.Admission{
			As: generators.Janitor(), Verb: "delete", Object: target, By: "ValidatingAdmissionPolicy '" + objectName("self-protection", "") + staticSuffix + "'",
		},
	}
	git := protection
	git.ID, git.Pair, git.Kind = protection.Pair, protection.ID, generators.Allow
	git.Title, git.Why = "Git changes a policy's binding", "A protection that keeps Git out keeps every fix out."
	git.Check = as(gitIdentity(p), generators.Admission{Verb: "patch", Object: harmless})
	if p.Workloads.Policies["privileged"].Enabled {
		probes = append(probes, protection, git)
	}
	return probes
}
