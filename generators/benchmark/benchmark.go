package benchmark

import (
	"fmt"
	"slices"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/generators"
	"github.com/k8ssec/k8ssec/generators/addons"
)

const (
	domain    = "benchmark"
	namespace = "kube-bench"
	// benchmark is named because kube-bench would otherwise count down from the cluster's version to
	// one that it knows, silently. Its checks are those of the CIS benchmark v2.0.1.
	benchmark = "cis-1.12"
)

// New returns the generator of the domain benchmark.
func New() generators.Generator { return generator{} }

type generator struct{}

// Domain is "benchmark".
func (generator) Domain() string { return domain }

// Generate emits the jobs, the exceptions and docs/benchmark.md.
func (generator) Generate(p *posture.Posture) (*generators.Output, error) {
	out := &generators.Output{}
	left := exceptions(p)
	switch p.Benchmark.KubeBench {
	case posture.InstallInstall:
		pin, err := addons.Lookup("kube-bench")
		if err != nil {
			return nil, err
		}
		out.Artifacts = append(out.Artifacts, generators.Artifact{
			Path:    "manifests/benchmark/kube-bench.yaml",
			Comment: "Holds the nodes to the CIS benchmark, on a schedule. docs/benchmark.md says what is left out and why.",
			Objects: jobs(p, pin.Images["kube-bench"].Ref(), left),
		})
	case posture.InstallOff:
		out.Undecided = append(out.Undecided, generators.Decision{
			Controls: []string{"bench-1", "nsa-U2"},
			Line:     `benchmark: kubeBench: "install"`,
			Enables:  "kube-bench looks at a control plane node and at a worker every week, and an alert says what fails",
		})
	case posture.InstallExisting:
	}
	if ignored := trivyIgnore(p); ignored != "" {
		out.Artifacts = append(out.Artifacts, generators.Artifact{Path: ".trivyignore.yaml", Kind: generators.Doc, Text: ignored})
	}
	text, err := generators.Text("benchmark/benchmark.md.tmpl", struct {
		*posture.Posture
		Benchmark, Namespace, Skip string
		Left                       []exception
		Installed                  bool
		Trivy                      bool
	}{p, benchmark, namespace, strings.Join(skip(left), ","), left, p.Benchmark.KubeBench == posture.InstallInstall, p.Images.Scanner != posture.InstallOff})
	if err != nil {
		return nil, err
	}
	page := generators.Artifact{Path: "docs/benchmark.md", Kind: generators.Procedure, Text: text}
	if p.Benchmark.KubeBench != posture.InstallOff {
		page.Claims = generators.Claims("## What is left out", "bench-1")
	}
	if p.Benchmark.KubeBench == posture.InstallExisting {
		page.Claims = append(page.Claims, generators.Claims("## What is left out", "nsa-U2")...)
	}
	out.Artifacts = append(out.Artifacts, page)
	return out, nil
}

// exception is a check that kube-bench is told to leave out.
type exception struct {
	// ID is the number in the benchmark; Why says who answers for it.
	ID, Why string
}

// exceptions are the checks that cannot tell on this cluster, and those that a waiver lifts, by number.
func exceptions(p *posture.Posture) []exception {
	list := []exception{
		{"1.2.1", "It looks for --anonymous-auth=false. The API server reads authentication.yaml instead, which lets anonymous requests to the health checks only; with the flag, kubeadm's own probes would fail."},
	}
	if !slices.Contains(p.APIServer.AdmissionPlugins, "AlwaysPullImages") && !p.Images.AlwaysPull && p.Cluster.Minor() >= 35 {
		list = append(list, exception{"1.2.11", "It looks for AlwaysPullImages. The kubelet's own check of pull credentials does the same without making each start wait for a registry."})
	}
	if p.Kubelet.ServerTLSBootstrap {
		list = append(list, exception{"4.2.9", "It looks for a certificate file. The kubelets get theirs from the cluster and renew it (serverTLSBootstrap)."})
	}
	if !p.APIServer.EtcdUser {
		list = append(list, exception{"1.1.12", "It wants the owner etcd:etcd. etcd runs as root here, and its data belongs to the account that runs it; apiserver: etcdUser: true changes both."})
	}
	waived := map[string]string{}
	for name, w := range p.Waivers {
		if !w.Active || !w.Scope.Cluster {
			continue // the checks of nodes know no namespace
		}
		for _, id := range append([]string{w.Control}, w.Also...) {
			if number, ok := strings.CutPrefix(id, "cis-"); ok {
				waived[number] = fmt.Sprintf("Waived until %s by %s (%s): %s", w.Expires, w.Owner, name, w.Reason)
			}
		}
	}
	for number, why := range waived {
		if i := slices.IndexFunc(list, func(e exception) bool { return e.ID == number }); i >= 0 {
			list[i].Why = why
		} else {
			list = append(list, exception{number, why})
		}
	}
	slices.SortFunc(list, func(a, b exception) int { return strings.Compare(order(a.ID), order(b.ID)) })
	return list
}

