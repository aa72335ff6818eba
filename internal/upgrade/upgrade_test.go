package upgrade

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"k8s.io/client-go/rest"
)

func TestCheck(t *testing.T) {
	for _, test := range []struct {
		from, to int
		want     string
	}{
		{36, 37, ""}, {34, 35, ""}, {35, 37, "go to 1.36 first"}, {34, 37, "go to 1.35 first"}, {37, 37, "already"}, {37, 36, "no way back"}, {37, 38, "no plan is known"},
	} {
		err := Check(test.from, test.to)
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%d to %d: %v, want %q", test.from, test.to, err, test.want)
		}
	}
	for version, want := range map[string]int{"1.37": 37, "v1.36.3": 36, "1.9-gke": -1, "2.1": -1, "x": -1, "1.x": -1} {
		if minor, err := ParseMinor(version); (err == nil) != (want >= 0) || err == nil && minor != want {
			t.Errorf("%s is %d, %v", version, minor, err)
		}
	}
}

// TestSteps holds the data together: each minor once, no gate or flag twice, and something to do for
// each change.
func TestSteps(t *testing.T) {
	var minors []int
	gates, flags := map[string]int{}, map[Flag]int{}
	for _, s := range steps() {
		minors = append(minors, s.Minor)
		if s.Source == "" {
			t.Errorf("1.%d has no source", s.Minor)
		}
		for _, g := range s.Gates {
			if other, ok := gates[g]; ok {
				t.Errorf("%s is gone in 1.%d and 1.%d", g, other, s.Minor)
			}
			gates[g] = s.Minor
		}
		for _, f := range s.Flags {
			if other, ok := flags[f]; ok {
				t.Errorf("%v is gone in 1.%d and 1.%d", f, other, s.Minor)
			}
			flags[f] = s.Minor
		}
		for _, a := range s.APIs {
			if a.Instead == "" || !strings.Contains(a.GroupVersion, "/v") {
				t.Errorf("1.%d: %+v", s.Minor, a)
			}
		}
		for _, c := range s.Changes {
			if c.Text == "" || c.Fix == "" || !slices.Contains([]Level{Blocking, Risky, Information}, c.Level) {
				t.Errorf("1.%d: %+v", s.Minor, c)
			}
		}
		for _, g := range s.Locked {
			if _, ok := gates[g]; ok {
				t.Errorf("%s is locked in 1.%d and gone", g, s.Minor)
			}
		}
	}
	if !slices.Equal(minors, []int{34, 35, 36, 37}) {
		t.Errorf("steps %v", minors)
	}
	if len(gates) != 5+11+9+27 || len(flags) != 2+1+18+1 {
		t.Errorf("%d gates, %d flags", len(gates), len(flags))
	}
}

