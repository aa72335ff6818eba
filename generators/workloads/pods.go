package workloads

import (
	"fmt"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"

	"github.com/k8ssec/k8ssec/cue/posture"
)

// The objects that hold a pod spec. Pods are matched again when an ephemeral container is added
// (an update of that subresource) and when they are resized.
var (
	pods              = []admissionv1.NamedRuleWithOperations{on("", write, "pods")}
	podsAndEphemeral  = []admissionv1.NamedRuleWithOperations{on("", write, "pods", "pods/ephemeralcontainers")}
	podsAndResize     = []admissionv1.NamedRuleWithOperations{on("", write, "pods", "pods/resize")}
	workloadTemplates = []admissionv1.NamedRuleWithOperations{
		on("", write, "replicationcontrollers"),
		on("apps", write, "daemonsets", "deployments", "replicasets", "statefulsets"),
		on("batch", write, "cronjobs", "jobs"),
	}
)

// podSpecOf is the CEL expression for the pod spec of any of these objects. dyn() keeps the type
// checker of the controller manager from reading a Deployment's path against a Pod's schema.
func podSpecOf(object string) string {
	return strings.ReplaceAll(`OBJECT.kind == 'Pod' ? dyn(OBJECT).spec :
OBJECT.kind == 'CronJob' ? dyn(OBJECT).spec.jobTemplate.spec.template.spec :
dyn(OBJECT).spec.template.spec`, "OBJECT", object)
}

// fromTemplate is the name of the condition that concerns templates only.
const fromTemplate = "not-made-from-a-checked-template"

// podConditions leave out what needs no check: an update that does not touch the pod spec, and the
// ReplicaSets and Jobs of a Deployment or CronJob, whose template and pods are both checked.
func podConditions() []admissionv1.MatchCondition {
	return []admissionv1.MatchCondition{
		{
			Name:       "pod-spec-is-new",
			Expression: "request.operation != 'UPDATE' ||\n(" + podSpecOf("object") + ") !=\n(" + podSpecOf("oldObject") + ")",
		},
		{
			Name: fromTemplate,
			Expression: `!(object.kind in ['Job', 'ReplicaSet']) ||
!object.metadata.?ownerReferences.orValue([]).exists(o,
  o.?controller.orValue(false) && o.kind in ['CronJob', 'Deployment'])`,
		},
	}
}

// The variables that pod rules share.
var (
	podSpecVariable = admissionv1.Variable{Name: "podSpec", Expression: podSpecOf("object")}
	// containersVariable holds every container. When an ephemeral container is added to a running
	// pod only the ephemeral ones count: the others were judged when the pod was made.
	containersVariable = admissionv1.Variable{Name: "containers", Expression: `request.?subResource.orValue('') == 'ephemeralcontainers'
? variables.podSpec.?ephemeralContainers.orValue([])
: variables.podSpec.containers +
  variables.podSpec.?initContainers.orValue([]) +
  variables.podSpec.?ephemeralContainers.orValue([])`}
	// lastingVariable leaves out ephemeral containers.
	lastingVariable = admissionv1.Variable{Name: "containers", Expression: `variables.podSpec.containers + variables.podSpec.?initContainers.orValue([])`}
	// linuxVariable is false for pods that say they are for Windows, on which the API refuses the
	// fields in question. A Linux node refuses to run such a pod.
	linuxVariable = admissionv1.Variable{Name: "linux", Expression: `variables.podSpec.?os.?name.orValue('linux') != 'windows'`}
)

// podRule is a rule on pods and templates.
func podRule(match []admissionv1.NamedRuleWithOperations, why string, variables []admissionv1.Variable, validations ...validation) rule {
	return rule{
		why:         why,
		match:       match,
		templates:   workloadTemplates,
		conditions:  podConditions(),
		variables:   append([]admissionv1.Variable{podSpecVariable}, variables...),
		validations: validations,
	}
}

// none is a validation that the variable, a list of containers, is empty.
func none(variable, message string, controls ...string) validation {
	return validation{
		expression: "size(variables." + variable + ") == 0",
		message:    message + ".",
		detail:     "'container ' + variables." + variable + ".map(c, c.name).join(', ') + " + quote(": "+message),
		controls:   controls,
	}
}

// always is the rules function of a policy that needs nothing else of the posture.
func always(rules ...rule) func(*posture.Posture) []rule {
	return func(*posture.Posture) []rule { return rules }
}

