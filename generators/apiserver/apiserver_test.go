package apiserver_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	policyconfigv1 "k8s.io/apiserver/pkg/admission/plugin/policy/config/apis/policyconfig/v1"
	apiserverv1 "k8s.io/apiserver/pkg/apis/apiserver/v1"
	kubeproxyv1alpha1 "k8s.io/kube-proxy/config/v1alpha1"
	kubeletv1beta1 "k8s.io/kubelet/config/v1beta1"
	podsecurityv1 "k8s.io/pod-security-admission/admission/api/v1"
	kindv1alpha4 "sigs.k8s.io/kind/pkg/apis/config/v1alpha4"
	"sigs.k8s.io/yaml"

	"github.com/k8ssec/k8ssec/generators"
	"github.com/k8ssec/k8ssec/generators/apiserver"
	"github.com/k8ssec/k8ssec/generators/generatortest"
	"github.com/k8ssec/k8ssec/internal/manifest"
)

func TestGolden(t *testing.T) { generatortest.Run(t, apiserver.New()) }

// everyPosture calls f for the loosest and the strictest profile on each platform and minor.
func everyPosture(t *testing.T, f func(t *testing.T, cluster string, minor int)) {
	for _, profile := range []string{"baseline", "cis-l2"} {
		for _, platform := range []string{"kubeadm", "kind"} {
			for minor := 34; minor <= 37; minor++ {
				t.Run(fmt.Sprintf("%s/%s/1.%d", profile, platform, minor), func(t *testing.T) {
					f(t, fmt.Sprintf("profiles: [%q]\ncluster: {platform: %q, kubernetes: \"1.%d\"}", profile, platform, minor), minor)
				})
			}
		}
	}
}

// emitted is the text of each file, by its path.
func emitted(t *testing.T, cluster string) map[string]string {
	t.Helper()
	files := map[string]string{}
	for _, f := range generatortest.Emit(t, apiserver.New(), generatortest.Posture(t, cluster)) {
		files[f.Name] = string(f.Data)
	}
	return files
}

