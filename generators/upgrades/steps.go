package upgrades

import (
	"fmt"

	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/generators"
)

// newest is the newest minor that this release of k8ssec knows.
const newest = 37

// step is one minor step. The facts are from the releases' own change logs, discovery documents and
// feature gates (kubernetes v1.33 to v1.37.2, etcd's upgrade guides).
type step struct {
	From, To int
	// Etcd is the version that kubeadm brings, and what it needs before.
	Etcd, EtcdNeeds string
	// Gone are APIs that are no longer served; Next what replaces each.
	Gone []gone
	// Flags are arguments that a component no longer knows: it does not start with one.
	Flags []string
	// Gates are feature gates that are gone: a component that is given one does not start.
	Gates []string
	// Changes are what behaves differently, for a hardened cluster.
	Changes []string
	// Here is what this posture runs into.
	Here []string
}

type gone struct{ API, Kinds, Next string }

// stepsFrom are the steps from a minor on.
func stepsFrom(minor int) []step {
	var out []step
	for _, s := range steps() {
		if s.From >= minor {
			out = append(out, s)
		}
	}
	return out
}

func steps() []step {
	return []step{
		{
			From: 34, To: 35, Etcd: "3.6", EtcdNeeds: "every member is 3.6 (kubeadm 1.34 brings 3.6.5)",
			Gone: []gone{
				{"storagemigration.k8s.io/v1alpha1", "StorageVersionMigration", "v1beta1; delete the objects before the upgrade"},
				{"storage.k8s.io/v1alpha1", "VolumeAttributesClass", "v1"},
				{"certificates.k8s.io/v1alpha1", "PodCertificateRequest", "v1beta1"},
			},
			Flags: []string{"kubelet --pod-infra-container-image (kubeadm takes it out of kubeadm-flags.env, not out of your own extraArgs)"},
			Gates: []string{
				"AllowServiceLBStatusOnNonLB", "ComponentSLIs", "CronJobsScheduledAnnotation", "LoadBalancerIPMode", "PodIndexLabel", "ProbeHostPodSecurityStandards",
				"SizeMemoryBackedVolumes", "StatefulSetAutoDeletePVC", "StrictCostEnforcementForVAP", "StrictCostEnforcementForWebhooks", "UserNamespacesPodSecurityStandards",
			},
			Changes: []string{
				"The kubelet refuses nodes with cgroup v1: `stat -fc %T /sys/fs/cgroup` must say cgroup2fs on each node.",
				"exec, attach and port-forward over WebSocket need `create`, as they always should have: a role with `get` alone stops working.",
				"The kubelet checks pull credentials for images that are on the node already: a pod that lived on a neighbour's private image needs imagePullSecrets of its own.",
				"IPVS mode of kube-proxy is deprecated.",
				"The API server refuses a client CA that overlaps with the request header CA.",
			},
		},
		{
			From: 35, To: 36, Etcd: "3.6", EtcdNeeds: "every member is 3.6: kubeadm no longer runs an older one",
			Gone: []gone{{"scheduling.k8s.io/v1alpha1", "Workload", "v1alpha2; delete the objects before the upgrade"}},
			Flags: []string{
				"etcd --experimental-initial-corrupt-check and --experimental-watch-progress-notify-interval are no longer written by kubeadm; take them out of your own extraArgs",
				"flex-volume directories of the controller manager are no longer set up by kubeadm",
			},
			Gates: []string{
				"CSIMigrationPortworx", "HonorPVReclaimPolicy", "InPlacePodVerticalScalingAllocatedStatus", "InTreePluginPortworxUnregister", "MemoryManager",
				"ServiceTrafficDistribution", "StructuredAuthorizationConfiguration", "TopologyAwareHints", "WatchFromStorageWithoutResourceVersion",
			},
			Changes: []string{
				"MutatingAdmissionPolicy is on: whoever may write one changes each object. The roles of this repository give it to nobody.",
				"Addresses and ranges must be written without leading zeros and host bits.",
				"gitRepo volumes cannot be switched on any more; services with externalIPs earn a warning.",
				"The API server's client certificate for kubelets loses cluster-admin: it keeps what it needs.",
				"Names of metrics change: volume_operation_total_errors is volume_operation_errors_total. Look at your alerts.",
				"Nodes with SELinux: run the selinux-warning controller now, or set seLinuxChangePolicy: Recursive, before 1.37.",
			},
		},
		{
			From: 36, To: 37, Etcd: "3.7.0", EtcdNeeds: "every member is 3.6.11 or newer, which etcd asks for before 3.7; kubeadm 1.36.3 brings 3.6.8. A newer 1.36 patch may bring it; if not, set etcd.local.imageTag for this one step and take it out again, because kubeadm leaves an etcd with a tag of your own alone",
			Gone: []gone{
				{"networking.k8s.io/v1beta1", "IPAddress, ServiceCIDR", "v1"},
				{"storage.k8s.io/v1beta1", "VolumeAttributesClass", "v1"},
				{"certificates.k8s.io/v1alpha1", "ClusterTrustBundle", "v1"},
				{"scheduling.k8s.io/v1alpha2", "Workload and what belongs to it", "v1alpha3; delete the objects before the upgrade"},
			},
			Flags: []string{
				"kube-controller-manager --concurrent-service-syncs",
				"kubelet: 18 flags of cAdvisor and Docker (--application-metrics-count-limit, --boot-id-file, --container-hints, --containerd, --containerd-namespace, --enable-load-reader, --event-storage-*, --global-housekeeping-interval, --log-cadvisor-usage, --machine-id-file, --storage-driver-*)",
				"kubeadm: configuration in kubeadm.k8s.io/v1beta3 is refused (this repository writes v1beta4)",
			},
			Gates: []string{
				"APIServerTracing", "AnonymousAuthConfigurableEndpoints", "AnyVolumeDataSource", "AuthorizeNodeWithSelectors", "AuthorizeWithSelectors", "BtreeWatchCache",
				"ConsistentListFromCache", "GangScheduling", "JobBackoffLimitPerIndex", "JobPodReplacementPolicy", "JobSuccessPolicy", "LogarithmicScaleDown",
				"OrderedNamespaceDeletion", "PodLifecycleSleepAction", "PodLifecycleSleepActionAllowZero", "PreventStaticPodAPIReferences", "RelaxedDNSSearchValidation",
				"ResilientWatchCacheInitialization", "RetryGenerateName", "SchedulerQueueingHints", "SidecarContainers", "StreamingCollectionEncodingToJSON",
				"StreamingCollectionEncodingToProtobuf", "StructuredAuthenticationConfiguration", "WorkloadAwarePreemption",
			},
			Changes: []string{
				"eventRecordQPS 0 means unlimited from now on.",
				"SELinux: volumes are mounted with the pod's label (SELinuxMount); see the note of 1.36.",
				"The kubelet logs its effective configuration: who may read nodes/log reads it.",
				"kube-proxy warns where its mode is empty; it becomes nftables in 1.40, and IPVS goes in 1.43.",
				"Admission policies from files on the control plane nodes are on; names that end in .static.k8s.io are reserved for them.",
				"Static pods cannot refer to any API object.",
			},
		},
	}
}