// order makes numbers of a benchmark compare by their parts.
func order(id string) string {
	var b strings.Builder
	for _, part := range strings.Split(id, ".") {
		fmt.Fprintf(&b, "%03s.", part)
	}
	return b.String()
}

func skip(list []exception) []string {
	var ids []string
	for _, e := range list {
		ids = append(ids, e.ID)
	}
	return ids
}

// mounts are what the checks look at on a node.
var mounts = []string{
	"/etc/cni/net.d", "/etc/kubernetes", "/etc/systemd", "/lib/systemd", "/opt/cni/bin", "/var/lib/cni", "/var/lib/etcd", "/var/lib/kubelet",
}

func jobs(p *posture.Posture, image string, left []exception) []generators.Object {
	never := false
	account := &corev1.ServiceAccount{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ServiceAccount"}, ObjectMeta: generators.Meta(domain, namespace, "kube-bench"),
		AutomountServiceAccountToken: &never,
	}
	controlPlane := []corev1.NodeSelectorRequirement{{Key: "node-role.kubernetes.io/control-plane", Operator: corev1.NodeSelectorOpExists}}
	workers := []corev1.NodeSelectorRequirement{{Key: "node-role.kubernetes.io/control-plane", Operator: corev1.NodeSelectorOpDoesNotExist}}
	claims := []generators.Claim{
		{Control: "nsa-U2", Field: "spec.schedule"},
		{Control: "bench-1", Field: "spec.jobTemplate.spec.template.spec.containers[0].args"},
	}
	return []generators.Object{
		{Value: account, Why: "The jobs look at the node and never call the API server."},
		{
			Value:  job(p, "kube-bench-control-plane", "master,etcd,controlplane", controlPlane, image, left),
			Why:    "A control plane node: its files, and the arguments of the API server, controller manager, scheduler and etcd.",
			Claims: claims,
		},
		{
			Value:  job(p, "kube-bench-worker", "node", workers, image, left),
			Why:    "A worker, another one each time: its files and its kubelet. On a cluster without workers it stays pending and ends by its deadline.",
			Claims: claims,
		},
	}
}

func job(p *posture.Posture, name, targets string, nodes []corev1.NodeSelectorRequirement, image string, left []exception) *batchv1.CronJob {
	args := []string{"run", "--targets", targets, "--benchmark", benchmark, "--json", "--exit-code", "2"}
	if ids := skip(left); len(ids) > 0 {
		args = append(args, "--skip", strings.Join(ids, ","))
	}
	labels := map[string]string{"app.kubernetes.io/name": "kube-bench"}
	volumes := []corev1.Volume{}
	at := []corev1.VolumeMount{}
	for _, dir := range mounts {
		if dir == "/var/lib/etcd" && targets == "node" {
			continue
		}
		id := strings.NewReplacer("/", "-", ".", "-").Replace(strings.Trim(dir, "/"))
		volumes = append(volumes, corev1.Volume{Name: id, VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: dir}}})
		at = append(at, corev1.VolumeMount{Name: id, MountPath: dir, ReadOnly: true})
	}
	volumes = append(volumes, corev1.Volume{Name: "tmp", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}})
	at = append(at, corev1.VolumeMount{Name: "tmp", MountPath: "/tmp"})
	yes, no, root := true, false, int64(0)
	zone, once, deadline, keep, failed := "Etc/UTC", int32(0), int64(1800), int32(1), int32(3)
	meta := generators.Meta(domain, namespace, name)
	return &batchv1.CronJob{
		TypeMeta:   metav1.TypeMeta{APIVersion: "batch/v1", Kind: "CronJob"},
		ObjectMeta: meta,
		Spec: batchv1.CronJobSpec{
			Schedule: p.Benchmark.Schedule, TimeZone: &zone, ConcurrencyPolicy: batchv1.ForbidConcurrent,
			SuccessfulJobsHistoryLimit: &keep, FailedJobsHistoryLimit: &failed,
			JobTemplate: batchv1.JobTemplateSpec{Spec: batchv1.JobSpec{
				BackoffLimit: &once, ActiveDeadlineSeconds: &deadline,
				Template: corev1.PodTemplateSpec{
					ObjectMeta: metav1.ObjectMeta{Labels: labels},
					Spec: corev1.PodSpec{
						ServiceAccountName: "kube-bench", AutomountServiceAccountToken: &no, EnableServiceLinks: &no, RestartPolicy: corev1.RestartPolicyNever,
						// The arguments of the control plane are those of its processes.
						HostPID: true,
						Affinity: &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
							NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: nodes}},
						}}},
						Tolerations:     []corev1.Toleration{{Key: "node-role.kubernetes.io/control-plane", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule}},
						SecurityContext: &corev1.PodSecurityContext{SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}},
						Containers: []corev1.Container{{
							Name: "kube-bench", Image: image, Command: []string{"kube-bench"}, Args: args, VolumeMounts: at,
							Resources: corev1.ResourceRequirements{
								Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("50m"), corev1.ResourceMemory: resource.MustParse("64Mi"), corev1.ResourceEphemeralStorage: resource.MustParse("16Mi")},
								Limits:   corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("500m"), corev1.ResourceMemory: resource.MustParse("256Mi"), corev1.ResourceEphemeralStorage: resource.MustParse("64Mi")},
							},
							SecurityContext: &corev1.SecurityContext{
								RunAsUser: &root, Privileged: &no, AllowPrivilegeEscalation: &no, ReadOnlyRootFilesystem: &yes,
								Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
							},
						}},
						Volumes: volumes,
					},
				},
			}},
		},
	}
}