func TestScan(t *testing.T) {
	for _, test := range []struct {
		name, file, text string
		from, to         int
		want             []string // "level line: part of the message"
	}{
		{
			"an API that goes away", "apps/trust.yaml", "# x\napiVersion: certificates.k8s.io/v1alpha1\nkind: ClusterTrustBundle\nmetadata:\n  name: a\nspec:\n  trustBundle: x\n", 36, 37,
			[]string{"blocking 2: ClusterTrustBundle of certificates.k8s.io/v1alpha1 is no longer served in 1.37"},
		},
		{"one that stays", "apps/a.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n", 36, 37, nil},
		{
			"one that went before is still wrong", "apps/p.yaml", "apiVersion: admissionregistration.k8s.io/v1beta1\nkind: ValidatingAdmissionPolicy\nmetadata: {name: a}\n", 35, 36,
			[]string{"blocking 1: ValidatingAdmissionPolicy of admissionregistration.k8s.io/v1beta1"},
		},
		{
			"kubeadm's configuration", "bootstrap/extra.yaml", "apiVersion: kubeadm.k8s.io/v1beta3\nkind: ClusterConfiguration\n", 36, 37,
			[]string{"blocking 1: ClusterConfiguration of kubeadm.k8s.io/v1beta3"},
		},
		{
			"a gate in a KubeletConfiguration", "patches/kubelet.yaml", "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nfeatureGates:\n  SidecarContainers: true\n  Other: true\n", 36, 37,
			[]string{"blocking 4: the feature gate SidecarContainers does not exist from 1.37 on"},
		},
		{
			"gates and flags in kubeadm's arguments", "patches/kubeadm.yaml",
			"apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\ncontrollerManager:\n  extraArgs:\n  - name: concurrent-service-syncs\n    value: \"2\"\n  - name: feature-gates\n    value: A=true,MemoryManager=true\n", 36, 37,
			[]string{"blocking 5: kube-controller-manager has no flag --concurrent-service-syncs", "blocking 7: the feature gate MemoryManager"},
		},
		{"the same flag of another component", "patches/kubeadm.yaml", "apiServer:\n  extraArgs:\n  - name: concurrent-service-syncs\n    value: \"2\"\n", 36, 37, nil},
		{"a flag that a later minor drops", "patches/kubeadm.yaml", "controllerManager:\n  extraArgs:\n  - name: concurrent-service-syncs\n    value: \"2\"\n", 35, 36, nil},
		{
			"a unit of systemd", "node/kubelet.conf", "[Service]\n# --pod-infra-container-image=x\nEnvironment=\"KUBELET_EXTRA_ARGS=--pod-infra-container-image=x --containerd=/run\"\n", 36, 37,
			[]string{"blocking 3: kubelet has no flag --containerd from 1.37", "blocking 3: kubelet has no flag --pod-infra-container-image from 1.35"},
		},
		{"somebody else's --containerd", "node/x.sh", "crictl --containerd=/run\n", 36, 37, nil},
		{
			"values of Helm", "apps/values.yaml", "kubelet:\n  args: \"--feature-gates=JobSuccessPolicy=true\"\n", 36, 37,
			[]string{"blocking 2: the feature gate JobSuccessPolicy"},
		},
		{
			"a template that is no YAML", "chart/templates/x.yaml", "{{ if .x }}\napiVersion: storage.k8s.io/v1beta1\n{{ end }}\napiVersion: scheduling.k8s.io/v1alpha2\nkind: Workload\n", 36, 37,
			[]string{"blocking 4: of scheduling.k8s.io/v1alpha2 is no longer served"},
		},
		{
			"a gate that is locked", "patches/kubelet.yaml", "kind: KubeletConfiguration\napiVersion: kubelet.config.k8s.io/v1beta1\nfeatureGates:\n  HostnameOverride: false\n", 36, 37,
			[]string{"risky 4: the feature gate HostnameOverride is locked"},
		},
		{"pages are no configuration", "docs/x.md", "--pod-infra-container-image SidecarContainers=true\n", 36, 37, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			found := Scan(map[string][]byte{test.file: []byte(test.text)}, test.from, test.to)
			var got []string
			for _, f := range found {
				got = append(got, fmt.Sprintf("%s %d: %s", f.Level, f.Line, f.Message))
				if f.Where != test.file {
					t.Errorf("it is in %s", f.Where)
				}
			}
			ok := len(got) == len(test.want)
			for i := range min(len(got), len(test.want)) {
				level, message, _ := strings.Cut(test.want[i], ": ")
				ok = ok && strings.HasPrefix(got[i], level+": ") && strings.Contains(got[i], message)
			}
			if !ok {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// TestCluster reads the answers of an API server, in its own format. The rehearsal on a real one is in
// e2e.
func TestCluster(t *testing.T) {
	answers := map[string]string{
		"/version": `{"major":"1","minor":"36","gitVersion":"v1.36.3"}`,
		"/metrics": "# HELP x\napiserver_requested_deprecated_apis{group=\"networking.k8s.io\",removed_release=\"1.37\",resource=\"ipaddresses\",subresource=\"\",version=\"v1beta1\"} 1\n" +
			"apiserver_requested_deprecated_apis{group=\"resource.k8s.io\",removed_release=\"1.39\",resource=\"x\",subresource=\"\",version=\"v1beta2\"} 1\n",
		"/api/v1/nodes": `{"items":[{"metadata":{"name":"old"},"spec":{},"status":{"nodeInfo":{"kubeletVersion":"v1.33.2","containerRuntimeVersion":"containerd://1.7.2"},"conditions":[{"type":"Ready","status":"True"}]}},
			{"metadata":{"name":"last"},"spec":{"unschedulable":true},"status":{"nodeInfo":{"kubeletVersion":"v1.34.0","containerRuntimeVersion":"containerd://2.1.0"},"conditions":[{"type":"Ready","status":"Unknown"}]}}]}`,
		"/apis/policy/v1/poddisruptionbudgets": `{"items":[{"metadata":{"name":"db","namespace":"a"},"status":{"disruptionsAllowed":0,"expectedPods":1}},{"metadata":{"name":"ok","namespace":"a"},"status":{"disruptionsAllowed":1,"expectedPods":2}}]}`,
		"/api/v1/namespaces/kube-system/pods": `{"items":[{"metadata":{"name":"etcd-cp"},"spec":{"containers":[{"name":"etcd","image":"registry.k8s.io/etcd:3.6.8-0","command":["etcd"]}]}},
			{"metadata":{"name":"kcm-cp"},"spec":{"containers":[{"name":"kube-controller-manager","image":"x:1","command":["kube-controller-manager","--concurrent-service-syncs=2"]}]}}]}`,
		"/api/v1/namespaces/kube-system/configmaps": `{"items":[{"metadata":{"name":"kubelet-config"},"data":{"kubelet":"kind: KubeletConfiguration\nfeatureGates:\n  SidecarContainers: true\n"}},{"metadata":{"name":"other"},"data":{"x":"featureGates: {SidecarContainers: true}"}}]}`,
		"/api/v1/namespaces":                        `{"items":[{"metadata":{"name":"a","labels":{"pod-security.kubernetes.io/enforce":"restricted"}}},{"metadata":{"name":"b"}}]}`,
	}
	var patched []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPatch {
			patched = append(patched, r.URL.String())
			if r.URL.Query().Get("dryRun") != "All" {
				t.Errorf("%s changes the cluster", r.URL)
			}
			w.Header().Add("Warning", `299 - "existing pods in namespace \"a\" violate the new PodSecurity enforce level \"restricted:v1.37\""`)
			fmt.Fprint(w, "{}")
			return
		}
		if r.Method != http.MethodGet {
			t.Errorf("%s %s", r.Method, r.URL)
		}
		text, ok := answers[r.URL.Path]
		if !ok {
			http.Error(w, `{"message":"forbidden"}`, http.StatusForbidden)
			return
		}
		fmt.Fprint(w, text)
	}))
	defer server.Close()
	c, err := newCluster(&rest.Config{Host: server.URL}, "test")
	if err != nil {
		t.Fatal(err)
	}
	scan := func() string {
		found, err := c.Scan(context.Background(), 36, 37)
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		for _, f := range found {
			fmt.Fprintf(&b, "%s | %s | %s\n", f.Level, f.Where, f.Message)
		}
		return b.String()
	}
	got := scan()
	for _, want := range []string{
		"blocking | the API server | networking.k8s.io/v1beta1 ipaddresses was asked for, and goes away in 1.37",
		"information | the API server | resource.k8s.io/v1beta2 x was asked for",
		"blocking | Node old | the kubelet is v1.33.2: more than three minors behind 1.37",
		"information | Node old | containerd://1.7.2",
		"risky | Node last | the kubelet is v1.34.0: it must be upgraded before the step after",
		"risky | Node last | the node is cordoned",
		"blocking | Node last | the node is not ready",
		"risky | PodDisruptionBudget a/db",
		"blocking | Pod kube-system/etcd-cp | etcd is 3.6.8",
		"blocking | Pod kube-system/kcm-cp | kube-controller-manager has no flag --concurrent-service-syncs",
		"blocking | ConfigMap kube-system/kubelet-config | kubelet, line 3: the feature gate SidecarContainers",
		`risky | Namespace a | existing pods in namespace "a" violate`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("not found: %s\n%s", want, got)
		}
	}
	if n := strings.Count(got, "\n"); n != 12 {
		t.Errorf("%d findings\n%s", n, got)
	}
	if len(patched) != 1 {
		t.Errorf("patched %v", patched)
	}
	// What may not be read is said, and another version than the cluster file's stands in the way.
	delete(answers, "/metrics")
	answers["/version"] = `{"gitVersion":"v1.35.4"}`
	got = scan()
	for _, want := range []string{"deprecated APIs in use (/metrics) could not be looked at: /metrics answers 403: forbidden", "the cluster runs v1.35.4, and cluster.cue says 1.36"} {
		if !strings.Contains(got, want) {
			t.Errorf("not found: %s\n%s", want, got)
		}
	}
	delete(answers, "/version")
	if _, err := c.Scan(context.Background(), 36, 37); err == nil {
		t.Error("a cluster that does not answer is scanned")
	}
}
