package logging

import (
	"fmt"
	"net/url"
	"path"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/generators"
	"github.com/k8ssec/k8ssec/generators/addons"
)

const domain = "logging"

// Ports on which the shippers serve their own metrics; cue/posture/defaults.cue opens them.
const (
	vectorMetrics    = 9598
	fluentBitMetrics = 2020
)

// stream is one kind of record on its way to the sink. Each has a buffer of its own, so that a
// workload that floods its log cannot hold back the audit log.
type stream struct {
	Name   string
	Match  string // Fluent Bit's tag
	Codec  string // Vector's, for Loki
	Buffer int64  // bytes on each node
	Labels []label
}

type label struct{ Name, Value string }

// BufferMB is the buffer in MB.
func (s stream) BufferMB() int64 { return s.Buffer >> 20 }

// FluentLabels are the labels as Fluent Bit writes them.
func (s stream) FluentLabels() string {
	parts := []string{}
	for _, l := range s.Labels {
		value := l.Value
		switch l.Name {
		case "namespace":
			value = "$kubernetes['namespace_name']"
		case "pod":
			value = "$kubernetes['pod_name']"
		case "container":
			value = "$kubernetes['container_name']"
		}
		parts = append(parts, l.Name+"="+value)
	}
	return strings.Join(parts, ", ")
}

// streams are those of every node. The labels are what Loki's rules select by.
func streams() []stream {
	node := label{"node", "${NODE_NAME}"}
	return []stream{
		{Name: "audit", Match: "audit", Codec: "raw_message", Buffer: 4 << 30, Labels: []label{{"job", "kube-audit"}, node}},
		{
			Name: "pods", Match: "pods.*", Codec: "text", Buffer: 1 << 30,
			Labels: []label{
				{"job", "pods"}, {"namespace", "{{ kubernetes.pod_namespace }}"}, {"pod", "{{ kubernetes.pod_name }}"}, {"container", "{{ kubernetes.container_name }}"}, node,
			},
		},
		{Name: "node", Match: "node", Codec: "text", Buffer: 1 << 30, Labels: []label{{"job", "node"}, node}},
	}
}

// sink is where the records go, as the configuration of either shipper says it.
type sink struct {
	Kind, URL, Host, Port, Path      string
	Endpoint, Bucket, Prefix, Region string
	TLS, CA, Client                  bool
	Streams                          []stream
	AuditDir                         string
	Metrics                          int
}

// mutualTLS says whether the way to the Loki in the cluster has certificates on both sides.
func mutualTLS(p *posture.Posture) bool { return p.Encryption.CertManager != posture.InstallOff }

func sinkOf(p *posture.Posture) (sink, error) {
	s := sink{Streams: streams(), AuditDir: path.Dir(p.Logging.Audit.Path), Metrics: vectorMetrics}
	if p.Logging.Shipper == "fluent-bit" {
		s.Metrics = fluentBitMetrics
	}
	if p.OwnLoki() {
		s.Kind, s.TLS = "loki", mutualTLS(p)
		s.CA, s.Client = s.TLS, s.TLS
		s.URL = lokiURL(p)
	} else {
		to := p.Logging.Sink
		s.Kind, s.URL, s.Region = to.Kind, to.URL, to.Region
		s.CA = to.CASecret != ""
		// The credentials of S3 are keys in the environment, not a certificate.
		s.Client = to.ClientSecret != "" && to.Kind != "s3"
	}
	u, err := url.Parse(s.URL)
	if err != nil {
		return sink{}, fmt.Errorf("logging.sink.url: %w", err)
	}
	s.Host, s.Port, s.Path = u.Hostname(), u.Port(), u.EscapedPath()
	s.TLS = u.Scheme == "https"
	if s.Port == "" {
		s.Port = map[bool]string{true: "443", false: "80"}[s.TLS]
	}
	if s.Path == "" {
		s.Path = "/"
	}
	s.Endpoint = u.Scheme + "://" + u.Host
	s.Bucket, s.Prefix, _ = strings.Cut(strings.Trim(u.Path, "/"), "/")
	if s.Prefix != "" {
		s.Prefix += "/"
	}
	return s, nil
}

func lokiURL(p *posture.Posture) string {
	scheme := "http"
	if mutualTLS(p) {
		scheme = "https"
	}
	return scheme + "://loki." + posture.LokiNamespace + ".svc." + p.Cluster.DNSDomain + ":" + strconv.Itoa(posture.LokiPort)
}

// shipper is what differs between the two.
type shipper struct {
	name, image, config, data string
	metrics                   int32
	args                      []string
	env                       []corev1.EnvVar
}

