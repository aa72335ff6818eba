// Command gen writes the schemas in ../data from the Go modules that define them. To take a newer
// patch release, a further minor or the CRDs of a further add-on, edit the tables in this file and
// run go generate ./internal/schema. It needs the Go module proxy and nothing else.
package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/k8ssec/k8ssec/internal/schema"
)

// minors are the supported minors with the patch release that their schema comes from.
var minors = []struct{ minor, patch string }{
	{"34", "4"}, {"35", "4"}, {"36", "3"}, {"37", "2"},
}

// crds are CustomResourceDefinitions: the module, the version, the file in it.
var crds = []struct{ module, version, file string }{
	{"github.com/cilium/cilium", "v1.20.2", "pkg/k8s/apis/cilium.io/client/crds/v2/ciliumnetworkpolicies.yaml"},
	{"github.com/cilium/cilium", "v1.20.2", "pkg/k8s/apis/cilium.io/client/crds/v2/ciliumclusterwidenetworkpolicies.yaml"},
	{"github.com/fluxcd/kustomize-controller", "v1.9.5", "config/crd/bases/kustomize.toolkit.fluxcd.io_kustomizations.yaml"},
	{"github.com/fluxcd/source-controller", "v1.9.5", "config/crd/bases/source.toolkit.fluxcd.io_gitrepositories.yaml"},
	{"github.com/fluxcd/source-controller", "v1.9.5", "config/crd/bases/source.toolkit.fluxcd.io_helmrepositories.yaml"},
	{"github.com/fluxcd/source-controller", "v1.9.5", "config/crd/bases/source.toolkit.fluxcd.io_ocirepositories.yaml"},
	{"github.com/fluxcd/helm-controller", "v1.6.4", "config/crd/bases/helm.toolkit.fluxcd.io_helmreleases.yaml"},
	{"github.com/external-secrets/external-secrets", "v1.3.2", "config/crds/bases/external-secrets.io_externalsecrets.yaml"},
	{"github.com/external-secrets/external-secrets", "v1.3.2", "config/crds/bases/external-secrets.io_secretstores.yaml"},
	{"github.com/prometheus-operator/prometheus-operator", "v0.85.0", "example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml"},
	{"github.com/prometheus-operator/prometheus-operator", "v0.85.0", "example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml"},
	{"github.com/prometheus-operator/prometheus-operator", "v0.85.0", "example/prometheus-operator-crd/monitoring.coreos.com_alertmanagerconfigs.yaml"},
	{"github.com/cert-manager/cert-manager", "v1.21.2", "deploy/crds/cert-manager.io_certificates.yaml"},
	{"github.com/cert-manager/cert-manager", "v1.21.2", "deploy/crds/cert-manager.io_clusterissuers.yaml"},
	{"github.com/cert-manager/cert-manager", "v1.21.2", "deploy/crds/cert-manager.io_issuers.yaml"},
	{"github.com/kyverno/kyverno", "v1.19.1", "config/crds/policies.kyverno.io/policies.kyverno.io_imagevalidatingpolicies.yaml"},
	{"github.com/cilium/tetragon", "v1.7.0", "install/kubernetes/tetragon/crds-yaml/cilium.io_tracingpolicies.yaml"},
	{"sigs.k8s.io/security-profiles-operator", "v1.0.0", "deploy/base-crds/crds/seccompprofile.yaml"},
	{"github.com/sigstore/policy-controller", "v0.13.1", "config/300-clusterimagepolicy.yaml"},
	{"github.com/argoproj/argo-cd/v3", "v3.5.7", "manifests/crds/application-crd.yaml"},
	{"github.com/argoproj/argo-cd/v3", "v3.5.7", "manifests/crds/appproject-crd.yaml"},
	{"github.com/vmware-tanzu/velero", "v1.18.3", "config/crd/v1/bases/velero.io_backupstoragelocations.yaml"},
	{"github.com/vmware-tanzu/velero", "v1.18.3", "config/crd/v1/bases/velero.io_restores.yaml"},
	{"github.com/vmware-tanzu/velero", "v1.18.3", "config/crd/v1/bases/velero.io_schedules.yaml"},
	{"github.com/rancher/system-upgrade-controller", "v0.20.1", "pkg/crds/yaml/generated/upgrade.cattle.io_plans.yaml"},
}

