package backup

import (
	"fmt"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/generators"
	"github.com/k8ssec/k8ssec/generators/addons"
)

const (
	// testNamespace is where the restored copy runs. Its policies open nothing: a copy of an
	// application must not send mail, take jobs or write to the real database.
	testNamespace = "restore-test"
	testName      = "k8ssec-restore-test"
)

// leftOut are kinds that the copy must not have: rights and policies of the original would open what
// restore-test keeps closed, and a copy of an ExternalSecret would take over the original's secret.
var leftOut = []string{
	"ciliumnetworkpolicies.cilium.io", "externalsecrets.external-secrets.io", "gitrepositories.source.toolkit.fluxcd.io",
	"ingresses.networking.k8s.io", "kustomizations.kustomize.toolkit.fluxcd.io", "limitranges", "networkpolicies.networking.k8s.io",
	"resourcequotas", "rolebindings.rbac.authorization.k8s.io", "roles.rbac.authorization.k8s.io",
	"secretstores.external-secrets.io", "validatingwebhookconfigurations.admissionregistration.k8s.io",
}

// cleaned are the kinds that the test removes again.
const cleaned = "deployments,statefulsets,daemonsets,replicasets,cronjobs,jobs,pods,services,horizontalpodautoscalers,poddisruptionbudgets,persistentvolumeclaims,configmaps,secrets,serviceaccounts"

// restoreTest is manifests/backup/restore-test.yaml.
func restoreTest(p *posture.Posture) ([]generators.Artifact, error) {
	t := p.Backup.RestoreTest
	if !active(p) || t == nil {
		return nil, nil
	}
	pin, err := addons.Lookup(addon)
	if err != nil {
		return nil, err
	}
	image, ok := pin.Images["kubectl-"+p.Cluster.Kubernetes]
	if !ok {
		return nil, fmt.Errorf("pins.json has no kubectl for Kubernetes %s", p.Cluster.Kubernetes)
	}
	on := true
	restore := &veleroRestore{
		TypeMeta:   metav1.TypeMeta{APIVersion: veleroAPI, Kind: "Restore"},
		ObjectMeta: meta(testName),
		Spec: restoreSpec{
			ScheduleName:       schedule,
			IncludedNamespaces: []string{t.Namespace},
			NamespaceMapping:   map[string]string{t.Namespace: testNamespace},
			ExcludedResources:  leftOut,
			RestorePVs:         &on,
		},
	}
	text, err := generators.Text("backup/restore.yaml.tmpl", restore)
	if err != nil {
		return nil, err
	}
	return []generators.Artifact{{
		Path: "manifests/backup/restore-test.yaml",
		Comment: "Restores the latest backup of " + t.Namespace + " into " + testNamespace + " and removes it again: a job that fails says that backups cannot be relied on.\n" +
			"Read by the controller manager; the Restore by Velero.",
		Objects: []generators.Object{
			{
				Value: &corev1.ConfigMap{
					TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
					ObjectMeta: meta(testName),
					Data:       map[string]string{"restore.yaml": text},
				},
				Why: "What the job asks of Velero: the latest backup of the schedule, that namespace, under another name. " +
					"Rights, policies and sources of the original are left out, because they would open what " + testNamespace + " keeps closed.",
			},
			{
				Value: &corev1.ServiceAccount{
					TypeMeta:                     metav1.TypeMeta{APIVersion: "v1", Kind: "ServiceAccount"},
					ObjectMeta:                   meta(testName),
					AutomountServiceAccountToken: new(bool),
				},
				Why: "What the job acts as.",
			},
			{
				Value: &rbacv1.Role{
					TypeMeta:   metav1.TypeMeta{APIVersion: rbacv1.SchemeGroupVersion.String(), Kind: "Role"},
					ObjectMeta: meta(testName),
					Rules: []rbacv1.PolicyRule{
						{APIGroups: []string{"velero.io"}, Resources: []string{"restores"}, Verbs: []string{"create"}},
						{APIGroups: []string{"velero.io"}, Resources: []string{"restores"}, ResourceNames: []string{testName}, Verbs: []string{"delete", "get", "list", "watch"}},
					},
				},
				Why: "It may make a restore, and read and delete that one. A restore can write anything that was backed up: " +
					"whoever may start pods in this namespace can do that.",
			},
			binding(namespace),
			{
				Value: &rbacv1.Role{
					TypeMeta:   metav1.TypeMeta{APIVersion: rbacv1.SchemeGroupVersion.String(), Kind: "Role"},
					ObjectMeta: generators.Meta(domain, testNamespace, testName),
					Rules: []rbacv1.PolicyRule{
						{APIGroups: []string{""}, Resources: []string{"configmaps", "persistentvolumeclaims", "pods", "secrets", "serviceaccounts", "services"}, Verbs: []string{"delete", "deletecollection", "get", "list", "watch"}},
						{APIGroups: []string{"apps"}, Resources: []string{"daemonsets", "deployments", "replicasets", "statefulsets"}, Verbs: []string{"delete", "deletecollection", "get", "list", "watch"}},
						{APIGroups: []string{"batch"}, Resources: []string{"cronjobs", "jobs"}, Verbs: []string{"delete", "deletecollection", "get", "list", "watch"}},
						{APIGroups: []string{"autoscaling"}, Resources: []string{"horizontalpodautoscalers"}, Verbs: []string{"delete", "deletecollection", "get", "list", "watch"}},
						{APIGroups: []string{"policy"}, Resources: []string{"poddisruptionbudgets"}, Verbs: []string{"delete", "deletecollection", "get", "list", "watch"}},
					},
				},
				Why: "It may empty " + testNamespace + ", and nothing else anywhere.",
			},
			binding(testNamespace),
			{
				Value: cronJob(p, image.Ref()),
				Why: "Each step is one kubectl, in this order: empty the namespace, restore, wait until Velero says Completed and has counted what it restored, empty it again. " +
					"A restore that is PartiallyFailed, or of nothing, fails the job. How long it takes is part of the answer: it is ended at the RTO.",
				Claims: generators.Claims("spec.jobTemplate.spec.template.spec.initContainers", "backup-5"),
			},
		},
	}}, nil
}

