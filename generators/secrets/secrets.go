package secrets

import (
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/generators"
	"github.com/k8ssec/k8ssec/generators/addons"
)

const domain = "secrets"

// The controls that the objects serve.
var (
	storeControls  = []string{"cis-5.4.2", "nsa-N7"}
	readerControls = []string{"sec-1"}
)

// reviewRole may ask the API server whether a token is good, and nothing else.
const reviewRole = "k8ssec-token-review"

type generator struct{}

// New returns the generator of the domain secrets.
func New() generators.Generator { return generator{} }

// Domain is "secrets".
func (generator) Domain() string { return domain }

// Generate emits what reads the store, what the store has to know, and the page about both.
func (generator) Generate(p *posture.Posture) (*generators.Output, error) {
	out := &generators.Output{}
	if p.Secrets.Install == posture.InstallOff {
		return out, nil
	}
	if !addons.StoreDecided(p) {
		out.Undecided = append(out.Undecided, undecided(p))
		return out, nil
	}
	readers := readersOf(p)
	if p.Secrets.Install == posture.InstallInstall {
		release, err := release(p)
		if err != nil {
			return nil, err
		}
		out.Artifacts = append(out.Artifacts, release...)
	}
	out.Artifacts = append(out.Artifacts, clusterWide(p))
	for _, name := range p.NamespaceNames() {
		if len(p.Namespaces[name].Secrets) > 0 {
			out.Artifacts = append(out.Artifacts, namespace(p, name, readers))
		}
	}
	if len(readers) == 0 {
		out.Undecided = append(out.Undecided, generators.Decision{
			Controls: slices.Concat(storeControls, readerControls, []string{"sec-4"}),
			Line:     readerLine(p),
			Enables:  "the namespace reads that entry of the store as the secret database, as an identity of its own",
		})
	}
	plan, decisions, err := storePlan(p, readers)
	if err != nil {
		return nil, err
	}
	out.Artifacts = append(out.Artifacts, plan...)
	out.Undecided = append(out.Undecided, decisions...)
	page, err := page(p, readers)
	if err != nil {
		return nil, err
	}
	out.Artifacts = append(out.Artifacts, page)
	return out, nil
}

// readerLine is the line that declares the first reader, in the first tenant or in a new one.
func readerLine(p *posture.Posture) string {
	if tenants := p.NamespacesOf("tenant"); len(tenants) > 0 {
		return `namespaces: "` + tenants[0] + `": secrets: database: path: "database"`
	}
	return `namespaces: "team-a": {owner: "team-a", secrets: database: path: "database"}`
}

func undecided(p *posture.Posture) generators.Decision {
	line := `secrets: {provider: "vault", vault: address: "https://vault.internal:8200"}`
	if p.Secrets.Provider == "aws" {
		line = `secrets: aws: {region: "eu-central-1", accountID: "123456789012", oidcProvider: "oidc.eks.eu-central-1.amazonaws.com/id/ABC"}`
	}
	return generators.Decision{
		Controls: []string{"cis-5.4.2", "nsa-N7", "sec-1", "sec-2", "sec-3", "sec-4", "sec-5", "sec-6"},
		Line:     line,
		Enables:  "secrets come from a store outside of the cluster, each namespace's as an identity of its own",
	}
}

// reader is one identity that reads the store: of one namespace, for one purpose.
type reader struct {
	namespace, purpose string
	// entries are the paths that it reads, below the namespace's own prefix, sorted.
	entries []string
}

// account is the service account and the SecretStore of the reader, which share their name.
func (r reader) account() string { return accountPrefix + r.purpose }

// accountPrefix begins the name of each reader's service account; the admission policy goes by it.
const accountPrefix = "secrets-"

// name is the reader's name in the store. No part of it can hold a dot.
func (r reader) name(p *posture.Posture) string {
	return p.Cluster.Name + "." + r.namespace + "." + r.purpose
}

// readersOf are all readers, by namespace and purpose.
func readersOf(p *posture.Posture) []reader {
	var readers []reader
	for _, name := range p.NamespaceNames() {
		byPurpose := map[string][]string{}
		for _, s := range p.Namespaces[name].Secrets {
			if !slices.Contains(byPurpose[s.Purpose], s.Path) {
				byPurpose[s.Purpose] = append(byPurpose[s.Purpose], s.Path)
			}
		}
		for _, purpose := range slices.Sorted(maps.Keys(byPurpose)) {
			slices.Sort(byPurpose[purpose])
			readers = append(readers, reader{name, purpose, byPurpose[purpose]})
		}
	}
	return readers
}

// entry is the whole name of an entry: for Vault the path below the mount, for AWS the secret's name.
func entry(p *posture.Posture, namespace, path string) string {
	if p.Secrets.Provider == "aws" {
		return strings.Trim(p.Secrets.AWS.Prefix, "/") + "/" + namespace + "/" + path
	}
	return p.Cluster.Name + "/" + namespace + "/" + path
}

