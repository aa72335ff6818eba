// Package upgrade knows what each minor version of Kubernetes removes and changes, and finds what of it
// a repository or a cluster still uses.
package upgrade

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Step is what one minor version does to a cluster that comes from the one before.
type Step struct {
	// Minor is the version that the cluster goes to: 37 for 1.37.
	Minor int
	// APIs are no longer served, or no longer read by their component.
	APIs []API
	// Flags no longer exist: the component does not start with them.
	Flags []Flag
	// Gates no longer exist: a component does not start with an unknown feature gate.
	Gates []string
	// Locked gates cannot be set to another value than their default any more.
	Locked []string
	// Changes of behaviour, with what to do.
	Changes []Change
	// Source names the release notes and the code that this was read from.
	Source string
}

// API is a group and version with the kinds that go away; no kinds means all.
type API struct {
	GroupVersion string
	Kinds        []string
	// Instead says what to write.
	Instead string
}

// Flag is a command line flag of a component.
type Flag struct{ Component, Name string }

// Change is a change of behaviour.
type Change struct {
	Level Level
	Text  string
	// Fix says what to do, and when.
	Fix string
}

// Level says how bad a finding is.
type Level string

// The levels.
const (
	// Blocking: the upgrade fails, or a component does not start after it.
	Blocking Level = "blocking"
	// Risky: something may stop working.
	Risky Level = "risky"
	// Information: something to know.
	Information Level = "information"
)

// Minors that a plan can be made for.
const (
	First = 35
	Last  = 37
)

// StepTo is the step to a minor version.
func StepTo(minor int) (Step, error) {
	for _, s := range steps() {
		if s.Minor == minor {
			return s, nil
		}
	}
	return Step{}, fmt.Errorf("no plan is known for 1.%d; plans are known for 1.%d to 1.%d", minor, First, Last)
}

// ParseMinor reads "1.37", "v1.37" or "1.37.2".
func ParseMinor(version string) (int, error) {
	parts := strings.Split(strings.TrimPrefix(version, "v"), ".")
	if len(parts) < 2 || parts[0] != "1" {
		return 0, fmt.Errorf("%q is no Kubernetes version; write 1.37", version)
	}
	minor, err := strconv.Atoi(parts[1])
	if err != nil || minor < 0 {
		return 0, fmt.Errorf("%q is no Kubernetes version; write 1.37", version)
	}
	return minor, nil
}

// Check refuses a step that kubeadm and the version skew policy refuse.
func Check(from, to int) error {
	switch {
	case to == from:
		return fmt.Errorf("the cluster file says 1.%d already", to)
	case to < from:
		return fmt.Errorf("1.%d is older than 1.%d: Kubernetes has no way back but a restore of etcd", to, from)
	case to > from+1:
		return fmt.Errorf("from 1.%d to 1.%d skips a minor version: go to 1.%d first (kubeadm and the API server move one at a time)", from, to, from+1)
	}
	_, err := StepTo(to)
	return err
}

// goneBy are all gates that do not exist in a minor any more, with the minor that dropped each.
func goneBy(minor int) map[string]int {
	gone := map[string]int{}
	for _, s := range steps() {
		if s.Minor <= minor {
			for _, g := range s.Gates {
				gone[g] = s.Minor
			}
		}
	}
	return gone
}

// flagsGoneBy are the flags that a component does not have in a minor any more.
func flagsGoneBy(minor int) map[Flag]int {
	gone := map[Flag]int{}
	for _, s := range steps() {
		if s.Minor <= minor {
			for _, f := range s.Flags {
				gone[f] = s.Minor
			}
		}
	}
	return gone
}

// apiGone finds the removal of an API by a minor; false while it is served.
func apiGone(groupVersion, kind string, minor int) (API, int, bool) {
	for _, s := range steps() {
		if s.Minor > minor {
			continue
		}
		for _, a := range s.APIs {
			if a.GroupVersion == groupVersion && (len(a.Kinds) == 0 || slices.Contains(a.Kinds, kind)) {
				return a, s.Minor, true
			}
		}
	}
	return API{}, 0, false
}

func flags(component string, names ...string) []Flag {
	list := make([]Flag, len(names))
	for i, n := range names {
		list[i] = Flag{component, n}
	}
	return list
}

