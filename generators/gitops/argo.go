package gitops

import (
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/generators"
	"github.com/k8ssec/k8ssec/generators/addons"
)

const (
	argoAPI     = "argoproj.io/v1alpha1"
	argoProject = "k8ssec"
	inCluster   = "https://kubernetes.default.svc"
	waveKey     = "argocd.argoproj.io/sync-wave"
)

// argo returns the form for Argo CD: one Application that applies gitops/, and in it one for each
// folder below manifests/. It needs the URL of this repository, so it is empty without.
func argo(p *posture.Posture) (*generators.Output, error) {
	out := &generators.Output{}
	if p.GitOps.URL == "" {
		out.Undecided = append(out.Undecided, generators.Decision{
			Controls: []string{"gitops-1", "gitops-2", "gitops-3", "gitops-5", "nsa-U3"},
			Line:     `gitops: url: "ssh://git@git.internal/platform/` + p.Cluster.Name + `.git"`,
			Enables:  "the Applications that apply this repository; until then nothing of it reaches the cluster",
		})
		return out, nil
	}
	applications := []generators.Object{{
		Value: argoApplication(p, "k8ssec", "", at(p, "gitops")),
		Why:   "Applies this folder: the settings of Argo CD, the projects, and the Applications below in the order of their waves.",
	}}
	for _, w := range active(p) {
		object := generators.Object{
			Value:  argoApplication(p, "k8ssec-"+w.domain, w.number, at(p, "manifests", w.domain)),
			Why:    w.why,
			Claims: generators.Claims("metadata.annotations["+waveKey+"]", "gitops-2"),
		}
		if p.GitOps.Prune {
			object.Claims = append(object.Claims, generators.Claims("spec.syncPolicy.automated.prune", "gitops-1", "nsa-U3")...)
		}
		applications = append(applications, object)
	}
	projects := []generators.Object{argoDefaultProject(p), argoPlatformProject(p)}
	if installed := addons.Installed(p); len(installed) > 0 {
		project, err := argoAddonProject(p, installed)
		if err != nil {
			return nil, err
		}
		projects = append(projects, project)
	}
	out.Artifacts = append(out.Artifacts,
		generators.Artifact{
			Path:    "gitops/argocd-cm.yaml",
			Comment: "Two settings of Argo CD, added to its own ConfigMap by server-side apply. Read by all of its components.",
			Objects: []generators.Object{argoSettings(p)},
		},
		generators.Artifact{
			Path:    "gitops/projects.yaml",
			Comment: "What may be applied from where, and as whom. Read by Argo CD.",
			Objects: projects,
		},
		generators.Artifact{
			Path:    "gitops/applications.yaml",
			Comment: "The order in which Argo CD applies manifests/. Read by Argo CD's application controller.",
			Objects: applications,
		},
	)
	for _, name := range tenants(p) {
		out.Artifacts = append(out.Artifacts, generators.Artifact{
			Path:    "manifests/gitops/" + name + ".yaml",
			Comment: "The own Git repository of " + name + ", and how far it reaches. Read by Argo CD.",
			Objects: argoTenant(p, name),
		})
	}
	return out, nil
}

// argoApplication is an Application of the platform. It has no finalizer: deleting it leaves what it
// applied where it is.
func argoApplication(p *posture.Posture, name, wave, from string) *application {
	a := &application{
		TypeMeta:   metav1.TypeMeta{APIVersion: argoAPI, Kind: "Application"},
		ObjectMeta: generators.Meta(domain, p.GitOps.Namespace, name),
		Spec: applicationSpec{
			Project:     argoProject,
			Source:      applicationSource{RepoURL: p.GitOps.URL, TargetRevision: p.GitOps.Branch, Path: from},
			Destination: destination{Server: inCluster},
			SyncPolicy: syncPolicy{
				Automated:   automated{Prune: p.GitOps.Prune, SelfHeal: true},
				SyncOptions: []string{"ServerSideApply=true", "CreateNamespace=false", "PruneLast=true"},
				Retry:       retry{Limit: -1, Backoff: backoff{Duration: "30s", Factor: 2, MaxDuration: "5m"}},
			},
		},
	}
	if wave != "" {
		a.Annotations = map[string]string{waveKey: wave}
	}
	return a
}

// health is Argo CD's own script for Applications; it was taken out of the defaults in 1.8, and
// without it the waves of Applications do not wait for one another.
const health = `hs = {}
hs.status = "Progressing"
hs.message = ""
if obj.status ~= nil then
  if obj.status.health ~= nil then
    hs.status = obj.status.health.status
    if obj.status.health.message ~= nil then
      hs.message = obj.status.health.message
    end
  end
end
return hs
`

func argoSettings(p *posture.Posture) generators.Object {
	return generators.Object{
		Value: &corev1.ConfigMap{
			TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
			ObjectMeta: metav1.ObjectMeta{
				Name:      "argocd-cm",
				Namespace: p.GitOps.Namespace,
				// Argo CD reads only ConfigMaps with this label. It is not marked as managed by
				// k8ssec: it belongs to whoever installed Argo CD.
				Labels:      map[string]string{"app.kubernetes.io/name": "argocd-cm", "app.kubernetes.io/part-of": "argocd"},
				Annotations: map[string]string{"argocd.argoproj.io/sync-options": "ServerSideApply=true,Prune=false,Delete=false", waveKey: "-1"},
			},
			Data: map[string]string{
				"application.sync.impersonation.enabled":                 "true",
				"resource.customizations.health.argoproj.io_Application": health,
			},
		},
		Why: "Impersonation: each Application is applied as the service account that its project names, and not as Argo CD, which may do everything. " +
			"Health: a wave begins when the Applications of the one before are healthy.",
		Claims: append(generators.Claims("data[application.sync.impersonation.enabled]", "gitops-3"),
			generators.Claims("data[resource.customizations.health.argoproj.io_Application]", "gitops-2")...),
	}
}

