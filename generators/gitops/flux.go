package gitops

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/generators"
)

const (
	kustomizeAPI = "kustomize.toolkit.fluxcd.io/v1"
	sourceAPI    = "source.toolkit.fluxcd.io/v1"
	// controllerAccount is Flux's own, which applies the platform's part.
	controllerAccount = "kustomize-controller"
)

// flux returns the form for Flux: gitops/ is the path that `flux bootstrap` gets, so Flux keeps its
// own components in gitops/flux-system, and applies every file of gitops/ as they do.
func flux(p *posture.Posture) *generators.Output {
	out := &generators.Output{}
	var platform []generators.Object
	for _, w := range active(p) {
		platform = append(platform, fluxWave(p, w))
	}
	out.Artifacts = append(out.Artifacts,
		generators.Artifact{
			Path: "gitops/platform.yaml",
			Comment: "The order in which Flux applies manifests/. Read by Flux's kustomize-controller.\n" +
				"What you add to this folder is applied as well.",
			Objects: platform,
		},
		generators.Artifact{
			Path: "gitops/flux-system/kustomization.yaml",
			Comment: "Flux's own components, hardened. Read by `flux bootstrap` and by Flux itself.\n" +
				"The files that it names come from Flux; docs/gitops.md says how.",
			Objects: []generators.Object{fluxComponents(p)},
		},
	)
	if p.GitOps.URL != "" {
		out.Artifacts = append(out.Artifacts, generators.Artifact{
			Path:    "gitops/flux-system/gotk-sync.yaml",
			Comment: "Where this repository is, and the Kustomization that applies gitops/. Read by Flux.",
			Objects: fluxSync(p),
		})
	}
	for _, name := range tenants(p) {
		out.Artifacts = append(out.Artifacts, generators.Artifact{
			Path:    "manifests/gitops/" + name + ".yaml",
			Comment: "The own Git repository of " + name + ", and how far it reaches. Read by Flux.",
			Objects: fluxTenant(p, name),
		})
	}
	if p.GitOps.VerifyKeys == "" {
		out.Undecided = append(out.Undecided, generators.Decision{
			Controls: []string{"gitops-4"},
			Line:     `gitops: verifyKeys: "git-signers"`,
			Enables:  "Flux applies only commits that are signed by a key in that secret (docs/gitops.md says how to make it)",
		})
	}
	return out
}

func fluxWave(p *posture.Posture, w wave) generators.Object {
	k := &fluxKustomization{
		TypeMeta:   metav1.TypeMeta{APIVersion: kustomizeAPI, Kind: "Kustomization"},
		ObjectMeta: generators.Meta(domain, p.GitOps.Namespace, "k8ssec-"+w.domain),
		Spec: fluxKustomizationSpec{
			Interval:           p.GitOps.Interval,
			RetryInterval:      "2m",
			Timeout:            "5m",
			SourceRef:          sourceRef{Kind: "GitRepository", Name: p.GitOps.SourceName},
			Path:               "./" + at(p, "manifests", w.domain),
			ServiceAccountName: controllerAccount,
			Prune:              p.GitOps.Prune,
			// Flux, or this object, may go without taking the fences with it.
			DeletionPolicy: "Orphan",
			Wait:           !w.loose,
		},
	}
	claims := generators.Claims("spec.serviceAccountName", "gitops-3")
	for _, d := range w.after {
		k.Spec.DependsOn = append(k.Spec.DependsOn, nameRef{"k8ssec-" + d})
	}
	if len(w.after) > 0 {
		claims = append(claims, generators.Claim{Control: "gitops-2", Field: "spec.dependsOn"})
	}
	if p.GitOps.Prune {
		claims = append(claims, generators.Claims("spec.prune", "gitops-1", "nsa-U3")...)
	}
	return generators.Object{Value: k, Why: w.why, Claims: claims}
}

