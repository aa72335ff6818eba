package logging

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/generators"
	"github.com/k8ssec/k8ssec/generators/addons"
)

// RulesConfigMap holds the rules of Loki's ruler; the alerts domain emits it.
const RulesConfigMap = "audit-rules"

// lokiUser is the user of Loki's image.
const lokiUser = 10001

func lokiObjects(p *posture.Posture) ([]generators.Object, error) {
	const ns, name = posture.LokiNamespace, "loki"
	pin, err := addons.Lookup(name)
	if err != nil {
		return nil, err
	}
	alertmanager := ""
	if monitoring := p.Monitoring(); monitoring != "" {
		// The service that the Prometheus Operator makes for every Alertmanager.
		alertmanager = "http://alertmanager-operated." + monitoring + ".svc." + p.Cluster.DNSDomain + ":9093"
	}
	config, err := generators.Text("logging/loki.yaml.tmpl", struct {
		Port, RetentionHours int
		TLS                  bool
		Alertmanager         string
	}{posture.LokiPort, p.Logging.Store.RetentionDays * 24, mutualTLS(p), alertmanager})
	if err != nil {
		return nil, err
	}
	labels := map[string]string{"app.kubernetes.io/name": name}
	mounts := []mount{
		{corev1.Volume{Name: "config", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: name}}}}, "/etc/loki/config", true},
		{corev1.Volume{Name: "tmp", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}, "/tmp", false},
	}
	if alertmanager != "" {
		optional := true
		// Without a tenant in the request, Loki's tenant is called "fake".
		mounts = append(mounts, mount{corev1.Volume{Name: "rules", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
			LocalObjectReference: corev1.LocalObjectReference{Name: RulesConfigMap}, Optional: &optional,
		}}}, "/etc/loki/rules/fake", true})
	}
	if mutualTLS(p) {
		mounts = append(mounts, secret("tls", "loki-server", "/etc/loki/tls"))
		mode := int32(0o440)
		mounts[len(mounts)-1].Secret.DefaultMode = &mode
	}
	volumes, at := split(mounts)
	at = append(at, corev1.VolumeMount{Name: "data", MountPath: "/var/loki"})
	yes, no, user, replicas, grace := true, false, int64(lokiUser), int32(1), int64(120)
	changePolicy := corev1.FSGroupChangeOnRootMismatch
	claim := corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: "data"},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(p.Logging.Store.Storage)}},
		},
	}
	if class := p.Logging.Store.StorageClass; class != "" {
		claim.Spec.StorageClassName = &class
	}
	probe := func(delay int32) *corev1.Probe {
		// With client certificates asked for, the kubelet can see no more than that the port answers.
		return &corev1.Probe{
			ProbeHandler:        corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromString("http")}},
			InitialDelaySeconds: delay, PeriodSeconds: 15, TimeoutSeconds: 3, FailureThreshold: 6,
		}
	}
	set := &appsv1.StatefulSet{
		TypeMeta:   metav1.TypeMeta{APIVersion: "apps/v1", Kind: "StatefulSet"},
		ObjectMeta: meta(ns, name, labels),
		Spec: appsv1.StatefulSetSpec{
			Replicas: &replicas, ServiceName: name, Selector: &metav1.LabelSelector{MatchLabels: labels},
			VolumeClaimTemplates: []corev1.PersistentVolumeClaim{claim},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels, Annotations: generators.ConfigChecksum(config)},
				Spec: corev1.PodSpec{
					ServiceAccountName: name, AutomountServiceAccountToken: &no, EnableServiceLinks: &no,
					PriorityClassName: addons.Priority(p), TerminationGracePeriodSeconds: &grace,
					SecurityContext: &corev1.PodSecurityContext{
						RunAsNonRoot: &yes, RunAsUser: &user, RunAsGroup: &user, FSGroup: &user, FSGroupChangePolicy: &changePolicy,
						SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
					},
					Containers: []corev1.Container{{
						Name: name, Image: pin.Images[name].Ref(), Args: []string{"-config.file=/etc/loki/config/loki.yaml"}, VolumeMounts: at,
						Ports:          []corev1.ContainerPort{{Name: "http", ContainerPort: posture.LokiPort, Protocol: corev1.ProtocolTCP}},
						ReadinessProbe: probe(10), LivenessProbe: probe(60),
						Resources: corev1.ResourceRequirements{
							Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("200m"), corev1.ResourceMemory: resource.MustParse("512Mi"), corev1.ResourceEphemeralStorage: resource.MustParse("64Mi")},
							Limits:   corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("2"), corev1.ResourceMemory: resource.MustParse("2Gi"), corev1.ResourceEphemeralStorage: resource.MustParse("512Mi")},
						},
						SecurityContext: &corev1.SecurityContext{
							AllowPrivilegeEscalation: &no, ReadOnlyRootFilesystem: &yes, Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
						},
					}},
					Volumes: volumes,
				},
			},
		},
	}
	return []generators.Object{
		{Value: &corev1.ServiceAccount{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ServiceAccount"}, ObjectMeta: meta(ns, name, labels), AutomountServiceAccountToken: &no}, Why: "Loki does not call the API server."},
		{
			Value: &corev1.ConfigMap{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"}, ObjectMeta: meta(ns, name, labels), Data: map[string]string{"loki.yaml": config}},
			Why:   "How long records are kept, and whom the ruler tells.",
		},
		{
			Value: &corev1.Service{
				TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Service"}, ObjectMeta: meta(ns, name, labels),
				Spec: corev1.ServiceSpec{
					ClusterIP: corev1.ClusterIPNone, Selector: labels,
					Ports: []corev1.ServicePort{{Name: "http", Port: posture.LokiPort, TargetPort: intstr.FromString("http"), Protocol: corev1.ProtocolTCP}},
				},
			},
		},
		{
			Value:  set,
			Why:    "The store of the cluster's logs, on a volume of its own. It stands in the cluster that it watches: who takes the whole cluster can delete it, which a sink outside (logging.sink) prevents.",
			Claims: generators.Claims("spec.volumeClaimTemplates", "nsa-L2"),
		},
	}, nil
}

// certificates are a CA of the two ends' own, and one certificate for each.
func certificates(p *posture.Posture, shipper string) []generators.Object {
	service := "loki." + posture.LokiNamespace + ".svc"
	return []generators.Object{
		{Value: generators.ClusterIssuer(domain, "logs-bootstrap", map[string]any{"selfSigned": map[string]any{}}), Why: "Signs the CA below and nothing else."},
		{
			Value: generators.Certificate(domain, "cert-manager", "logs-ca", map[string]any{
				"isCA": true, "commonName": "logs of " + p.Cluster.Name, "secretName": "logs-ca", "duration": "43800h", "renewBefore": "8760h",
				"issuerRef": map[string]any{"group": "cert-manager.io", "kind": "ClusterIssuer", "name": "logs-bootstrap"},
			}),
			Why: "The CA of the way to Loki. Its key is made by cert-manager in its own namespace.",
		},
		{Value: generators.ClusterIssuer(domain, "logs", map[string]any{"ca": map[string]any{"secretName": "logs-ca"}}), Why: "Signs the certificates of Loki and of the shipper."},
		{
			Value: generators.Certificate(domain, posture.LokiNamespace, "loki-server", map[string]any{
				"secretName": "loki-server", "duration": "2160h", "renewBefore": "720h", "commonName": "loki",
				"dnsNames": []any{service, service + "." + p.Cluster.DNSDomain}, "usages": []any{"server auth"},
				"issuerRef": map[string]any{"group": "cert-manager.io", "kind": "ClusterIssuer", "name": "logs"},
			}),
			Why:    "By what the shipper knows Loki.",
			Claims: generators.Claims("spec.usages", "log-5"),
		},
		{
			Value: generators.Certificate(domain, posture.LoggingNamespace, "logs-client", map[string]any{
				"secretName": "logs-client", "duration": "2160h", "renewBefore": "720h", "commonName": shipper, "usages": []any{"client auth"},
				"issuerRef": map[string]any{"group": "cert-manager.io", "kind": "ClusterIssuer", "name": "logs"},
			}),
			Why:    "By what Loki knows the shipper: it takes records from nobody else.",
			Claims: generators.Claims("spec.usages", "log-5"),
		},
	}
}