func binding(in string) generators.Object {
	return generators.Object{
		Value: &rbacv1.RoleBinding{
			TypeMeta:   metav1.TypeMeta{APIVersion: rbacv1.SchemeGroupVersion.String(), Kind: "RoleBinding"},
			ObjectMeta: generators.Meta(domain, in, testName),
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: testName},
			Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: testName}},
		},
		Why: "The job has that role.",
	}
}

// cronJob runs the steps as init containers, one after the other: the image has no shell, and needs none.
func cronJob(p *posture.Posture, image string) *batchv1.CronJob {
	limit := fmt.Sprintf("%dh", p.Backup.RTOHours)
	step := func(name string, args ...string) corev1.Container {
		return corev1.Container{
			Name:  name,
			Image: image,
			Args:  append([]string{"--cache-dir=/tmp/cache"}, args...),
			Env:   []corev1.EnvVar{{Name: "HOME", Value: "/tmp"}},
			Resources: corev1.ResourceRequirements{
				Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("20m"), corev1.ResourceMemory: resource.MustParse("64Mi")},
				Limits:   corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("200m"), corev1.ResourceMemory: resource.MustParse("256Mi")},
			},
			SecurityContext: &corev1.SecurityContext{
				AllowPrivilegeEscalation: new(bool),
				ReadOnlyRootFilesystem:   to(true),
				Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
			},
			VolumeMounts: []corev1.VolumeMount{
				{Name: "restore", MountPath: "/restore", ReadOnly: true},
				{Name: "tmp", MountPath: "/tmp"},
			},
		}
	}
	// What Kubernetes itself puts into each namespace stays.
	empty := []string{"delete", cleaned, "--namespace=" + testNamespace, "--ignore-not-found", "--field-selector=metadata.name!=kube-root-ca.crt,metadata.name!=default", "--timeout=10m"}
	object := "restores.velero.io/" + testName
	return &batchv1.CronJob{
		TypeMeta:   metav1.TypeMeta{APIVersion: "batch/v1", Kind: "CronJob"},
		ObjectMeta: meta(testName),
		Spec: batchv1.CronJobSpec{
			Schedule:                   p.Backup.RestoreTest.Schedule,
			TimeZone:                   to("Etc/UTC"),
			ConcurrencyPolicy:          batchv1.ForbidConcurrent,
			StartingDeadlineSeconds:    to(int64(3600)),
			SuccessfulJobsHistoryLimit: to(int32(3)),
			FailedJobsHistoryLimit:     to(int32(3)),
			JobTemplate: batchv1.JobTemplateSpec{Spec: batchv1.JobSpec{
				BackoffLimit:          to(int32(0)),
				ActiveDeadlineSeconds: to(int64(p.Backup.RTOHours) * 3600),
				Template: corev1.PodTemplateSpec{
					ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app.kubernetes.io/name": testName}},
					Spec: corev1.PodSpec{
						RestartPolicy:                corev1.RestartPolicyNever,
						ServiceAccountName:           testName,
						AutomountServiceAccountToken: to(true),
						SecurityContext: &corev1.PodSecurityContext{
							RunAsNonRoot: to(true), RunAsUser: to(int64(65532)), RunAsGroup: to(int64(65532)),
							SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
						},
						InitContainers: []corev1.Container{
							step("forget-the-last", "delete", "restores.velero.io", testName, "--namespace="+namespace, "--ignore-not-found", "--timeout=10m"),
							step("empty", empty...),
							step("restore", "create", "--filename=/restore/restore.yaml"),
							step("completed", "wait", "--for=jsonpath={.status.phase}=Completed", object, "--namespace="+namespace, "--timeout="+limit),
							// The field is there only where something was restored.
							step("not-nothing", "wait", "--for=jsonpath={.status.progress.itemsRestored}", object, "--namespace="+namespace, "--timeout=1m"),
						},
						Containers: []corev1.Container{step("empty-again", empty...)},
						Volumes: []corev1.Volume{
							{Name: "restore", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: testName}}}},
							{Name: "tmp", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{SizeLimit: to(resource.MustParse("64Mi"))}}},
						},
					},
				},
			}},
		},
	}
}

func to[T any](v T) *T { return &v }