// trivyChecks are Trivy's checks of what a control asks.
func trivyChecks() map[string][]string {
	return map[string][]string{
		"cis-5.2.2": {"AVD-KSV-0017"}, "cis-5.2.3": {"AVD-KSV-0010"}, "cis-5.2.4": {"AVD-KSV-0008"}, "cis-5.2.5": {"AVD-KSV-0009"},
		"cis-5.2.6": {"AVD-KSV-0001"}, "cis-5.2.7": {"AVD-KSV-0012"}, "cis-5.2.8": {"AVD-KSV-0003", "AVD-KSV-0106"}, "cis-5.2.9": {"AVD-KSV-0003", "AVD-KSV-0106"},
		"cis-5.2.11": {"AVD-KSV-0023"}, "cis-5.2.12": {"AVD-KSV-0024"}, "cis-5.6.2": {"AVD-KSV-0030", "AVD-KSV-0104"},
		"pss-privileged": {"AVD-KSV-0017"}, "pss-hostPathVolumes": {"AVD-KSV-0023"}, "pss-hostPorts": {"AVD-KSV-0024"},
		"pss-allowPrivilegeEscalation": {"AVD-KSV-0001"}, "pss-runAsNonRoot": {"AVD-KSV-0012"}, "pss-capabilities_restricted": {"AVD-KSV-0003", "AVD-KSV-0106"},
		"pss-seccompProfile_restricted": {"AVD-KSV-0030", "AVD-KSV-0104"},
		"wl-1":                          {"AVD-KSV-0023"}, "wl-3": {"AVD-KSV-0017"}, "wl-4": {"AVD-KSV-0024"}, "wl-12": {"AVD-KSV-0013"}, "wl-20": {"AVD-KSV-0001"}, "wl-21": {"AVD-KSV-0030", "AVD-KSV-0104"},
		"wl-22": {"AVD-KSV-0014"}, "wl-23": {"AVD-KSV-0012"}, "wl-24": {"AVD-KSV-0003", "AVD-KSV-0106"},
	}
}

// trivyIgnore is .trivyignore.yaml: the waivers as Trivy reads them when it scans this repository. Each
// ends on the same day as its waiver.
func trivyIgnore(p *posture.Posture) string {
	type entry struct{ id, path, until, why string }
	var list []entry
	checks := trivyChecks()
	for name, w := range p.Waivers {
		if !w.Active {
			continue
		}
		path := ""
		if w.Scope.Namespace != "" {
			path = "manifests/*/" + w.Scope.Namespace + ".yaml"
		}
		for _, id := range append([]string{w.Control}, w.Also...) {
			for _, check := range checks[id] {
				list = append(list, entry{check, path, w.Expires, fmt.Sprintf("waiver %s of %s: %s", name, w.Owner, w.Reason)})
			}
		}
	}
	if len(list) == 0 {
		return ""
	}
	slices.SortFunc(list, func(a, b entry) int { return strings.Compare(a.id+a.path+a.until+a.why, b.id+b.path+b.until+b.why) })
	list = slices.Compact(list)
	var b strings.Builder
	b.WriteString("# Emitted by k8ssec from the waivers of cluster.cue. Read by trivy config --ignorefile .trivyignore.yaml .\nmisconfigurations:\n")
	for _, e := range list {
		fmt.Fprintf(&b, "  - id: %s\n", e.id)
		if e.path != "" {
			fmt.Fprintf(&b, "    paths:\n      - %q\n", e.path)
		}
		fmt.Fprintf(&b, "    expired_at: %s\n    statement: %q\n", e.until, e.why)
	}
	return b.String()
}