// documents splits a file of YAML documents and gives each by its kind.
func documents(t *testing.T, text string) map[string]map[string]any {
	t.Helper()
	docs, err := manifest.Decode([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	byKind := map[string]map[string]any{}
	for _, d := range docs {
		value, err := manifest.Value(d.Node)
		if err != nil {
			t.Fatal(err)
		}
		byKind[d.Kind] = value.(map[string]any)
	}
	return byKind
}

// strict decodes into a component's own type: it refuses a field that the component does not know.
func strict(t *testing.T, value any, into any) {
	t.Helper()
	b, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.UnmarshalStrict(b, into); err != nil {
		t.Fatalf("%T: %v\n%s", into, err, b)
	}
}

// kubeadmDocuments are the documents that kubeadm gets: of kubeadm.yaml, or the patches for kind.
func kubeadmDocuments(t *testing.T, files map[string]string) map[string]map[string]any {
	t.Helper()
	if text, ok := files["bootstrap/kubeadm.yaml"]; ok {
		return documents(t, text)
	}
	var c kindv1alpha4.Cluster
	if err := yaml.UnmarshalStrict([]byte(files["bootstrap/kind-config.yaml"]), &c); err != nil {
		t.Fatal(err)
	}
	byKind := map[string]map[string]any{}
	for _, patch := range c.KubeadmConfigPatches {
		if strings.Contains(patch, "apiVersion:") {
			t.Error("kind skips a patch silently whose apiVersion is not that of its own document")
		}
		if strings.Contains(patch, ": null") {
			t.Error("null in a merge patch removes kind's own value")
		}
		for kind, doc := range documents(t, patch) {
			byKind[kind] = doc
		}
	}
	return byKind
}

// args reads extraArgs in either form.
func args(t *testing.T, component any) map[string]string {
	t.Helper()
	out := map[string]string{}
	switch list := component.(map[string]any)["extraArgs"].(type) {
	case []any:
		for _, item := range list {
			a := item.(map[string]any)
			out[a["name"].(string)] = a["value"].(string)
		}
	case map[string]any:
		for name, value := range list {
			out[name] = value.(string)
		}
	default:
		t.Fatalf("extraArgs is %T", list)
	}
	return out
}

func TestComponentsCanStart(t *testing.T) {
	everyPosture(t, func(t *testing.T, cluster string, minor int) {
		files := emitted(t, cluster)
		docs := kubeadmDocuments(t, files)
		config := docs["ClusterConfiguration"]
		api := args(t, config["apiServer"])
		for _, flag := range []string{"anonymous-auth", "authorization-config", "feature-gates", "oidc-issuer-url", "disable-admission-plugins"} {
			if _, ok := api[flag]; ok {
				t.Errorf("--%s is set", flag)
			}
		}
		if !slices.Contains(strings.Split(api["enable-admission-plugins"], ","), "NodeRestriction") {
			t.Error("NodeRestriction, kubeadm's own default, is lost")
		}
		// Every file that the API server reads lies in a directory that it has mounted.
		var mounts []string
		for _, v := range config["apiServer"].(map[string]any)["extraVolumes"].([]any) {
			mounts = append(mounts, v.(map[string]any)["mountPath"].(string)+"/")
		}
		for flag, value := range api {
			if strings.HasPrefix(value, "/") && !slices.ContainsFunc(mounts, func(m string) bool { return strings.HasPrefix(value, m) }) {
				t.Errorf("--%s=%s is in no volume", flag, value)
			}
		}
		for _, flag := range []string{"admission-control-config-file", "authentication-config"} {
			if path := strings.Replace(api[flag], generators.NodeDir, "bootstrap/control-plane", 1); files[path] == "" {
				t.Errorf("--%s: %s is not emitted", flag, path)
			}
		}
		if _, isMap := config["apiServer"].(map[string]any)["extraArgs"].(map[string]any); isMap != (strings.Contains(cluster, "kind") && minor < 36) {
			t.Errorf("extraArgs is a map: %v; kind writes v1beta3 up to 1.35 only, kubeadm.yaml never", isMap)
		}
		if strings.Contains(cluster, `"kind"`) && minor >= 36 && args(t, config["controllerManager"])["enable-hostpath-provisioner"] != "true" {
			t.Error("the list replaces kind's own, and its volumes need enable-hostpath-provisioner")
		}

		var kubelet kubeletv1beta1.KubeletConfiguration
		strict(t, docs["KubeletConfiguration"], &kubelet)
		if set := kubelet.ImagePullCredentialsVerificationPolicy != ""; set != (minor >= 35) {
			t.Errorf("imagePullCredentialsVerificationPolicy is set: %v; a kubelet of 1.34 does not start with it", set)
		}
		if len(kubelet.FeatureGates) > 0 || kubelet.EnableDebuggingHandlers != nil || kubelet.CrashLoopBackOff.MaxContainerRestartPeriod != nil {
			t.Error("the kubelet configuration has gates, a crash loop period, or no exec")
		}
		var kubeProxy kubeproxyv1alpha1.KubeProxyConfiguration
		strict(t, docs["KubeProxyConfiguration"], &kubeProxy)
		if len(kubeProxy.FeatureGates) > 0 && minor < 36 {
			t.Errorf("kube-proxy of 1.%d does not know the gates %v", minor, kubeProxy.FeatureGates)
		}
	})
}

func TestAPIServerFiles(t *testing.T) {
	everyPosture(t, func(t *testing.T, cluster string, minor int) {
		files := emitted(t, cluster)

		var authentication apiserverv1.AuthenticationConfiguration
		strict(t, documents(t, files["bootstrap/control-plane/authentication.yaml"])["AuthenticationConfiguration"], &authentication)
		var paths []string
		for _, c := range authentication.Anonymous.Conditions {
			paths = append(paths, c.Path)
		}
		for _, probe := range []string{"/livez", "/readyz"} {
			if !slices.Contains(paths, probe) {
				t.Errorf("%s is closed, and the kubelet restarts the API server for ever", probe)
			}
		}
		for _, path := range paths {
			if !strings.HasSuffix(path, "z") && path != "/api/v1/namespaces/kube-public/configmaps/cluster-info" {
				t.Errorf("%s answers to anybody", path)
			}
		}

		// AdmissionConfiguration keeps the plug-ins' configurations raw; each is read by its own type.
		admission := documents(t, files["bootstrap/control-plane/admission.yaml"])["AdmissionConfiguration"]
		strict(t, admission, &apiserverv1.AdmissionConfiguration{})
		plugins := map[string]any{}
		for _, p := range admission["plugins"].([]any) {
			plugins[p.(map[string]any)["name"].(string)] = p.(map[string]any)["configuration"]
		}
		var podSecurity podsecurityv1.PodSecurityConfiguration
		strict(t, plugins["PodSecurity"], &podSecurity)
		version := fmt.Sprintf("v1.%d", minor)
		if d := podSecurity.Defaults; d.EnforceVersion != version || d.AuditVersion != version || d.WarnVersion != version {
			t.Errorf("the levels are not pinned to %s: %+v", version, d)
		}
		if !slices.Contains(podSecurity.Exemptions.Namespaces, "kube-system") {
			t.Error("kube-proxy is refused while kube-system has no label yet")
		}
		if len(podSecurity.Exemptions.Usernames) > 0 {
			t.Error("an exempt user name exempts everything that this user makes, such as every DaemonSet")
		}
		if _, ok := plugins["ValidatingAdmissionPolicy"]; ok != (minor >= 37) {
			t.Errorf("static policies: %v; API servers before 1.37 do not start with them", ok)
		} else if ok {
			strict(t, plugins["ValidatingAdmissionPolicy"], &policyconfigv1.ValidatingAdmissionPolicyConfiguration{})
		}
		enabled := args(t, kubeadmDocuments(t, files)["ClusterConfiguration"]["apiServer"])["enable-admission-plugins"]
		if _, ok := plugins["EventRateLimit"]; ok != strings.Contains(enabled, "EventRateLimit") {
			t.Errorf("EventRateLimit: configuration %v, plug-ins %s", ok, enabled)
		}
	})
}

// TestClaims holds each claim to something: a field of the object, a line of the text, or, for what
// kubeadm or Kubernetes does by default, the place where an override would stand, with a note.
func TestClaims(t *testing.T) {
	for _, cluster := range []string{
		`profiles: ["baseline"]`,
		`profiles: ["cis-l2"]`,
		`profiles: ["cis-l2"], cluster: {platform: "kind", kubernetes: "1.35"}`,
		`profiles: ["cis"], kubelet: {proxyMode: "none", serverTLSBootstrap: true}, apiserver: {etcdUser: true, kubeletCertificateAuthority: true}`,
	} {
		out, err := apiserver.New().Generate(generatortest.Posture(t, cluster))
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range out.Artifacts {
			for _, c := range a.Claims {
				if !strings.Contains(a.Text, c.Field) {
					t.Errorf("%s: %s: no line has %q", a.Path, c.Control, c.Field)
				}
			}
			for i, o := range a.Objects {
				b, err := manifest.EncodeObject(o.Value)
				if err != nil {
					t.Fatal(err)
				}
				docs, err := manifest.Decode(b)
				if err != nil {
					t.Fatal(err)
				}
				for _, c := range o.Claims {
					if _, ok := manifest.Lookup(docs[0].Node, c.Field); !ok && c.Note == "" {
						t.Errorf("%s: object %d: %s: nothing is at %s", a.Path, i, c.Control, c.Field)
					}
				}
			}
		}
	}
}

// TestSections holds sections 1 to 4 of the benchmark to be answered by this domain and its
// neighbours: what is left out here is the audit policy's and people's.
func TestSections(t *testing.T) {
	elsewhere := []string{"cis-3.1.1", "cis-3.1.2", "cis-3.1.3", "cis-3.2.2"}
	counts := map[string]int{"1.1": 21, "1.2": 30, "1.3": 7, "1.4": 2, "2": 7, "3.1": 3, "3.2": 2, "4.1": 10, "4.2": 14, "4.3": 1}
	for _, platform := range []string{"kubeadm", "kind"} {
		out, err := apiserver.New().Generate(generatortest.Posture(t, fmt.Sprintf("profiles: [\"cis-l2\"]\ncluster: platform: %q", platform)))
		if err != nil {
			t.Fatal(err)
		}
		claimed := map[string]bool{}
		for _, a := range out.Artifacts {
			for _, c := range a.Claims {
				claimed[c.Control] = true
			}
			for _, o := range a.Objects {
				for _, c := range o.Claims {
					claimed[c.Control] = true
				}
			}
		}
		for section, count := range counts {
			for i := 1; i <= count; i++ {
				id := fmt.Sprintf("cis-%s.%d", section, i)
				if !claimed[id] && !slices.Contains(elsewhere, id) {
					t.Errorf("%s: nothing answers %s", platform, id)
				}
			}
		}
	}
}

// TestPostureIsNotChanged holds generators to share one posture.
func TestPostureIsNotChanged(t *testing.T) {
	p := generatortest.Posture(t, `profiles: ["cis"], cluster: platform: "kind"`)
	before, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := apiserver.New().Generate(p); err != nil {
			t.Fatal(err)
		}
	}
	after, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	if string(before) != string(after) {
		t.Error("the posture was changed")
	}
}

// TestDecisions holds each line that a user is told to write to be complete, and to decide.
func TestDecisions(t *testing.T) {
	open, err := apiserver.New().Generate(generatortest.Posture(t, `profiles: ["cis"]`))
	if err != nil {
		t.Fatal(err)
	}
	if len(open.Undecided) == 0 {
		t.Fatal("nothing is undecided without an identity provider")
	}
	for _, d := range open.Undecided {
		decided, err := apiserver.New().Generate(generatortest.Posture(t, "profiles: [\"cis\"]\n"+d.Line))
		if err != nil {
			t.Fatal(err)
		}
		if slices.ContainsFunc(decided.Undecided, func(still generators.Decision) bool { return still.Line == d.Line }) {
			t.Errorf("%s decides nothing", d.Line)
		}
	}
}
