package backup

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// veleroAPI is the version of Velero's API.
const veleroAPI = "velero.io/v1"

// The parts of velero.io/v1 that are emitted; Velero's module brings the whole server with it. The
// published schema holds them (internal/schema), and e2e/velero decodes them into the real types.
// Durations are strings here and metav1.Duration there; both read and write the same text.
type (
	backupStorageLocation struct {
		metav1.TypeMeta   `json:",inline"`
		metav1.ObjectMeta `json:"metadata"`
		Spec              storageLocationSpec `json:"spec"`
	}
	storageLocationSpec struct {
		Provider      string                    `json:"provider"`
		Default       bool                      `json:"default"`
		AccessMode    string                    `json:"accessMode"`
		ObjectStorage objectStorage             `json:"objectStorage"`
		Credential    *corev1.SecretKeySelector `json:"credential,omitempty"`
		Config        map[string]string         `json:"config,omitempty"`
	}
	objectStorage struct {
		Bucket string `json:"bucket"`
		Prefix string `json:"prefix,omitempty"`
	}

	veleroSchedule struct {
		metav1.TypeMeta   `json:",inline"`
		metav1.ObjectMeta `json:"metadata"`
		Spec              scheduleSpec `json:"spec"`
	}
	scheduleSpec struct {
		Schedule                   string     `json:"schedule"`
		UseOwnerReferencesInBackup *bool      `json:"useOwnerReferencesInBackup"`
		Template                   backupSpec `json:"template"`
	}
	backupSpec struct {
		IncludedNamespaces               []string        `json:"includedNamespaces,omitempty"`
		ExcludedNamespaceScopedResources []string        `json:"excludedNamespaceScopedResources,omitempty"`
		StorageLocation                  string          `json:"storageLocation"`
		TTL                              string          `json:"ttl"`
		SnapshotVolumes                  *bool           `json:"snapshotVolumes,omitempty"`
		SnapshotMoveData                 *bool           `json:"snapshotMoveData,omitempty"`
		DefaultVolumesToFsBackup         *bool           `json:"defaultVolumesToFsBackup,omitempty"`
		ResourcePolicy                   *resourcePolicy `json:"resourcePolicy,omitempty"`
	}
	// resourcePolicy names a ConfigMap; the kind is written in lower case (Velero compares it so).
	resourcePolicy struct {
		Kind string `json:"kind"`
		Name string `json:"name"`
	}

	veleroRestore struct {
		metav1.TypeMeta   `json:",inline"`
		metav1.ObjectMeta `json:"metadata"`
		Spec              restoreSpec `json:"spec"`
	}
	restoreSpec struct {
		ScheduleName       string            `json:"scheduleName"`
		IncludedNamespaces []string          `json:"includedNamespaces"`
		NamespaceMapping   map[string]string `json:"namespaceMapping"`
		ExcludedResources  []string          `json:"excludedResources"`
		RestorePVs         *bool             `json:"restorePVs"`
	}
)
