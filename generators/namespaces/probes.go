package namespaces

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/generators"
)

// Probes ask each namespace in which somebody may run pods for one that its Pod Security level
// refuses, and for one that it lets pass. The refusal names the level, so a weaker label is seen even
// where other rules refuse the pod as well.
func (generator) Probes(p *posture.Posture) []generators.Probe {
	var probes []generators.Probe
	for _, name := range p.NamespaceNames() {
		ns := p.Namespaces[name]
		if ns.Kind == "system" || ns.PodSecurity.Enforce == posture.Privileged {
			continue
		}
		level := string(ns.PodSecurity.Enforce)
		pod := generators.ProbePod(p, name)
		pod.Spec.HostPID = true
		controls := []string{"cis-5.2.1", "cis-5.2.3", "pss-hostNamespaces"}
		title := "a pod of " + name + " among the processes of its node"
		if ns.PodSecurity.Enforce == posture.Restricted {
			pod = generators.ProbePod(p, name)
			pod.Spec.SecurityContext.RunAsNonRoot, pod.Spec.SecurityContext.RunAsUser = nil, nil
			controls = []string{"cis-5.2.1", "cis-5.2.7", "pss-runAsNonRoot"}
			title = "a pod of " + name + " that may run as root"
		}
		file := "manifests/namespaces/" + name + ".yaml"
		if FluxOwns(p, name) {
			file = "gitops/" + name + "/kustomization.yaml"
		}
		deny := generators.Probe{
			ID: "namespaces-pod-security-" + name + "-deny", Domain: "namespaces", Kind: generators.Deny, Title: title,
			Why:      "The label of the namespace is gone or weaker, and with it what pods there may be.",
			Controls: controls, Artifacts: []string{file}, Pair: "namespaces-pod-security-" + name + "-allow",
			Check: generators.Admission{
				Verb: "create", Object: pod, By: `violates PodSecurity "` + level + ":v" + p.Cluster.Kubernetes + `"`,
			},
		}
		allow := deny
		allow.ID, allow.Pair, allow.Kind = deny.Pair, deny.ID, generators.Allow
		allow.Title = "a pod of " + name + " that keeps every rule"
		allow.Why = "A namespace in which nothing can run is of no use: somebody will take the rules away."
		allow.Plain = generators.PlainTwin
		allow.Check = generators.Admission{Verb: "create", Object: generators.ProbePod(p, name)}
		probes = append(probes, deny, allow)
	}
	probes = append(probes, standardProbes(p)...)
	if ns := p.Namespaces["default"]; ns.PodSecurity.Enforce != "" && ns.PodSecurity.Enforce != posture.Privileged {
		pod := generators.ProbePod(p, "default")
		pod.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{Privileged: new(true)}
		probes = append(probes, generators.Probe{
			ID: "namespaces-pod-security-default-deny", Domain: "namespaces", Kind: generators.Deny,
			Title: "a privileged pod in the namespace default", Why: "The label of the namespace is gone or weaker.",
			Controls: []string{"cis-5.2.1", "cis-5.2.2", "pss-privileged"}, Artifacts: []string{"manifests/namespaces/default.yaml"},
			Check: generators.Admission{
				Verb: "create", Object: pod, By: `violates PodSecurity "` + string(ns.PodSecurity.Enforce) + ":v" + p.Cluster.Kubernetes + `"`,
			},
		})
	}
	return probes
}

