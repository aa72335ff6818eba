package secrets

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

const storeAPI = "external-secrets.io/v1"

// The parts of external-secrets.io/v1 that are emitted. Durations are strings here and
// metav1.Duration there; both read and write the same text.
type (
	secretStore struct {
		metav1.TypeMeta   `json:",inline"`
		metav1.ObjectMeta `json:"metadata"`
		Spec              storeSpec `json:"spec"`
	}
	storeSpec struct {
		Provider storeProvider `json:"provider"`
	}
	storeProvider struct {
		Vault *vaultProvider `json:"vault,omitempty"`
		AWS   *awsProvider   `json:"aws,omitempty"`
	}
	vaultProvider struct {
		Server    string    `json:"server"`
		Path      string    `json:"path"`
		Version   string    `json:"version"`
		Namespace string    `json:"namespace,omitempty"`
		CABundle  []byte    `json:"caBundle,omitempty"`
		Auth      vaultAuth `json:"auth"`
	}
	vaultAuth struct {
		Kubernetes vaultKubernetes `json:"kubernetes"`
	}
	vaultKubernetes struct {
		MountPath         string     `json:"mountPath"`
		Role              string     `json:"role"`
		ServiceAccountRef accountRef `json:"serviceAccountRef"`
	}
	accountRef struct {
		Name      string   `json:"name"`
		Audiences []string `json:"audiences,omitempty"`
	}
	awsProvider struct {
		Service string   `json:"service"`
		Region  string   `json:"region"`
		Role    string   `json:"role,omitempty"`
		Auth    *awsAuth `json:"auth,omitempty"`
	}
	awsAuth struct {
		JWT awsJWT `json:"jwt"`
	}
	awsJWT struct {
		ServiceAccountRef accountRef `json:"serviceAccountRef"`
	}

	externalSecret struct {
		metav1.TypeMeta   `json:",inline"`
		metav1.ObjectMeta `json:"metadata"`
		Spec              externalSpec `json:"spec"`
	}
	externalSpec struct {
		SecretStoreRef  objectRef      `json:"secretStoreRef"`
		RefreshPolicy   string         `json:"refreshPolicy"`
		RefreshInterval string         `json:"refreshInterval"`
		Target          externalTarget `json:"target"`
		Data            []externalData `json:"data,omitempty"`
		DataFrom        []externalFrom `json:"dataFrom,omitempty"`
	}
	objectRef struct {
		Kind string `json:"kind"`
		Name string `json:"name"`
	}
	externalTarget struct {
		Name           string `json:"name"`
		CreationPolicy string `json:"creationPolicy"`
		DeletionPolicy string `json:"deletionPolicy"`
	}
	externalData struct {
		SecretKey string    `json:"secretKey"`
		RemoteRef remoteRef `json:"remoteRef"`
	}
	externalFrom struct {
		Extract remoteRef `json:"extract"`
	}
	remoteRef struct {
		Key      string `json:"key"`
		Property string `json:"property,omitempty"`
	}
)