// fluxSync is what `flux bootstrap` writes to the same file, where the URL is known beforehand: then
// Flux needs no right to write to the repository.
func fluxSync(p *posture.Posture) []generators.Object {
	repository := &gitRepository{
		TypeMeta:   metav1.TypeMeta{APIVersion: sourceAPI, Kind: "GitRepository"},
		ObjectMeta: generators.Meta(domain, p.GitOps.Namespace, p.GitOps.SourceName),
		Spec: gitRepositorySpec{
			URL:       p.GitOps.URL,
			Reference: gitRef{Branch: p.GitOps.Branch},
			Interval:  "1m",
			Timeout:   "60s",
		},
	}
	if name := sourceSecret(p); name != "" {
		repository.Spec.SecretRef = &nameRef{name}
	}
	why := "Where this repository is fetched from, once a minute."
	var claims []generators.Claim
	if p.GitOps.VerifyKeys != "" {
		repository.Spec.Verify = &gitVerify{Mode: "HEAD", SecretRef: nameRef{p.GitOps.VerifyKeys}}
		why += " A commit without a signature by one of the keys is not applied."
		claims = generators.Claims("spec.verify", "gitops-4")
	}
	root := &fluxKustomization{
		TypeMeta:   metav1.TypeMeta{APIVersion: kustomizeAPI, Kind: "Kustomization"},
		ObjectMeta: generators.Meta(domain, p.GitOps.Namespace, p.GitOps.Namespace),
		Spec: fluxKustomizationSpec{
			Interval:           p.GitOps.Interval,
			SourceRef:          sourceRef{Kind: "GitRepository", Name: p.GitOps.SourceName},
			Path:               "./" + at(p, "gitops"),
			ServiceAccountName: controllerAccount,
			Prune:              true,
			DeletionPolicy:     "Orphan",
		},
	}
	return []generators.Object{
		{Value: repository, Why: why, Claims: claims},
		{Value: root, Why: "Applies everything in gitops/: Flux itself, and the order of the rest.", Claims: generators.Claims("spec.serviceAccountName", "gitops-3")},
	}
}

// sourceSecret is the secret with the credentials for the repository, or empty.
func sourceSecret(p *posture.Posture) string {
	if p.GitOps.SecretRef == "" && strings.HasPrefix(p.GitOps.URL, "ssh://") {
		return p.GitOps.SourceName
	}
	return p.GitOps.SecretRef
}

// fluxComponents patches what Flux installs of itself.
func fluxComponents(p *posture.Posture) generators.Object {
	file := &kustomizeFile{
		TypeMeta:  metav1.TypeMeta{APIVersion: "kustomize.config.k8s.io/v1beta1", Kind: "Kustomization"},
		Resources: []string{"gotk-components.yaml", "gotk-sync.yaml"},
	}
	why := []string{"What each patch does, in order:"}
	var claims []generators.Claim
	add := func(kind, name, patch, reason string, controls ...string) {
		n := len(file.Patches)
		file.Patches = append(file.Patches, kustomizePatch{Target: kustomizeTarget{Kind: kind, Name: name}, Patch: patch})
		why = append(why, strconv.Itoa(n)+". "+reason)
		claims = append(claims, generators.Claims("patches["+strconv.Itoa(n)+"].patch", controls...)...)
	}
	add("Deployment", "(kustomize-controller|helm-controller|notification-controller|image-reflector-controller|image-automation-controller)",
		argument("--no-cross-namespace-refs=true"),
		"No object may refer to a source, or send events, in another namespace: a tenant could otherwise deploy from the platform's repository.",
		"gitops-5")
	add("Deployment", "kustomize-controller",
		argument("--no-remote-bases=true"),
		"No base from the network: what is applied is what was reviewed, from a source that is declared.",
		"gitops-5")
	add("Deployment", "(kustomize-controller|helm-controller)",
		argument("--default-service-account=default"),
		"What names no service account is applied as the account default of its namespace, which may do nothing. Without this it would be applied as cluster-admin.",
		"gitops-3")
	add("Kustomization", p.GitOps.Namespace,
		"- op: add\n  path: /spec/serviceAccountName\n  value: "+controllerAccount+"\n",
		"Flux's own Kustomization names the account with Flux's rights, because the default has none any more.",
		"gitops-3")
	if ns, ok := p.Namespaces[p.GitOps.Namespace]; ok {
		add("Namespace", p.GitOps.Namespace,
			namespacePatch(p, ns),
			"The labels that each namespace of this cluster has. They are here and not in manifests/namespaces, because only one Kustomization may apply an object.")
		n := len(file.Patches) - 1
		claims = append(claims, generators.Claims("patches["+strconv.Itoa(n)+"].patch", "cis-5.2.1", "ns-1", "ns-2", "ns-3", "ns-4")...)
	}
	if p.Network.DefaultDeny {
		add("NetworkPolicy", "",
			"$patch: delete\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:\n  name: all\n",
			"Flux's own network policies go: they allow all egress, and policies add up. Those in manifests/network/"+p.GitOps.Namespace+".yaml take their place.",
			"net-1")
	}
	if p.GitOps.URL == "" && p.GitOps.VerifyKeys != "" {
		add("GitRepository", p.GitOps.SourceName,
			"- op: add\n  path: /spec/verify\n  value:\n    mode: HEAD\n    secretRef:\n      name: "+p.GitOps.VerifyKeys+"\n",
			"A commit without a signature by one of the keys in that secret is not applied.",
			"gitops-4")
	}
	return generators.Object{Value: file, Why: strings.Join(why, "\n"), Claims: claims}
}