// standardProbes break each check of the Pod Security Standards once, in the first tenant that is held
// to the restricted level. The refusal names the check, whatever other rules say.
func standardProbes(p *posture.Posture) []generators.Probe {
	var probes []generators.Probe
	for _, name := range p.NamespacesOf("tenant") {
		if p.Namespaces[name].PodSecurity.Enforce != posture.Restricted {
			continue
		}
		for _, c := range []struct {
			slug, title, by string
			controls        []string
			change          func(*corev1.PodSpec)
		}{
			{"privileged", "a privileged container", "privileged", []string{"cis-5.2.2", "pss-privileged"}, func(s *corev1.PodSpec) {
				s.Containers[0].SecurityContext.Privileged, s.Containers[0].SecurityContext.AllowPrivilegeEscalation = new(true), nil
			}},
			{"host-network", "a pod in the network of its node", "host namespaces", []string{"cis-5.2.5", "pss-hostNamespaces"}, func(s *corev1.PodSpec) { s.HostNetwork = true }},
			{"host-ipc", "a pod in the IPC namespace of its node", "host namespaces", []string{"cis-5.2.4", "pss-hostNamespaces"}, func(s *corev1.PodSpec) { s.HostIPC = true }},
			{"host-path", "a pod that mounts a path of its node", "restricted volume types", []string{"cis-5.2.11", "pss-hostPathVolumes"}, func(s *corev1.PodSpec) {
				s.Volumes = []corev1.Volume{{Name: "node", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/"}}}}
			}},
			{"restricted-volumes", "a pod that mounts a share past the storage classes", "restricted volume types", []string{"pss-restrictedVolumes"}, func(s *corev1.PodSpec) {
				s.Volumes = []corev1.Volume{{Name: "share", VolumeSource: corev1.VolumeSource{NFS: &corev1.NFSVolumeSource{Server: "192.0.2.1", Path: "/"}}}}
			}},
			{"host-port", "a container that takes a port of its node", "hostPort", []string{"cis-5.2.12", "pss-hostPorts"}, func(s *corev1.PodSpec) {
				s.Containers[0].Ports = []corev1.ContainerPort{{ContainerPort: 8080, HostPort: 8080}}
			}},
			{"host-probe", "a container whose probe asks another host", "probe or lifecycle host", []string{"pss-hostProbesAndHostLifecycle"}, func(s *corev1.PodSpec) {
				s.Containers[0].LivenessProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{
					TCPSocket: &corev1.TCPSocketAction{Host: "192.0.2.1", Port: intstr.FromInt32(80)},
				}}
			}},
			{"capabilities", "a container with the capability SYS_ADMIN", "unrestricted capabilities", []string{"cis-5.2.9", "pss-capabilities_baseline"}, func(s *corev1.PodSpec) {
				s.Containers[0].SecurityContext.Capabilities.Add = []corev1.Capability{"SYS_ADMIN"}
			}},
			{"keeps-capabilities", "a container that keeps its default capabilities", "unrestricted capabilities", []string{"cis-5.2.8", "pss-capabilities_restricted"}, func(s *corev1.PodSpec) {
				s.Containers[0].SecurityContext.Capabilities = nil
			}},
			{"app-armor", "a pod with AppArmor switched off", "forbidden AppArmor profile", []string{"pss-appArmorProfile"}, func(s *corev1.PodSpec) {
				s.SecurityContext.AppArmorProfile = &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeUnconfined}
			}},
			{"selinux", "a pod that chooses its SELinux user", "seLinuxOptions", []string{"pss-seLinuxOptions"}, func(s *corev1.PodSpec) {
				s.SecurityContext.SELinuxOptions = &corev1.SELinuxOptions{User: "system_u"}
			}},
			{"sysctls", "a pod that sets an unsafe kernel parameter", "forbidden sysctls", []string{"pss-sysctls"}, func(s *corev1.PodSpec) {
				s.SecurityContext.Sysctls = []corev1.Sysctl{{Name: "kernel.msgmax", Value: "65536"}}
			}},
			{"seccomp", "a pod with seccomp switched off", "seccompProfile", []string{"cis-5.6.2", "pss-seccompProfile_baseline", "pss-seccompProfile_restricted"}, func(s *corev1.PodSpec) {
				s.SecurityContext.SeccompProfile.Type = corev1.SeccompProfileTypeUnconfined
			}},
			{"escalation", "a container that may gain privileges", "allowPrivilegeEscalation != false", []string{"cis-5.2.6", "pss-allowPrivilegeEscalation"}, func(s *corev1.PodSpec) {
				s.Containers[0].SecurityContext.AllowPrivilegeEscalation = nil
			}},
			{"root", "a container that runs as user 0", "runAsUser=0", []string{"cis-5.2.7", "pss-runAsUser"}, func(s *corev1.PodSpec) {
				s.SecurityContext.RunAsUser = new(int64(0))
			}},
		} {
			pod := generators.ProbePod(p, name)
			c.change(&pod.Spec)
			probes = append(probes, generators.Probe{
				ID: "namespaces-standard-" + c.slug + "-deny", Domain: "namespaces", Kind: generators.Deny, Title: c.title + " in " + name,
				Why:      "The Pod Security level of the namespace is gone or weaker.",
				Controls: c.controls, Artifacts: []string{"manifests/namespaces/" + name + ".yaml"},
				Check: generators.Admission{Verb: "create", Object: pod, By: "violates PodSecurity", Also: c.by},
			})
		}
		break
	}
	return probes
}