// files are the kinds that components and tools read from files, all that each group registers. A
// version of "minor" is the module's release that goes with the Kubernetes minor; from is the first
// minor that has them. Kind=Type is for a kind whose Go type has another name.
var files = []struct {
	apiVersion string
	kinds      string
	module     string
	version    string
	dir        string
	from       string
}{
	{"kubeadm.k8s.io/v1beta4", kubeadmKinds, "k8s.io/kubernetes", "minor", "cmd/kubeadm/app/apis/kubeadm/v1beta4", ""},
	{"kubeadm.k8s.io/v1", kubeadmKinds, "k8s.io/kubernetes", "minor", "cmd/kubeadm/app/apis/kubeadm/v1", "37"},
	{"kubelet.config.k8s.io/v1beta1", "KubeletConfiguration CredentialProviderConfig", "k8s.io/kubelet", "minor", "config/v1beta1", ""},
	{"kubelet.config.k8s.io/v1", "CredentialProviderConfig", "k8s.io/kubelet", "minor", "config/v1", ""},
	{"kubeproxy.config.k8s.io/v1alpha1", "KubeProxyConfiguration", "k8s.io/kube-proxy", "minor", "config/v1alpha1", ""},
	{
		"kubescheduler.config.k8s.io/v1",
		"KubeSchedulerConfiguration DefaultPreemptionArgs InterPodAffinityArgs NodeResourcesBalancedAllocationArgs NodeResourcesFitArgs " +
			"PodTopologySpreadArgs VolumeBindingArgs NodeAffinityArgs DynamicResourcesArgs",
		"k8s.io/kube-scheduler", "minor", "config/v1", "",
	},
	{
		"apiserver.config.k8s.io/v1",
		"AdmissionConfiguration AuthenticationConfiguration AuthorizationConfiguration EncryptionConfiguration TracingConfiguration",
		"k8s.io/apiserver", "minor", "pkg/apis/apiserver/v1", "",
	},
	{"apiserver.config.k8s.io/v1", "WebhookAdmissionConfiguration=WebhookAdmission", "k8s.io/apiserver", "minor", "pkg/admission/plugin/webhook/config/apis/webhookadmission/v1", ""},
	{
		"apiserver.config.k8s.io/v1", "ValidatingAdmissionPolicyConfiguration MutatingAdmissionPolicyConfiguration",
		"k8s.io/apiserver", "minor", "pkg/admission/plugin/policy/config/apis/policyconfig/v1", "36",
	},
	{"apiserver.config.k8s.io/v1", "ResourceQuotaConfiguration=Configuration", "k8s.io/apiserver", "minor", "pkg/admission/plugin/resourcequota/apis/resourcequota/v1", ""},
	{"apiserver.config.k8s.io/v1beta1", "AuthenticationConfiguration AuthorizationConfiguration TracingConfiguration", "k8s.io/apiserver", "minor", "pkg/apis/apiserver/v1beta1", ""},
	{"apiserver.k8s.io/v1beta1", "EgressSelectorConfiguration", "k8s.io/apiserver", "minor", "pkg/apis/apiserver/v1beta1", ""},
	{"audit.k8s.io/v1", "Policy", "k8s.io/apiserver", "minor", "pkg/apis/audit/v1", ""},
	{"pod-security.admission.config.k8s.io/v1", "PodSecurityConfiguration", "k8s.io/pod-security-admission", "minor", "admission/api/v1", ""},
	{"eventratelimit.admission.k8s.io/v1alpha1", "Configuration", "k8s.io/kubernetes", "minor", "plugin/pkg/admission/eventratelimit/apis/eventratelimit/v1alpha1", ""},
	{"podtolerationrestriction.admission.k8s.io/v1alpha1", "Configuration", "k8s.io/kubernetes", "minor", "plugin/pkg/admission/podtolerationrestriction/apis/podtolerationrestriction/v1alpha1", ""},
	{"v1", "Config", "k8s.io/client-go", "minor", "tools/clientcmd/api/v1", ""},
	{"kind.x-k8s.io/v1alpha4", "Cluster", "sigs.k8s.io/kind", "v0.33.0", "pkg/apis/config/v1alpha4", ""},
	{"kustomize.config.k8s.io/v1beta1", "Kustomization", "sigs.k8s.io/kustomize/api", "v0.21.1", "types", ""},
	{"kustomize.config.k8s.io/v1alpha1", "Component=Kustomization", "sigs.k8s.io/kustomize/api", "v0.21.1", "types", ""},
}