// argument appends one argument to the first container of a Deployment.
func argument(value string) string {
	return "- op: add\n  path: /spec/template/spec/containers/0/args/-\n  value: " + value + "\n"
}

func namespacePatch(p *posture.Posture, ns posture.Namespace) string {
	var b strings.Builder
	b.WriteString("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: " + p.GitOps.Namespace + "\n")
	for _, m := range []struct {
		key    string
		values map[string]string
	}{{"labels", generators.NamespaceLabels(p, ns)}, {"annotations", generators.NamespaceAnnotations(p, ns)}} {
		b.WriteString("  " + m.key + ":\n")
		for _, k := range slices.Sorted(maps.Keys(m.values)) {
			b.WriteString("    " + k + ": " + strconv.Quote(m.values[k]) + "\n")
		}
	}
	return b.String()
}

// fluxTenant is a tenant's own repository. Everything in it is applied as a service account of the
// tenant's, into the tenant's namespace alone.
func fluxTenant(p *posture.Posture, name string) []generators.Object {
	source := p.Namespaces[name].GitSource
	repository := &gitRepository{
		TypeMeta:   metav1.TypeMeta{APIVersion: sourceAPI, Kind: "GitRepository"},
		ObjectMeta: generators.Meta(domain, name, "tenant"),
		Spec: gitRepositorySpec{
			URL:       source.URL,
			Reference: gitRef{Branch: source.Branch},
			Interval:  "1m",
			Timeout:   "60s",
		},
	}
	if source.SecretRef != "" {
		repository.Spec.SecretRef = &nameRef{source.SecretRef}
	}
	kustomization := &fluxKustomization{
		TypeMeta:   metav1.TypeMeta{APIVersion: kustomizeAPI, Kind: "Kustomization"},
		ObjectMeta: generators.Meta(domain, name, "tenant"),
		Spec: fluxKustomizationSpec{
			Interval:           p.GitOps.Interval,
			RetryInterval:      "2m",
			Timeout:            "5m",
			SourceRef:          sourceRef{Kind: "GitRepository", Name: "tenant"},
			Path:               tenantPath(source.Path),
			TargetNamespace:    name,
			ServiceAccountName: generators.DeployerAccount,
			Prune:              true,
			DeletionPolicy:     "Orphan",
		},
	}
	return []generators.Object{
		{Value: repository, Why: "The tenant's own repository: its content is the tenant's, its reach is bounded below."},
		{
			Value: kustomization,
			Why: "Applied as " + generators.DeployerAccount + ", which may deploy workloads into " + name + " and nothing else: " +
				"whatever the repository holds, it cannot leave the namespace, read secrets or change RBAC.",
			Claims: generators.Claims("spec.serviceAccountName", "gitops-3", "nsa-A3"),
		},
	}
}
