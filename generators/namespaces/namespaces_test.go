package namespaces_test

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"

	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/generators"
	"github.com/k8ssec/k8ssec/generators/generatortest"
	"github.com/k8ssec/k8ssec/generators/namespaces"
)

func TestGolden(t *testing.T) { generatortest.Run(t, namespaces.New()) }

// oneNamespace renders a posture with one namespace and returns the object that it becomes.
func oneNamespace(t *testing.T, minor string, ns posture.Namespace) (*corev1.Namespace, []generators.Claim) {
	t.Helper()
	out, err := namespaces.New().Generate(&posture.Posture{
		Cluster:    posture.Cluster{Name: "c", Kubernetes: minor},
		GitOps:     posture.GitOps{Engine: "flux", Namespace: "flux-system"},
		Namespaces: map[string]posture.Namespace{"team-a": ns},
	})
	if err != nil {
		t.Fatal(err)
	}
	object := out.Artifacts[0].Objects[0]
	return object.Value.(*corev1.Namespace), object.Claims
}

// TestClaimsAgainstTheRealPolicy builds, for each pod that a claimed Pod Security control forbids,
// the real evaluator, and shows that the level and version in the labels really refuse it. A level
// that lets the pod pass must not claim the control.
func TestClaimsAgainstTheRealPolicy(t *testing.T) {
	yes, no, root := true, false, int64(0)
	good := func(edit func(*corev1.PodSpec)) *corev1.PodSpec {
		s := &corev1.PodSpec{
			SecurityContext: &corev1.PodSecurityContext{RunAsNonRoot: &yes, SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}},
			Containers: []corev1.Container{{Name: "c", SecurityContext: &corev1.SecurityContext{
				AllowPrivilegeEscalation: &no, Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
			}}},
		}
		edit(s)
		return s
	}
	bad := map[string]*corev1.PodSpec{
		"cis-5.2.2": good(func(s *corev1.PodSpec) { s.Containers[0].SecurityContext.Privileged = &yes }),
		"cis-5.2.3": good(func(s *corev1.PodSpec) { s.HostPID = true }),
		"cis-5.2.4": good(func(s *corev1.PodSpec) { s.HostIPC = true }),
		"cis-5.2.5": good(func(s *corev1.PodSpec) { s.HostNetwork = true }),
		"cis-5.2.6": good(func(s *corev1.PodSpec) { s.Containers[0].SecurityContext.AllowPrivilegeEscalation = &yes }),
		"cis-5.2.7": good(func(s *corev1.PodSpec) { s.Containers[0].SecurityContext.RunAsUser = &root }),
		"cis-5.2.8": good(func(s *corev1.PodSpec) { s.Containers[0].SecurityContext.Capabilities = nil }),
		"cis-5.2.9": good(func(s *corev1.PodSpec) {
			s.Containers[0].SecurityContext.Capabilities.Add = []corev1.Capability{"CHOWN"}
		}),
		"cis-5.2.10": good(func(s *corev1.PodSpec) {
			s.SecurityContext.WindowsOptions = &corev1.WindowsSecurityContextOptions{HostProcess: &yes}
		}),
		"cis-5.2.11": good(func(s *corev1.PodSpec) {
			s.Volumes = []corev1.Volume{{Name: "h", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/"}}}}
		}),
		"cis-5.2.12": good(func(s *corev1.PodSpec) {
			s.Containers[0].Ports = []corev1.ContainerPort{{ContainerPort: 80, HostPort: 80}}
		}),
		"cis-5.6.2":                   good(func(s *corev1.PodSpec) { s.SecurityContext.SeccompProfile = nil }),
		"pss-seccompProfile_baseline": good(func(s *corev1.PodSpec) { s.SecurityContext.SeccompProfile.Type = corev1.SeccompProfileTypeUnconfined }),
		"pss-runAsNonRoot":            good(func(s *corev1.PodSpec) { s.SecurityContext.RunAsNonRoot = nil }),
		"pss-restrictedVolumes": good(func(s *corev1.PodSpec) {
			s.Volumes = []corev1.Volume{{Name: "n", VolumeSource: corev1.VolumeSource{NFS: &corev1.NFSVolumeSource{Server: "a", Path: "/"}}}}
		}),
		"pss-sysctls": good(func(s *corev1.PodSpec) {
			s.SecurityContext.Sysctls = []corev1.Sysctl{{Name: "kernel.msgmax", Value: "1"}}
		}),
		"pss-seLinuxOptions": good(func(s *corev1.PodSpec) { s.SecurityContext.SELinuxOptions = &corev1.SELinuxOptions{Type: "spc_t"} }),
		"pss-appArmorProfile": good(func(s *corev1.PodSpec) {
			s.SecurityContext.AppArmorProfile = &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeUnconfined}
		}),
		"pss-procMount": good(func(s *corev1.PodSpec) { m := corev1.UnmaskedProcMount; s.Containers[0].SecurityContext.ProcMount = &m }),
		"pss-procMount_restricted": good(func(s *corev1.PodSpec) {
			m := corev1.UnmaskedProcMount
			s.Containers[0].SecurityContext.ProcMount = &m
			s.HostUsers = &no
		}),
		"pss-hostProbesAndHostLifecycle": good(func(s *corev1.PodSpec) {
			s.Containers[0].LivenessProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Host: "10.0.0.1"}}}
		}),
	}
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, minor := range []string{"1.34", "1.35", "1.36", "1.37"} {
		for _, level := range []posture.PodSecurityLevel{posture.Privileged, posture.Baseline, posture.Restricted} {
			ns, claims := oneNamespace(t, minor, posture.Namespace{Kind: "tenant", Owner: "a", DataClass: "internal", PodSecurity: posture.PodSecurity{Enforce: level, Audit: level, Warn: level}})
			enforced, errs := api.PolicyToEvaluate(ns.Labels, api.Policy{})
			if len(errs) > 0 {
				t.Fatal(errs)
			}
			if got := enforced.Enforce.Version.String(); got != "v"+minor {
				t.Errorf("%s %s: enforces the rules of %s", minor, level, got)
			}
			refuses := func(s *corev1.PodSpec) bool {
				return !policy.AggregateCheckResults(evaluator.EvaluatePod(enforced.Enforce, &metav1.ObjectMeta{}, s)).Allowed
			}
			if refuses(good(func(*corev1.PodSpec) {})) {
				t.Errorf("%s %s refuses a good pod", minor, level)
			}
			for control, pod := range bad {
				claimed := slices.ContainsFunc(claims, func(c generators.Claim) bool { return c.Control == control })
				if got := refuses(pod); got != claimed {
					if control == "pss-procMount_restricted" && minor == "1.34" {
						continue // before 1.35 the check procMount itself refuses this pod
					}
					t.Errorf("%s %s: %s: refused %v, claimed %v", minor, level, control, got, claimed)
				}
			}
		}
	}
}