// steps is a function so that nothing is built before it is asked for. Read from discovery documents
// (api/discovery/aggregated_v2.json), pkg/features, the release notes and the source of kubeadm of
// v1.33.0, v1.34.4, v1.35.4, v1.36.3 and v1.37.2.
func steps() []Step {
	return []Step{
		{
			Minor: 34, Source: "CHANGELOG-1.34, discovery of v1.34.4",
			APIs: []API{
				{"admissionregistration.k8s.io/v1beta1", []string{"ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"}, "admissionregistration.k8s.io/v1"},
				{"resource.k8s.io/v1alpha3", []string{"DeviceClass", "ResourceClaim", "ResourceClaimTemplate", "ResourceSlice"}, "resource.k8s.io/v1"},
			},
			Flags: flags("kubelet", "cloud-config", "register-schedulable"),
			Gates: []string{"DevicePluginCDIDevices", "ElasticIndexedJob", "LegacySidecarContainers", "PodDisruptionConditions", "StatefulSetStartOrdinal"},
		},
		{
			Minor: 35, Source: "CHANGELOG-1.35, discovery of v1.35.4",
			APIs: []API{
				{"storage.k8s.io/v1alpha1", []string{"VolumeAttributesClass"}, "storage.k8s.io/v1"},
				{"certificates.k8s.io/v1alpha1", []string{"PodCertificateRequest"}, "certificates.k8s.io/v1beta1; from 1.37 on v1"},
				{"storagemigration.k8s.io/v1alpha1", nil, "delete the objects before the upgrade; storagemigration.k8s.io/v1beta1 afterwards"},
			},
			Flags: flags("kubelet", "pod-infra-container-image"),
			Gates: []string{
				"AllowServiceLBStatusOnNonLB", "ComponentSLIs", "CronJobsScheduledAnnotation", "LoadBalancerIPMode", "PodIndexLabel", "ProbeHostPodSecurityStandards",
				"SizeMemoryBackedVolumes", "StatefulSetAutoDeletePVC", "StrictCostEnforcementForVAP", "StrictCostEnforcementForWebhooks", "UserNamespacesPodSecurityStandards",
			},
			Changes: []Change{
				{Blocking, "nodes with cgroup v1: the kubelet refuses to start", "move the nodes to cgroup v2 first; or failCgroupV1: false in kube-system/kubelet-config before the upgrade, for a time"},
				{Risky, "pods/exec, attach and portforward need the verb create over WebSocket too: roles with get alone stop working", "grant create where it is meant"},
				{Risky, "the kubelet checks pull credentials of cached images: pods that relied on another tenant's pull need imagePullSecrets", "add imagePullSecrets"},
				{Information, "kubeadm takes --pod-infra-container-image out of kubeadm-flags.env, not out of your own kubeletExtraArgs", "remove it there"},
				{Information, "ipvs mode of kube-proxy is deprecated", "plan for nftables"},
			},
		},
		{
			Minor: 36, Source: "CHANGELOG-1.36, discovery of v1.36.3",
			APIs: []API{
				{"scheduling.k8s.io/v1alpha1", []string{"Workload"}, "delete the objects before the upgrade"},
				{"apiserver.config.k8s.io/v1alpha1", []string{"WebhookAdmissionConfiguration"}, "apiserver.config.k8s.io/v1"},
				{"apiserver.k8s.io/v1alpha1", []string{"WebhookAdmission"}, "apiserver.config.k8s.io/v1"},
			},
			Gates: []string{
				"CSIMigrationPortworx", "HonorPVReclaimPolicy", "InPlacePodVerticalScalingAllocatedStatus", "InTreePluginPortworxUnregister", "MemoryManager",
				"ServiceTrafficDistribution", "StructuredAuthorizationConfiguration", "TopologyAwareHints", "WatchFromStorageWithoutResourceVersion",
			},
			Locked: []string{
				"KubeletFineGrainedAuthz", "UserNamespacesSupport", "ProcMountType", "ExternalServiceAccountTokenSigner", "CSIServiceAccountTokenSecrets", "GitRepoVolumeDriver",
				"ImageVolume", "SELinuxChangePolicy", "SELinuxMountReadWriteOncePod", "VolumeAttributesClass", "DisableNodeKubeProxyVersion",
			},
			Changes: []Change{
				{Blocking, "gitRepo volumes cannot be used any more", "clone in an init container"},
				{Risky, "audit log rotation has new defaults (366 days, 100 files), and --audit-log-maxsize=0 means something else", "set all three; the emitted control plane does"},
				{Risky, "the API server's certificate towards the kubelets loses the group cluster-admins", "nothing, unless roles of yours rely on it"},
				{Risky, "MutatingAdmissionPolicy is on by default", "see that nobody but platform admins may write it"},
				{Risky, "metrics are renamed: volume_operation_total_errors, etcd_bookmark_counts", "mend alerts that use them"},
				{Information, "etcd below 3.6 is no longer supported as kubeadm's local etcd", "let kubeadm upgrade etcd"},
			},
		},
		{
			Minor: 37, Source: "CHANGELOG-1.37, discovery of v1.37.2, etcd's upgrade_3_7",
			APIs: []API{
				{"networking.k8s.io/v1beta1", []string{"IPAddress", "ServiceCIDR"}, "networking.k8s.io/v1"},
				{"storage.k8s.io/v1beta1", []string{"VolumeAttributesClass"}, "storage.k8s.io/v1"},
				{"certificates.k8s.io/v1alpha1", []string{"ClusterTrustBundle"}, "certificates.k8s.io/v1"},
				{"scheduling.k8s.io/v1alpha2", nil, "delete the objects before the upgrade"},
				{"kubeadm.k8s.io/v1beta3", nil, "kubeadm config migrate --old-config FILE"},
			},
			Flags: append(flags("kubelet", "application-metrics-count-limit", "boot-id-file", "container-hints", "containerd", "containerd-namespace", "enable-load-reader",
				"event-storage-age-limit", "event-storage-event-limit", "global-housekeeping-interval", "log-cadvisor-usage", "machine-id-file", "storage-driver-user",
				"storage-driver-password", "storage-driver-host", "storage-driver-db", "storage-driver-table", "storage-driver-secure", "storage-driver-buffer-duration"),
				flags("kube-controller-manager", "concurrent-service-syncs")...),
			Gates: []string{
				"APIServerTracing", "AnonymousAuthConfigurableEndpoints", "AnyVolumeDataSource", "AuthorizeNodeWithSelectors", "AuthorizeWithSelectors", "BtreeWatchCache",
				"ConsistentListFromCache", "GangScheduling", "JobBackoffLimitPerIndex", "JobPodReplacementPolicy", "JobSuccessPolicy", "LogarithmicScaleDown",
				"OrderedNamespaceDeletion", "PodLifecycleSleepAction", "PodLifecycleSleepActionAllowZero", "PreventStaticPodAPIReferences", "RelaxedDNSSearchValidation",
				"ResilientWatchCacheInitialization", "RetryGenerateName", "SchedulerQueueingHints", "SidecarContainers", "StreamingCollectionEncodingToJSON",
				"StreamingCollectionEncodingToProtobuf", "StructuredAuthenticationConfiguration", "WorkloadAwarePreemption", "NodeLocalCRISocket", "PublicKeysECDSA",
			},
			Locked: []string{
				"NodeDeclaredFeatures", "HostnameOverride", "PodReadyToStartContainersCondition", "HPAConfigurableTolerance", "RelaxedServiceNameValidation", "DRAExtendedResource",
			},
			Changes: []Change{
				{Blocking, "kubeadm brings etcd 3.7, which all members must reach from 3.6.11 or newer", "bring etcd to 3.6.11 or newer first; take a snapshot, because 3.6 may not read what 3.7 wrote"},
				{Risky, "eventRecordQPS: 0 means no limit", "set a number"},
				{Risky, "SELinuxMount is generally available", "on SELinux nodes look at the warnings of 1.36's selinux-warning-controller, or set seLinuxChangePolicy: Recursive"},
				{Risky, "static pods that refer to API objects are refused", "take such references out of /etc/kubernetes/manifests"},
				{Risky, "the kubelet writes its effective configuration to its log", "let few people read nodes/log"},
				{Risky, "webhooks are no longer asked about TokenReviews and access reviews", "use authentication and authorization webhooks for those"},
				{Information, "names that end in .static.k8s.io are reserved for manifest-based admission", "rename policies and webhooks of such names"},
				{Information, "kubeadm writes kube-proxy's mode: iptables where none was set", "choose nftables when you are ready; it becomes the default in 1.40"},
			},
		},
	}
}
