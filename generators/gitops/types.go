package gitops

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The parts of kustomize.toolkit.fluxcd.io/v1 and source.toolkit.fluxcd.io/v1 that are emitted.
// Durations are strings here and metav1.Duration there; both read and write the same text.
type (
	fluxKustomization struct {
		metav1.TypeMeta   `json:",inline"`
		metav1.ObjectMeta `json:"metadata"`
		Spec              fluxKustomizationSpec `json:"spec"`
	}
	fluxKustomizationSpec struct {
		DependsOn          []nameRef `json:"dependsOn,omitempty"`
		Interval           string    `json:"interval"`
		RetryInterval      string    `json:"retryInterval,omitempty"`
		Timeout            string    `json:"timeout,omitempty"`
		SourceRef          sourceRef `json:"sourceRef"`
		Path               string    `json:"path"`
		TargetNamespace    string    `json:"targetNamespace,omitempty"`
		ServiceAccountName string    `json:"serviceAccountName"`
		Prune              bool      `json:"prune"`
		DeletionPolicy     string    `json:"deletionPolicy,omitempty"`
		Wait               bool      `json:"wait"`
	}
	nameRef struct {
		Name string `json:"name"`
	}
	sourceRef struct {
		Kind string `json:"kind"`
		Name string `json:"name"`
	}

	gitRepository struct {
		metav1.TypeMeta   `json:",inline"`
		metav1.ObjectMeta `json:"metadata"`
		Spec              gitRepositorySpec `json:"spec"`
	}
	gitRepositorySpec struct {
		URL       string     `json:"url"`
		Reference gitRef     `json:"ref"`
		Interval  string     `json:"interval"`
		Timeout   string     `json:"timeout,omitempty"`
		SecretRef *nameRef   `json:"secretRef,omitempty"`
		Verify    *gitVerify `json:"verify,omitempty"`
	}
	gitRef struct {
		Branch string `json:"branch"`
	}
	gitVerify struct {
		Mode      string  `json:"mode"`
		SecretRef nameRef `json:"secretRef"`
	}
)

// The parts of kustomize.config.k8s.io/v1beta1 that are emitted.
type (
	kustomizeFile struct {
		metav1.TypeMeta `json:",inline"`
		Resources       []string         `json:"resources"`
		Patches         []kustomizePatch `json:"patches"`
	}
	kustomizePatch struct {
		Target kustomizeTarget `json:"target"`
		Patch  string          `json:"patch"`
	}
	kustomizeTarget struct {
		Kind string `json:"kind"`
		Name string `json:"name,omitempty"`
	}
)

// The parts of argoproj.io/v1alpha1 that are emitted.
type (
	appProject struct {
		metav1.TypeMeta   `json:",inline"`
		metav1.ObjectMeta `json:"metadata"`
		Spec              appProjectSpec `json:"spec"`
	}
	appProjectSpec struct {
		Description                string                  `json:"description"`
		SourceRepos                []string                `json:"sourceRepos"`
		Destinations               []destination           `json:"destinations"`
		ClusterResourceWhitelist   []groupKind             `json:"clusterResourceWhitelist"`
		DestinationServiceAccounts []destinationServiceAcc `json:"destinationServiceAccounts,omitempty"`
	}
	destination struct {
		Server    string `json:"server"`
		Namespace string `json:"namespace,omitempty"`
	}
	groupKind struct {
		Group string `json:"group"`
		Kind  string `json:"kind"`
	}
	destinationServiceAcc struct {
		Server                string `json:"server"`
		Namespace             string `json:"namespace"`
		DefaultServiceAccount string `json:"defaultServiceAccount"`
	}

	application struct {
		metav1.TypeMeta   `json:",inline"`
		metav1.ObjectMeta `json:"metadata"`
		Spec              applicationSpec `json:"spec"`
	}
	applicationSpec struct {
		Project     string            `json:"project"`
		Source      applicationSource `json:"source"`
		Destination destination       `json:"destination"`
		SyncPolicy  syncPolicy        `json:"syncPolicy"`
	}
	applicationSource struct {
		RepoURL        string `json:"repoURL"`
		TargetRevision string `json:"targetRevision"`
		Path           string `json:"path"`
	}
	syncPolicy struct {
		Automated   automated `json:"automated"`
		SyncOptions []string  `json:"syncOptions"`
		Retry       retry     `json:"retry"`
	}
	automated struct {
		Prune    bool `json:"prune"`
		SelfHeal bool `json:"selfHeal"`
	}
	retry struct {
		Limit   int     `json:"limit"`
		Backoff backoff `json:"backoff"`
	}
	backoff struct {
		Duration    string `json:"duration"`
		Factor      int    `json:"factor"`
		MaxDuration string `json:"maxDuration"`
	}
)
