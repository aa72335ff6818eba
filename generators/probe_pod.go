package generators

import (
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/k8ssec/k8ssec/cue/posture"
)

// ProbeName is the name of every object that a probe asks for.
const ProbeName = "k8ssec-probe"

// ProbePod is a pod that every rule of the posture lets pass: probes of denial change one thing
// about it. It is asked for by dry runs only and never starts, so its image need not exist.
func ProbePod(p *posture.Posture, namespace string) *corev1.Pod {
	return &corev1.Pod{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{Name: ProbeName, Namespace: namespace},
		Spec:       probeSpec(p, namespace),
	}
}

// ProbeDeployment is a Deployment of the same pod. Pod Security only warns of templates, so the
// admission policies answer for them where they would not be asked about a pod any more.
func ProbeDeployment(p *posture.Posture, namespace string) *appsv1.Deployment {
	labels := map[string]string{"app": ProbeName}
	return &appsv1.Deployment{
		TypeMeta:   metav1.TypeMeta{APIVersion: "apps/v1", Kind: "Deployment"},
		ObjectMeta: metav1.ObjectMeta{Name: ProbeName, Namespace: namespace},
		Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       probeSpec(p, namespace),
			},
		},
	}
}

// SandboxClass is the RuntimeClass of pods that run in a sandbox.
const SandboxClass = "k8ssec-sandbox"

// probeSpec is ProbePodSpec with what the posture asks of pods in the namespace.
func probeSpec(p *posture.Posture, namespace string) corev1.PodSpec {
	spec := ProbePodSpec(probeImage(p))
	if p.Runtime.UserNamespaces {
		spec.HostUsers = new(false)
	}
	if s := p.Runtime.Sandbox; s != nil && slices.Contains(s.Namespaces, namespace) {
		spec.RuntimeClassName = new(SandboxClass)
	}
	return spec
}

// ProbePodSpec is the spec of such a pod with an image.
func ProbePodSpec(image string) corev1.PodSpec {
	const user = 65532
	quantities := func(cpu, memory string) corev1.ResourceList {
		return corev1.ResourceList{
			corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory),
			corev1.ResourceEphemeralStorage: resource.MustParse("16Mi"),
		}
	}
	return corev1.PodSpec{
		AutomountServiceAccountToken: new(false),
		SecurityContext: &corev1.PodSecurityContext{
			RunAsNonRoot:   new(true),
			RunAsUser:      new(int64(user)),
			RunAsGroup:     new(int64(user)),
			SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		},
		Containers: []corev1.Container{{
			Name:      "probe",
			Image:     image,
			Resources: corev1.ResourceRequirements{Requests: quantities("10m", "32Mi"), Limits: quantities("500m", "128Mi")},
			SecurityContext: &corev1.SecurityContext{
				AllowPrivilegeEscalation: new(false),
				ReadOnlyRootFilesystem:   new(true),
				Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
			},
		}},
	}
}

// probeImage is a name that the posture's rules on images let pass. Nothing pulls it; the digest is
// sixty-four zeros because no image can have it.
func probeImage(p *posture.Posture) string {
	registry := "registry.k8s.io"
	if len(p.Images.Registries) > 0 {
		registry = strings.TrimSuffix(p.Images.Registries[0], "/")
	}
	image := registry + "/" + ProbeName + ":1.0"
	if p.Images.RequireDigest {
		image += "@sha256:" + strings.Repeat("0", 64)
	}
	return image
}