// podPolicies are about what a pod may be.
func podPolicies() []policy {
	return []policy{
		{
			name: "host-path", control: "wl-1",
			refuses: "volumes that mount a path of the node (hostPath)",
			write:   "a `persistentVolumeClaim`, `configMap`, `secret`, `projected` or `emptyDir` volume",
			rules: always(podRule(pods,
				"A path of the node inside a container is the shortest way out of it: the kubelet's "+
					"credentials, other pods' volumes and the container runtime's socket all lie there.",
				[]admissionv1.Variable{
					{Name: "mounts", Expression: "variables.podSpec.?volumes.orValue([]).filter(v, has(v.hostPath))"},
				},
				validation{
					expression: "size(variables.mounts) == 0",
					message:    "hostPath volumes are not allowed: use a persistentVolumeClaim, configMap, secret, projected or emptyDir volume.",
					detail: "'volume ' + variables.mounts.map(v, v.name + ' (' + v.hostPath.path + ')').join(', ') + " +
						quote(" mounts a path of the node: use a persistentVolumeClaim, configMap, secret, projected or emptyDir volume instead of hostPath"),
					controls: []string{"cis-5.2.11", "nsa-P5", "pss-hostPathVolumes"},
				})),
		},
		{
			name: "host-namespaces", control: "wl-2",
			refuses: "pods in the node's network, process or IPC namespace, and Windows HostProcess containers",
			write:   "no `hostNetwork`, `hostPID`, `hostIPC` and no `windowsOptions.hostProcess`; publish ports with a Service",
			rules: always(podRule(pods,
				"A pod in the host's namespaces is past every NetworkPolicy and can see or signal the node's "+
					"own processes.",
				[]admissionv1.Variable{lastingVariable},
				hostNamespace("hostNetwork", "publish ports with a Service instead", "cis-5.2.5", "nsa-P5", "pss-hostNamespaces"),
				hostNamespace("hostPID", "use shareProcessNamespace to see processes of the same pod", "cis-5.2.3", "nsa-P5", "pss-hostNamespaces"),
				hostNamespace("hostIPC", "share an emptyDir volume of medium Memory between containers instead", "cis-5.2.4", "nsa-P5", "pss-hostNamespaces"),
				validation{
					expression: `!variables.podSpec.?securityContext.?windowsOptions.?hostProcess.orValue(false) &&
!variables.containers.exists(c,
  c.?securityContext.?windowsOptions.?hostProcess.orValue(false))`,
					message:  "HostProcess containers are not allowed: remove securityContext.windowsOptions.hostProcess.",
					controls: []string{"cis-5.2.10", "pss-windowsHostProcess"},
				})),
		},
		{
			name: "privileged", control: "wl-3",
			refuses: "privileged containers",
			write:   "no `securityContext.privileged: true`; add the one capability that is needed, with a waiver",
			rules: always(podRule(podsAndEphemeral,
				"A privileged container has every capability and every device of the node: it is root on the node.",
				[]admissionv1.Variable{containersVariable,
					{Name: "privileged", Expression: "variables.containers.filter(c, c.?securityContext.?privileged.orValue(false))"}},
				none("privileged", "remove securityContext.privileged: a privileged container is root on the node",
					"cis-5.2.2", "nsa-P4", "pss-privileged"))),
		},
		{
			name: "host-ports", control: "wl-4",
			refuses: "containers that take a port of the node (hostPort)",
			write:   "no `hostPort`; publish the port with a Service",
			rules: always(podRule(pods,
				"A port of the node bypasses the NetworkPolicies of some network plug-ins and lets a pod pose as a "+
					"service of the node.",
				[]admissionv1.Variable{lastingVariable,
					{Name: "publishing", Expression: "variables.containers.filter(c, c.?ports.orValue([]).exists(p, p.?hostPort.orValue(0) != 0))"}},
				none("publishing", "remove ports[].hostPort and publish the port with a Service",
					"cis-5.2.12", "pss-hostPorts"))),
		},
		{
			name: "privilege-escalation", control: "wl-20",
			refuses: "containers that may gain more privileges than their parent process",
			write:   "`securityContext.allowPrivilegeEscalation: false` in every container",
			rules: always(podRule(podsAndEphemeral,
				"Without no_new_privs a setuid binary in the image turns any user into root.",
				[]admissionv1.Variable{linuxVariable, containersVariable,
					{Name: "escalating", Expression: `variables.containers.filter(c,
  variables.linux && c.?securityContext.?allowPrivilegeEscalation.orValue(true))`}},
				none("escalating", "set securityContext.allowPrivilegeEscalation: false",
					"cis-5.2.6", "nsa-P6", "pss-allowPrivilegeEscalation"))),
		},
		{
			name: "seccomp", control: "wl-21",
			refuses: "containers without a seccomp profile",
			write:   "`securityContext.seccompProfile.type: RuntimeDefault` in the pod (or each container)",
			rules: always(podRule(podsAndEphemeral,
				"The runtime's seccomp profile keeps some sixty rarely used system calls out of reach, through "+
					"which most container escapes went.",
				[]admissionv1.Variable{linuxVariable, containersVariable,
					{Name: "podProfile", Expression: "variables.podSpec.?securityContext.?seccompProfile.?type.orValue('')"},
					{Name: "unconfined", Expression: `variables.containers.filter(c,
  variables.linux &&
  !(c.?securityContext.?seccompProfile.?type.orValue(variables.podProfile) in ['Localhost', 'RuntimeDefault']))`}},
				none("unconfined", "set securityContext.seccompProfile.type: RuntimeDefault in the pod or the container",
					"cis-5.6.2", "cis-5.6.3", "nsa-P7", "pss-seccompProfile_restricted"))),
		},
		{
			name: "read-only-root", control: "wl-22",
			refuses: "containers whose root filesystem can be written",
			write:   "`securityContext.readOnlyRootFilesystem: true` in every container, and an `emptyDir` volume where it writes",
			rules: always(podRule(pods,
				"An attacker inside a container with a read-only root cannot drop tools or change the program. "+
					"Ephemeral containers are left out: whoever may add one chooses its image anyway, and a "+
					"debugger that cannot write is of no use.",
				[]admissionv1.Variable{linuxVariable, lastingVariable,
					{Name: "writable", Expression: `variables.containers.filter(c,
  variables.linux && !c.?securityContext.?readOnlyRootFilesystem.orValue(false))`}},
				none("writable", "set securityContext.readOnlyRootFilesystem: true and mount an emptyDir volume where it writes",
					"cis-5.6.3", "nsa-P2"))),
		},
		{
			name: "run-as-non-root", control: "wl-23",
			refuses: "containers that may run as root, with user namespaces (hostUsers: false) too",
			write:   "`securityContext.runAsNonRoot: true` in the pod (or each container), and no `runAsUser: 0`",
			rules: always(podRule(podsAndEphemeral,
				"Root in the container is one kernel bug from root on the node, and owns every file of the image. "+
					"Pod Security lets root pass from 1.35 on where hostUsers is false; this policy does not.",
				[]admissionv1.Variable{linuxVariable, containersVariable,
					{Name: "podNonRoot", Expression: "variables.podSpec.?securityContext.?runAsNonRoot.orValue(false)"},
					{Name: "podUser", Expression: "variables.podSpec.?securityContext.?runAsUser.orValue(-1)"},
					{Name: "mayBeRoot", Expression: `variables.containers.filter(c,
  !c.?securityContext.?runAsNonRoot.orValue(variables.podNonRoot))`},
					{Name: "root", Expression: `variables.containers.filter(c,
  variables.linux && c.?securityContext.?runAsUser.orValue(variables.podUser) == 0)`}},
				none("mayBeRoot", "set securityContext.runAsNonRoot: true in the pod or the container",
					"cis-5.2.7", "cis-5.6.3", "nsa-P1", "nsa-P6", "pss-runAsNonRoot"),
				none("root", "remove runAsUser: 0, or set the number of a user other than root",
					"cis-5.2.7", "nsa-P1", "nsa-P6", "pss-runAsUser"))),
		},
		{
			name: "capabilities", control: "wl-24",
			refuses: "containers that keep or add Linux capabilities",
			write:   "`securityContext.capabilities.drop: [\"ALL\"]` in every container; only `NET_BIND_SERVICE` may be added",
			rules: always(podRule(podsAndEphemeral,
				"The default set lets a container forge packets (NET_RAW), change owners and pass file permissions. "+
					"Few programs need any of it.",
				[]admissionv1.Variable{linuxVariable, containersVariable,
					{Name: "keeping", Expression: `variables.containers.filter(c,
  variables.linux && !('ALL' in c.?securityContext.?capabilities.?drop.orValue([])))`},
					{Name: "adding", Expression: `variables.containers.filter(c,
  variables.linux &&
  c.?securityContext.?capabilities.?add.orValue([]).exists(a, a != 'NET_BIND_SERVICE'))`}},
				none("keeping", `set securityContext.capabilities.drop: ["ALL"]`,
					"cis-5.2.8", "cis-5.2.9", "cis-5.6.3", "pss-capabilities_restricted"),
				none("adding", "remove all of securityContext.capabilities.add but NET_BIND_SERVICE",
					"cis-5.2.9", "pss-capabilities_restricted"))),
		},
		{
			name: "resource-limits", control: "wl-13",
			refuses: "containers without CPU and memory requests, a memory limit and a limit of ephemeral storage",
			write:   "`resources.requests.cpu`, `resources.requests.memory`, `resources.limits.memory` and `resources.limits.ephemeral-storage`",
			rules:   always(resourceLimits()),
		},
		{
			name: "no-default-service-account", control: "wl-14",
			refuses: "pods that use a token of the namespace's default service account",
			write:   "a `serviceAccountName` of the workload's own, or `automountServiceAccountToken: false`",
			rules: always(podRule(pods,
				"Whatever is granted to the default account is granted to every pod of the namespace, and no audit "+
					"record says which one used it.",
				[]admissionv1.Variable{
					{Name: "byDefault", Expression: "variables.podSpec.?serviceAccountName.orValue('') in ['', 'default']"},
					// The ServiceAccount admission plug-in has run before: the token is a volume by now.
					{Name: "hasToken", Expression: `variables.podSpec.?automountServiceAccountToken.orValue(false) ||
variables.podSpec.?volumes.orValue([]).exists(v,
  v.?projected.?sources.orValue([]).exists(s, has(s.serviceAccountToken)))`}},
				validation{
					expression: "!(variables.byDefault && variables.hasToken)",
					message: "the pod uses a token of the default service account: set serviceAccountName to an account of its own, " +
						"or automountServiceAccountToken: false if it does not call the Kubernetes API.",
					controls: []string{"cis-5.1.5", "nsa-P8"},
				})),
		},
		{
			name: "automount-token", control: "wl-25",
			refuses: "pods that get a service account token without asking for it",
			write:   "`automountServiceAccountToken: false`, or `true` where the pod calls the Kubernetes API",
			rules:   always(automountToken()),
		},
		{
			name: "no-latest", control: "wl-12",
			refuses: "images without a tag or digest, and the tag `latest`",
			write:   "an image with a version: `registry/name:1.2.3` or `registry/name@sha256:...`",
			needs:   "`images: forbidLatest: true`",
			rules: func(p *posture.Posture) []rule {
				if !p.Images.ForbidLatest {
					return nil
				}
				return []rule{imageRule(
					"The same manifest must start the same program tomorrow: latest moves, and a rollback to it goes nowhere.",
					`i.contains('@') || (i.matches('[^/]:[^/]+$') && !i.endsWith(':latest'))`,
					"name a version, for instance registry/name:1.2.3 or registry/name@sha256:..., not latest")}
			},
		},
		{
			name: "allowed-registries", control: "wl-16",
			refuses: "images from registries that are not on the list",
			write:   "an image below one of the registries of `images.registries`",
			needs:   "`images: registries: [...]`",
			rules: func(p *posture.Posture) []rule {
				if len(p.Images.Registries) == 0 {
					return nil
				}
				prefixes := make([]string, len(p.Images.Registries))
				for i, r := range p.Images.Registries {
					prefixes[i] = r + "/"
				}
				return []rule{imageRule(
					"Whoever can name any image can run any program. Short names such as nginx are refused as well: "+
						"what they mean is up to the node.",
					list(prefixes)+".exists(p, i.startsWith(p))",
					"use an image below "+strings.Join(prefixes, ", "), "nsa-S1", "cis-5.5.1")}
			},
		},
		{
			name: "digests", control: "wl-17",
			refuses: "images named by a tag alone",
			write:   "the digest after the tag: `registry/name:1.2.3@sha256:...`",
			needs:   "`images: requireDigest: true`",
			rules: func(p *posture.Posture) []rule {
				if !p.Images.RequireDigest {
					return nil
				}
				return []rule{imageRule(
					"A tag can be moved to another image after the review, a digest cannot.",
					`i.matches('@sha256:[0-9a-f]{64}$')`,
					"add the digest of the image: registry/name:1.2.3@sha256:...")}
			},
		},
		{
			name: "secrets-as-env", control: "wl-26",
			refuses: "secrets as environment variables",
			write:   "a `secret` volume that is mounted where the program reads it",
			needs:   "`secrets: forbidEnv: true`",
			rules: func(p *posture.Posture) []rule {
				if !p.Secrets.ForbidEnv {
					return nil
				}
				return []rule{podRule(podsAndEphemeral,
					"Environment variables end up in crash reports, child processes and debug pages, and do not "+
						"follow a rotation. Files do.",
					[]admissionv1.Variable{containersVariable,
						{Name: "reading", Expression: `variables.containers.filter(c,
  c.?env.orValue([]).exists(e, has(e.valueFrom) && has(e.valueFrom.secretKeyRef)) ||
  c.?envFrom.orValue([]).exists(e, has(e.secretRef)))`}},
					none("reading", "mount the secret as a volume instead of env[].valueFrom.secretKeyRef or envFrom[].secretRef",
						"cis-5.4.1"))}
			},
		},
	}
}