func shipperOf(p *posture.Posture, to sink) (shipper, error) {
	pin, err := addons.Lookup(p.Logging.Shipper)
	if err != nil {
		return shipper{}, err
	}
	s := shipper{name: p.Logging.Shipper, image: pin.Images[p.Logging.Shipper].Ref(), data: "/var/lib/" + p.Logging.Shipper, metrics: int32(to.Metrics)}
	if s.config, err = generators.Text("logging/"+s.name+".yaml.tmpl", to); err != nil {
		return shipper{}, err
	}
	file := "/etc/" + s.name + "/" + s.name + ".yaml"
	if s.name == "vector" {
		s.args = []string{"--config", file, "--require-healthy", "false"}
	} else {
		s.args = []string{"--config", file}
	}
	s.env = []corev1.EnvVar{{Name: "NODE_NAME", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: "spec.nodeName"}}}}
	if !p.OwnLoki() && p.Logging.Sink.Kind == "s3" && p.Logging.Sink.ClientSecret != "" {
		for _, key := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"} {
			s.env = append(s.env, corev1.EnvVar{Name: key, ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{
				LocalObjectReference: corev1.LocalObjectReference{Name: p.Logging.Sink.ClientSecret}, Key: key,
			}}})
		}
	}
	return s, nil
}

// shipping is manifests/logging/: the shipper, and Loki where no sink is named.
func shipping(p *posture.Posture) ([]generators.Artifact, error) {
	to, err := sinkOf(p)
	if err != nil {
		return nil, err
	}
	s, err := shipperOf(p, to)
	if err != nil {
		return nil, err
	}
	files := []generators.Artifact{{
		Path:    "manifests/logging/" + s.name + ".yaml",
		Comment: "Ships the audit log, the logs of pods and those of the nodes, from each node.",
		Objects: s.objects(p, to),
	}}
	if !p.OwnLoki() {
		return files, nil
	}
	loki, err := lokiObjects(p)
	if err != nil {
		return nil, err
	}
	files = append(files, generators.Artifact{
		Path:    "manifests/logging/loki.yaml",
		Comment: "The store of the cluster's logs, because logging.sink is undecided.",
		Objects: loki,
	})
	if mutualTLS(p) {
		files = append(files, generators.Artifact{
			Path:    "manifests/logging/certificates.yaml",
			Comment: "Who may send to Loki, and by what the shipper knows it. Read by cert-manager.",
			Objects: certificates(p, s.name),
		})
	}
	return files, nil
}

func (s shipper) labels() map[string]string {
	return map[string]string{"app.kubernetes.io/name": s.name}
}

func meta(namespace, name string, labels map[string]string) metav1.ObjectMeta {
	m := generators.Meta(domain, namespace, name)
	for k, v := range labels {
		m.Labels[k] = v
	}
	return m
}

func (s shipper) objects(p *posture.Posture, to sink) []generators.Object {
	const ns = posture.LoggingNamespace
	subject := []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: ns, Name: s.name}}
	never := false
	shipped := "data[" + s.name + ".yaml]"
	claims := generators.Claims(shipped, "log-4", "nsa-L2", "nsa-L3")
	if !p.OwnLoki() {
		claims = append(claims, generators.Claim{Control: "nsa-L4", Field: shipped, Note: "Every record goes to " + to.Host + ", outside of the cluster."})
	}
	if to.TLS {
		claims = append(claims, generators.Claims(shipped, "log-5")...)
	}
	return []generators.Object{
		{
			Value: &corev1.ServiceAccount{
				TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ServiceAccount"}, ObjectMeta: meta(ns, s.name, s.labels()), AutomountServiceAccountToken: &never,
			},
			Why: "The shipper's own account; only its pods mount a token.",
		},
		{
			Value: &rbacv1.ClusterRole{
				TypeMeta: metav1.TypeMeta{APIVersion: "rbac.authorization.k8s.io/v1", Kind: "ClusterRole"}, ObjectMeta: meta("", "k8ssec-"+s.name, s.labels()),
				Rules: []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"namespaces", "nodes", "pods"}, Verbs: []string{"get", "list", "watch"}}},
			},
			Why: "What it reads to name the pod of a log file. No secrets, no writes.",
		},
		{
			Value: &rbacv1.ClusterRoleBinding{
				TypeMeta: metav1.TypeMeta{APIVersion: "rbac.authorization.k8s.io/v1", Kind: "ClusterRoleBinding"}, ObjectMeta: meta("", "k8ssec-"+s.name, s.labels()),
				RoleRef:  rbacv1.RoleRef{APIGroup: "rbac.authorization.k8s.io", Kind: "ClusterRole", Name: "k8ssec-" + s.name},
				Subjects: subject,
			},
		},
		{
			Value: &corev1.ConfigMap{
				TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"}, ObjectMeta: meta(ns, s.name, s.labels()),
				Data: map[string]string{s.name + ".yaml": s.config},
			},
			Why: "Which logs are read, how long they wait on the node, and where they go.\n" +
				"The audit log has a buffer of its own. When the sink is away the buffer fills, then reading stops; the API server keeps its files as logging.audit says, so nothing is lost for as long.",
			Claims: claims,
		},
		{
			Value:  s.daemonSet(p, to),
			Why:    "On each node, the control plane's too: the audit log is written there. It runs as root, because only root may read the logs, but without any capability, with a read-only root and read-only logs.",
			Claims: generators.Claims("spec.template.spec.containers[0].volumeMounts", "log-4"),
		},
	}
}