const kubeadmKinds = "ClusterConfiguration InitConfiguration JoinConfiguration ResetConfiguration UpgradeConfiguration"

func main() {
	log.SetFlags(0)
	if err := run("data"); err != nil {
		log.Fatal(err)
	}
}

func run(out string) error {
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	newest := newBundle()
	for _, m := range minors {
		kubernetes := newBundle()
		if err := addSwagger(kubernetes, "v1."+m.minor+"."+m.patch); err != nil {
			return fmt.Errorf("kubernetes 1.%s: %w", m.minor, err)
		}
		if err := write(filepath.Join(out, "kubernetes-1."+m.minor+".json.gz"), kubernetes); err != nil {
			return err
		}
		newest = kubernetes

		config := newBundle()
		g := newGoTypes(config)
		for _, f := range files {
			if m.minor < f.from {
				continue
			}
			version := f.version
			switch {
			case version == "minor" && f.module == "k8s.io/kubernetes":
				version = "v1." + m.minor + "." + m.patch
			case version == "minor":
				version = "v0." + m.minor + "." + m.patch
			}
			if err := g.addModules(f.module, version, m.minor+"."+m.patch); err != nil {
				return err
			}
			for _, kind := range strings.Fields(f.kinds) {
				name, goType, ok := strings.Cut(kind, "=")
				if !ok {
					goType = name
				}
				if err := g.addKind(f.apiVersion, name, f.module+"/"+f.dir, goType); err != nil {
					return fmt.Errorf("%s %s of 1.%s: %w", f.apiVersion, name, m.minor, err)
				}
			}
		}
		if err := write(filepath.Join(out, "files-1."+m.minor+".json.gz"), config); err != nil {
			return err
		}
	}
	custom := newBundle()
	for _, name := range []string{"ObjectMeta", "OwnerReference", "ManagedFieldsEntry", "FieldsV1", "Time"} {
		custom.Definitions[metaV1+name] = newest.Definitions[metaV1+name]
	}
	for _, c := range crds {
		if err := addCRD(custom, c.module, c.version, c.file); err != nil {
			return fmt.Errorf("%s@%s %s: %w", c.module, c.version, c.file, err)
		}
	}
	return write(filepath.Join(out, "custom.json.gz"), custom)
}

func newBundle() *schema.Bundle {
	return &schema.Bundle{Kinds: map[string]schema.Kind{}, Definitions: map[string]json.RawMessage{}}
}

// write compresses a bundle, the same bytes for the same bundle.
func write(name string, b *schema.Bundle) error {
	slices.Sort(b.Sources)
	b.Sources = slices.Compact(b.Sources)
	text, err := json.Marshal(b)
	if err != nil {
		return err
	}
	var buf bytes.Buffer
	z, err := gzip.NewWriterLevel(&buf, gzip.BestCompression)
	if err != nil {
		return err
	}
	if _, err := z.Write(text); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	log.Printf("%s: %d kinds, %d definitions, %d KB, compressed %d KB", name, len(b.Kinds), len(b.Definitions), len(text)>>10, buf.Len()>>10)
	return os.WriteFile(name, buf.Bytes(), 0o644)
}

// moduleDir downloads a module, if it is not there, and returns its directory.
func moduleDir(module, version string) (string, error) {
	cmd := exec.Command("go", "mod", "download", "-json", module+"@"+version)
	cmd.Dir = os.TempDir() // outside of our module, whose go.mod must not change
	text, err := cmd.Output()
	var answer struct{ Dir, Error string }
	if jsonErr := json.Unmarshal(text, &answer); jsonErr != nil {
		return "", fmt.Errorf("%s@%s: %w", module, version, err)
	}
	if answer.Error != "" {
		return "", fmt.Errorf("%s@%s: %s", module, version, answer.Error)
	}
	return answer.Dir, nil
}