func hostNamespace(field, instead string, controls ...string) validation {
	return validation{
		expression: "!variables.podSpec.?" + field + ".orValue(false)",
		message:    fmt.Sprintf("%s is not allowed: remove it, %s.", field, instead),
		controls:   controls,
	}
}

// imageRule checks every image of a pod with an expression on the string i: those of containers and
// those of image volumes (on by default from Kubernetes 1.35).
func imageRule(why, ok, write string, controls ...string) rule {
	return podRule(podsAndEphemeral, why, []admissionv1.Variable{
		containersVariable,
		{Name: "images", Expression: `variables.containers.map(c, c.?image.orValue('')) +
variables.podSpec.?volumes.orValue([]).filter(v, has(v.image)).map(v, v.image.?reference.orValue(''))`},
		{Name: "refused", Expression: "variables.images.filter(i, !(" + ok + "))"},
	}, validation{
		expression: "size(variables.refused) == 0",
		message:    "an image is refused: " + write + ".",
		detail:     "'image ' + variables.refused.join(', ') + " + quote(" is refused: "+write),
		controls:   controls,
	})
}

// resourceLimits asks for what the scheduler and the kubelet need to keep one pod from starving the
// others. A CPU limit is not among it: it throttles without protecting anybody, requests do.
// Resources of the pod as a whole count for its containers.
func resourceLimits() rule {
	lacking := func(name, ok string) admissionv1.Variable {
		return admissionv1.Variable{Name: name, Expression: "variables.containers.filter(c, !(" + ok + "))"}
	}
	either := func(kind, resource string) string {
		return fmt.Sprintf("c.?resources.?%[1]s[?'%[2]s'].hasValue() || variables.podSpec.?resources.?%[1]s[?'%[2]s'].hasValue()", kind, resource)
	}
	r := podRule(podsAndResize,
		"A container without a memory limit can take the node down, one without requests is placed where "+
			"there is no room for it. The LimitRange of a tenant namespace fills in what is missing.",
		[]admissionv1.Variable{lastingVariable,
			lacking("unbounded", either("limits", "memory")),
			// The API copies a limit to the request that is missing.
			lacking("unplanned", "("+either("requests", "cpu")+" ||\n  "+either("limits", "cpu")+") &&\n  ("+
				either("requests", "memory")+" ||\n  "+either("limits", "memory")+")"),
			lacking("filling", "c.?resources.?limits[?'ephemeral-storage'].hasValue()"),
		},
		none("unbounded", `set resources.limits.memory, for instance "256Mi"`),
		none("unplanned", `set resources.requests.cpu and resources.requests.memory, for instance "100m" and "128Mi"`),
		none("filling", `set resources.limits.ephemeral-storage, for instance "1Gi"`),
	)
	r.defaulted = true
	return r
}

// automountToken asks pods to say whether they need a token. Only the pod shows whether the service
// account gave it one.
func automountToken() rule {
	r := podRule(pods,
		"A token that nobody needs is a token that an attacker finds. A pod may have one, if its manifest says so.",
		[]admissionv1.Variable{
			{Name: "injected", Expression: `object.kind != 'Pod' ||
variables.podSpec.?volumes.orValue([]).exists(v,
  v.name.startsWith('kube-api-access-') &&
  v.?projected.?sources.orValue([]).exists(s, has(s.serviceAccountToken)))`}},
		validation{
			expression: "has(variables.podSpec.automountServiceAccountToken) || !variables.injected",
			message: "the pod gets a service account token without asking: set automountServiceAccountToken: false, " +
				"or true if it calls the Kubernetes API.",
			controls: []string{"cis-5.1.6", "nsa-P8"},
		})
	r.defaulted = true
	return r
}