func TestLabelsOfTheUser(t *testing.T) {
	ns, _ := oneNamespace(t, "1.37", posture.Namespace{
		Kind: "tenant", Owner: "a", DataClass: "internal",
		PodSecurity: posture.PodSecurity{Enforce: posture.Restricted, Audit: posture.Restricted, Warn: posture.Restricted},
		Labels:      map[string]string{"pod-security.kubernetes.io/enforce": "privileged", "k8ssec.dev/kind": "system", "cost": "1"},
	})
	want := map[string]string{"pod-security.kubernetes.io/enforce": "restricted", "k8ssec.dev/kind": "tenant", "cost": "1"}
	for k, v := range want {
		if ns.Labels[k] != v {
			t.Errorf("label %s is %q, want %q", k, ns.Labels[k], v)
		}
	}
}

// TestPruning shows that a namespace is kept by default and only claims so while that is true.
func TestPruning(t *testing.T) {
	const key = "kustomize.toolkit.fluxcd.io/prune"
	for value, want := range map[string]bool{"": true, "enabled": false} {
		annotations := map[string]string{}
		if value != "" {
			annotations[key] = value
		}
		ns, claims := oneNamespace(t, "1.37", posture.Namespace{Kind: "tenant", Owner: "a", Annotations: annotations})
		kept := ns.Annotations[key] == "disabled"
		claimed := slices.ContainsFunc(claims, func(c generators.Claim) bool { return c.Control == "ns-4" })
		if kept != want || claimed != want {
			t.Errorf("annotation %q: kept %v, claimed %v, want %v", value, kept, claimed, want)
		}
	}
}