// mount is one volume with its place.
type mount struct {
	corev1.Volume
	at       string
	readOnly bool
}

func hostPath(name, dir string, kind corev1.HostPathType, readOnly bool) mount {
	return mount{corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: dir, Type: &kind}}}, dir, readOnly}
}

func secret(name, from, at string) mount {
	mode := int32(0o400)
	return mount{corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: from, DefaultMode: &mode}}}, at, true}
}

func split(mounts []mount) (volumes []corev1.Volume, at []corev1.VolumeMount) {
	for _, m := range mounts {
		volumes = append(volumes, m.Volume)
		at = append(at, corev1.VolumeMount{Name: m.Name, MountPath: m.at, ReadOnly: m.readOnly})
	}
	return volumes, at
}

func (s shipper) daemonSet(p *posture.Posture, to sink) *appsv1.DaemonSet {
	mounts := []mount{
		{corev1.Volume{Name: "config", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: s.name}}}}, "/etc/" + s.name, true},
		hostPath("logs", "/var/log", corev1.HostPathDirectory, true),
		hostPath("data", s.data, corev1.HostPathDirectoryOrCreate, false),
		{corev1.Volume{Name: "tmp", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}, "/tmp", false},
	}
	if dir := to.AuditDir; dir != "/var/log" && !strings.HasPrefix(dir, "/var/log/") {
		// A worker node has no such directory.
		mounts = append(mounts, hostPath("audit", dir, corev1.HostPathDirectoryOrCreate, true))
	}
	if to.CA {
		name := "logs-client"
		if !p.OwnLoki() {
			name = p.Logging.Sink.CASecret
		}
		mounts = append(mounts, secret("ca", name, "/etc/"+s.name+"/ca"))
	}
	if to.Client {
		name := "logs-client"
		if !p.OwnLoki() {
			name = p.Logging.Sink.ClientSecret
		}
		mounts = append(mounts, secret("client", name, "/etc/"+s.name+"/client"))
	}
	volumes, at := split(mounts)
	// A directory inside of another mount is mounted after it.
	yes, no, root := true, false, int64(0)
	unavailable := intstr.FromString("10%")
	return &appsv1.DaemonSet{
		TypeMeta:   metav1.TypeMeta{APIVersion: "apps/v1", Kind: "DaemonSet"},
		ObjectMeta: meta(posture.LoggingNamespace, s.name, s.labels()),
		Spec: appsv1.DaemonSetSpec{
			Selector: &metav1.LabelSelector{MatchLabels: s.labels()},
			UpdateStrategy: appsv1.DaemonSetUpdateStrategy{
				Type: appsv1.RollingUpdateDaemonSetStrategyType, RollingUpdate: &appsv1.RollingUpdateDaemonSet{MaxUnavailable: &unavailable},
			},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: s.labels(), Annotations: generators.ConfigChecksum(s.config)},
				Spec: corev1.PodSpec{
					ServiceAccountName:           s.name,
					AutomountServiceAccountToken: &yes,
					PriorityClassName:            addons.Priority(p),
					Tolerations:                  []corev1.Toleration{{Operator: corev1.TolerationOpExists}},
					NodeSelector:                 map[string]string{"kubernetes.io/os": "linux"},
					SecurityContext:              &corev1.PodSecurityContext{SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}},
					Containers: []corev1.Container{{
						Name: s.name, Image: s.image, Args: s.args, Env: s.env, VolumeMounts: at,
						Ports: []corev1.ContainerPort{{Name: "metrics", ContainerPort: s.metrics, Protocol: corev1.ProtocolTCP}},
						Resources: corev1.ResourceRequirements{
							Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m"), corev1.ResourceMemory: resource.MustParse("128Mi"), corev1.ResourceEphemeralStorage: resource.MustParse("64Mi")},
							Limits:   corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1"), corev1.ResourceMemory: resource.MustParse("512Mi"), corev1.ResourceEphemeralStorage: resource.MustParse("256Mi")},
						},
						SecurityContext: &corev1.SecurityContext{
							RunAsUser: &root, Privileged: &no, AllowPrivilegeEscalation: &no, ReadOnlyRootFilesystem: &yes,
							Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
						},
					}},
					Volumes: volumes,
				},
			},
		},
	}
}