func argoMeta(p *posture.Posture, name string) metav1.ObjectMeta {
	meta := generators.Meta(domain, p.GitOps.Namespace, name)
	meta.Annotations = map[string]string{waveKey: "-1"}
	return meta
}

// argoDefaultProject closes the project that Argo CD creates by itself.
func argoDefaultProject(p *posture.Posture) generators.Object {
	return generators.Object{
		Value: &appProject{
			TypeMeta:   metav1.TypeMeta{APIVersion: argoAPI, Kind: "AppProject"},
			ObjectMeta: argoMeta(p, "default"),
			Spec: appProjectSpec{
				Description:              "Closed: each Application names a project of its own.",
				SourceRepos:              []string{},
				Destinations:             []destination{},
				ClusterResourceWhitelist: []groupKind{},
			},
		},
		Why:    "Argo CD's own default project allows anything from anywhere to everywhere. An Application that names no project ends up here, so nothing is allowed.",
		Claims: generators.Claims("spec", "gitops-5"),
	}
}

func argoPlatformProject(p *posture.Posture) generators.Object {
	return generators.Object{
		Value: &appProject{
			TypeMeta:   metav1.TypeMeta{APIVersion: argoAPI, Kind: "AppProject"},
			ObjectMeta: argoMeta(p, argoProject),
			Spec: appProjectSpec{
				Description:              "The platform: this repository.",
				SourceRepos:              []string{p.GitOps.URL},
				Destinations:             []destination{{Server: inCluster, Namespace: "*"}},
				ClusterResourceWhitelist: []groupKind{{Group: "*", Kind: "*"}},
				DestinationServiceAccounts: []destinationServiceAcc{{
					Server: inCluster, Namespace: "*", DefaultServiceAccount: p.GitOps.Namespace + ":argocd-application-controller",
				}},
			},
		},
		Why: "This repository, and no other, may change all of the cluster: it holds the RBAC and the policies. " +
			"Only who may merge to its branch may use this project.",
		Claims: generators.Claims("spec.sourceRepos", "gitops-5"),
	}
}

// argoAddonProject is the project of the add-ons: their charts and no others, into their namespaces.
func argoAddonProject(p *posture.Posture, installed []addons.Addon) (generators.Object, error) {
	var none generators.Object
	var from []string
	var to []destination
	for _, a := range installed {
		pin, err := addons.Lookup(a.Name)
		if err != nil {
			return none, err
		}
		from = append(from, pin.Chart.URL)
		to = append(to, destination{Server: inCluster, Namespace: a.Namespace})
	}
	slices.Sort(from)
	return generators.Object{
		Value: &appProject{
			TypeMeta:   metav1.TypeMeta{APIVersion: argoAPI, Kind: "AppProject"},
			ObjectMeta: argoMeta(p, addons.ArgoProject),
			Spec: appProjectSpec{
				Description:              "The add-ons: the charts that this repository pins.",
				SourceRepos:              slices.Compact(from),
				Destinations:             to,
				ClusterResourceWhitelist: []groupKind{{Group: "*", Kind: "*"}},
				DestinationServiceAccounts: []destinationServiceAcc{{
					Server: inCluster, Namespace: "*", DefaultServiceAccount: p.GitOps.Namespace + ":argocd-application-controller",
				}},
			},
		},
		Why:    "Charts bring cluster-wide roles and CRDs, so this project may write them, but only what comes from these charts.",
		Claims: generators.Claims("spec.sourceRepos", "gitops-5"),
	}, nil
}

// argoTenant is a tenant's own repository, with a project of its own.
func argoTenant(p *posture.Posture, name string) []generators.Object {
	source := p.Namespaces[name].GitSource
	project := "tenant-" + name
	app := argoApplication(p, project, "", path.Clean(strings.TrimPrefix(source.Path, "/")))
	app.Spec.Project = project
	app.Spec.Source.RepoURL, app.Spec.Source.TargetRevision = source.URL, source.Branch
	app.Spec.Destination.Namespace = name
	app.Spec.SyncPolicy.Automated.Prune = true
	return []generators.Object{
		{
			Value: &appProject{
				TypeMeta:   metav1.TypeMeta{APIVersion: argoAPI, Kind: "AppProject"},
				ObjectMeta: argoMeta(p, project),
				Spec: appProjectSpec{
					Description:              "The tenant " + name + ": its own repository, its own namespace.",
					SourceRepos:              []string{source.URL},
					Destinations:             []destination{{Server: inCluster, Namespace: name}},
					ClusterResourceWhitelist: []groupKind{},
					DestinationServiceAccounts: []destinationServiceAcc{{
						Server: inCluster, Namespace: name, DefaultServiceAccount: name + ":" + generators.DeployerAccount,
					}},
				},
			},
			Why: "The tenant's repository reaches its own namespace, nothing of the whole cluster, and is applied as " + generators.DeployerAccount +
				", which may deploy workloads and nothing else.",
			Claims: append(generators.Claims("spec.destinationServiceAccounts", "gitops-3", "nsa-A3"), generators.Claims("spec.destinations", "gitops-5")...),
		},
		{Value: app, Why: "The tenant's own repository: its content is the tenant's, its reach is bounded by the project."},
	}
}