// here says what a posture runs into at a step.
func here(p *posture.Posture, s step) []string {
	var list []string
	if s.To == 35 {
		if p.Kubelet.FailCgroupV1 {
			list = append(list, "`kubelet.failCgroupV1` is true: a node with cgroup v1 does not come back after its upgrade. Check each node before.")
		} else {
			list = append(list, "`kubelet.failCgroupV1` is false, so nodes with cgroup v1 go on for now; kubeadm's preflight complains about them.")
		}
		list = append(list, "`imagePullCredentialsVerificationPolicy` becomes "+p.Kubelet.ImagePullCredentials+" (`kubelet.imagePullCredentials`), and generate leaves AlwaysPullImages out where only the benchmark had asked for it.")
	}
	if s.To == 37 {
		if p.Kubelet.EventRecordQPS == 0 {
			list = append(list, "`kubelet.eventRecordQPS` is 0, which now means no limit at all: set 50.")
		}
		if p.Workloads.Static {
			list = append(list, "`workloads.static` is true: generate now writes the admission policies for the control plane nodes; copy them there (`k8ssec-node.sh --install control-plane`) before the API server starts as 1.37.")
		}
		if p.Encryption.Provider == "secretbox" {
			list = append(list, "The rotation of the key at rest stores objects again by StorageVersionMigration from now on; nothing to do.")
		}
		if p.Kubelet.ProxyMode == "iptables" {
			list = append(list, "`kubelet.proxyMode` is iptables; nftables is the default from 1.40 on and can be taken now.")
		}
	}
	if p.Cluster.CNI != "other" {
		list = append(list, "The CNI ("+p.Cluster.CNI+") must support the new minor before the first node has it: look at its own matrix.")
	}
	if p.Images.Verify == "kyverno" {
		list = append(list, "Kyverno must support the new minor, and must have more than one replica: its webhooks fail closed.")
	}
	if p.Secrets.Provider != "" && p.Secrets.Install != posture.InstallOff {
		note := "External Secrets must support the new minor: look at its stability page."
		if s.To == 37 {
			note += " As of August 2026 none of its releases names 1.37; secrets that are in the cluster stay, new ones may not come."
		}
		list = append(list, note)
	}
	if !p.Backup.EtcdSnapshots.Enabled && p.Cluster.Platform != "kind" {
		list = append(list, "No snapshots of etcd are taken here (`backup.etcdSnapshots.enabled`): take one by hand, it is the only way back.")
	}
	return list
}

// pages are docs/upgrades.md and a plan for each step.
func pages(p *posture.Posture) ([]generators.Artifact, error) {
	d := newData(p)
	for i := range d.Steps {
		d.Steps[i].Here = here(p, d.Steps[i])
	}
	text, err := generators.Text("upgrades/upgrades.md.tmpl", d)
	if err != nil {
		return nil, err
	}
	claims := append(generators.Claims("## Patches", "nsa-U1", "upgrade-1"), generators.Claims("## Minor steps", "upgrade-2")...)
	claims = append(claims, generators.Claims("## Nodes", "upgrade-3")...)
	artifacts := []generators.Artifact{{Path: "docs/upgrades.md", Kind: generators.Procedure, Text: text, Claims: claims}}
	for _, s := range d.Steps {
		text, err := generators.Text("upgrades/step.md.tmpl", struct {
			data
			Step step
		}{d, s})
		if err != nil {
			return nil, err
		}
		artifacts = append(artifacts, generators.Artifact{
			Path: fmt.Sprintf("docs/upgrades/1.%d-to-1.%d.md", s.From, s.To), Kind: generators.Procedure, Text: text,
			Claims: generators.Claims("## The way back", "upgrade-2"),
		})
	}
	return artifacts, nil
}

// clock writes minutes of a day as HH:MM.
func clock(minutes int) string { return fmt.Sprintf("%02d:%02d", minutes/60, minutes%60) }