// namespace is the file of one namespace.
func namespace(p *posture.Posture, name string, readers []reader) generators.Artifact {
	var objects []generators.Object
	for _, r := range readers {
		if r.namespace == name {
			objects = append(objects, r.objects(p)...)
		}
	}
	if subjects := reviewers(p, name, readers); len(subjects) > 0 {
		objects = append(objects, generators.Object{
			Value: &rbacv1.ClusterRoleBinding{
				TypeMeta:   metav1.TypeMeta{APIVersion: rbacv1.SchemeGroupVersion.String(), Kind: "ClusterRoleBinding"},
				ObjectMeta: generators.Meta(domain, "", reviewRole+"-"+name),
				RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: reviewRole},
				Subjects:   subjects,
			},
			Why: "Vault shows the reader's token to the API server, as the reader itself: without this right each log-in is refused.",
		})
	}
	secrets := p.Namespaces[name].Secrets
	for _, secret := range slices.Sorted(maps.Keys(secrets)) {
		objects = append(objects, external(p, name, secret, secrets[secret]))
	}
	return generators.Artifact{
		Path:    "manifests/secrets/" + name + ".yaml",
		Comment: "Which entries of the store " + name + " reads, and as whom. Read by External Secrets.\nThe entries come from namespaces." + name + ".secrets in cluster.cue.",
		Objects: objects,
	}
}

func reviewers(p *posture.Posture, namespace string, readers []reader) []rbacv1.Subject {
	if !clientReviews(p) {
		return nil
	}
	var subjects []rbacv1.Subject
	for _, r := range readers {
		if r.namespace == namespace {
			subjects = append(subjects, rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: r.account()})
		}
	}
	return subjects
}

// clientReviews says whether Vault checks a reader's token with that token itself.
func clientReviews(p *posture.Posture) bool {
	return p.Secrets.Provider == "vault" && p.Secrets.Vault.TokenReviewer == "client"
}

// objects are the reader's service account and store.
func (r reader) objects(p *posture.Posture) []generators.Object {
	never := false
	account := &corev1.ServiceAccount{
		TypeMeta:                     metav1.TypeMeta{APIVersion: "v1", Kind: "ServiceAccount"},
		ObjectMeta:                   generators.Meta(domain, r.namespace, r.account()),
		AutomountServiceAccountToken: &never,
	}
	store := &secretStore{
		TypeMeta:   metav1.TypeMeta{APIVersion: storeAPI, Kind: "SecretStore"},
		ObjectMeta: generators.Meta(domain, r.namespace, r.account()),
	}
	why := "Logs in to Vault with a token of the service account above, which lives ten minutes; Vault's own token for it lives " + tokenTTL(p) + "."
	field := "spec.provider.vault.auth.kubernetes"
	switch {
	case p.Secrets.Provider == "vault":
		store.Spec.Provider.Vault = r.vaultProvider(p)
	case p.Secrets.AWS.Identity == "irsa":
		account.Annotations = map[string]string{"eks.amazonaws.com/role-arn": r.roleARN(p)}
		store.Spec.Provider.AWS = &awsProvider{
			Service: "SecretsManager", Region: p.Secrets.AWS.Region,
			Auth: &awsAuth{JWT: awsJWT{ServiceAccountRef: accountRef{Name: r.account()}}},
		}
		why, field = "Takes on the IAM role that the service account above names, with a token of that account.", "spec.provider.aws.auth"
	default:
		store.Spec.Provider.AWS = &awsProvider{Service: "SecretsManager", Region: p.Secrets.AWS.Region, Role: r.roleARN(p)}
		why, field = "Takes on the IAM role of this reader. EKS Pod Identity gives External Secrets an identity that may read nothing itself, only take on these roles.", "spec.provider.aws.role"
	}
	return []generators.Object{
		{
			Value:  account,
			Why:    "Reads the store for " + r.namespace + " (" + r.purpose + "), and has no rights in the cluster. No pod runs as it.",
			Claims: generators.Claims("automountServiceAccountToken", "sec-1"),
		},
		{Value: store, Why: why, Claims: generators.Claims(field, "sec-1", "nsa-N7")},
	}
}

func tokenTTL(p *posture.Posture) string {
	if p.Secrets.Vault == nil {
		return ""
	}
	return p.Secrets.Vault.TokenTTL
}

// external is the ExternalSecret that makes one secret of the namespace.
func external(p *posture.Posture, namespace, name string, ref posture.SecretRef) generators.Object {
	key := entry(p, namespace, ref.Path)
	deletion := "Retain"
	why := "Makes the secret " + name + " of the entry " + key + " and keeps it equal. It stays when the entry goes."
	if p.Secrets.Deletion == "delete" {
		deletion = "Delete"
		why = "Makes the secret " + name + " of the entry " + key + " and keeps it equal. It goes when the entry goes."
	}
	e := &externalSecret{
		TypeMeta:   metav1.TypeMeta{APIVersion: storeAPI, Kind: "ExternalSecret"},
		ObjectMeta: generators.Meta(domain, namespace, name),
		Spec: externalSpec{
			SecretStoreRef:  objectRef{Kind: "SecretStore", Name: accountPrefix + ref.Purpose},
			RefreshPolicy:   "Periodic",
			RefreshInterval: p.Secrets.Refresh,
			Target:          externalTarget{Name: name, CreationPolicy: "Owner", DeletionPolicy: deletion},
		},
	}
	for _, property := range ref.Keys {
		e.Spec.Data = append(e.Spec.Data, externalData{SecretKey: property, RemoteRef: remoteRef{Key: key, Property: property}})
	}
	if len(ref.Keys) == 0 {
		e.Spec.DataFrom = []externalFrom{{Extract: remoteRef{Key: key}}}
	}
	return generators.Object{
		Value: e, Why: why,
		Claims: append(generators.Claims("spec.secretStoreRef", storeControls...), generators.Claims("spec.refreshInterval", "sec-4")...),
	}
}
