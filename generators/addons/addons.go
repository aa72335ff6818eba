package addons

import (
	"slices"

	"github.com/k8ssec/k8ssec/cue/posture"
)

// Addon is one component that GitOps installs.
type Addon struct {
	// Name is that of its pin, of its release, and of its folder manifests/addon-<name>.
	Name string
	// Namespace is where its pods run; cue/posture/defaults.cue has the entry.
	Namespace string
	// Domain calls Release for it.
	Domain string
	// After are add-ons that must be there before, where they are installed.
	After []string
	// Why is for the person who reads the order.
	Why string
	// Drift says what is done about changes that others make to it.
	Drift Drift
	when  func(*posture.Posture) bool
}

// Drift is what is done about changes that others make to an installed chart, in Flux's words.
type Drift string

const (
	// DriftCorrect puts them right.
	DriftCorrect Drift = "enabled"
	// DriftWarn says so in an event, for charts whose own controllers write to what the chart made.
	DriftWarn Drift = "warn"
)

// Folder is the folder below manifests/ that installs the add-on.
func (a Addon) Folder() string { return "addon-" + a.Name }

// table are all add-ons, by name.
func table() []Addon {
	return []Addon{
		{
			Name: "cert-manager", Namespace: "cert-manager", Domain: "encryption", Drift: DriftCorrect,
			Why:  "Issues and renews certificates inside the cluster.",
			when: func(p *posture.Posture) bool { return p.Encryption.CertManager == posture.InstallInstall },
		},
		{
			Name: "external-secrets", Namespace: "external-secrets", Domain: "secrets", Drift: DriftCorrect,
			Why:  "External Secrets, which copies entries of the secret store into secrets of the namespaces that declare them.",
			when: func(p *posture.Posture) bool { return p.Secrets.Install == posture.InstallInstall && StoreDecided(p) },
		},
		{
			Name: "falco", Namespace: "falco", Domain: "runtime", Drift: DriftCorrect,
			Why: "Falco, which reports suspicious system calls.",
			when: func(p *posture.Posture) bool {
				return p.Runtime.Detector == "falco" && p.Runtime.Install == posture.InstallInstall
			},
		},
		{
			Name: "kube-prometheus-stack", Namespace: "monitoring", Domain: "alerts", Drift: DriftWarn,
			Why:  "Prometheus, Alertmanager and what they need: without them a rule is a text.",
			when: func(p *posture.Posture) bool { return p.Alerts.Install == posture.InstallInstall },
		},
		{
			Name: "kyverno", Namespace: "kyverno", Domain: "images", Drift: DriftCorrect,
			Why:  "Kyverno, which checks the signatures of images before a tenant runs them.",
			when: func(p *posture.Posture) bool { return p.Images.Verify == "kyverno" && len(p.Images.Signers) > 0 },
		},
		{
			// Its controller fills in the rules of its own webhooks.
			Name: "policy-controller", Namespace: "cosign-system", Domain: "images", Drift: DriftWarn,
			Why: "Sigstore's policy controller, which checks the signatures of images before a tenant runs them.",
			when: func(p *posture.Posture) bool {
				return p.Images.Verify == "policy-controller" && len(p.Images.Signers) > 0
			},
		},
		{
			// The operator writes to its own daemon and webhook.
			Name: "security-profiles-operator", Namespace: "security-profiles-operator", Domain: "runtime", Drift: DriftWarn,
			After: []string{"cert-manager"},
			Why:   "The Security Profiles Operator, which writes seccomp profiles on each node.",
			when:  func(p *posture.Posture) bool { return p.Runtime.SecurityProfiles == posture.InstallInstall },
		},
		{
			Name: "tetragon", Namespace: "tetragon", Domain: "runtime", Drift: DriftCorrect,
			Why: "Tetragon, which reports suspicious acts in the kernel.",
			when: func(p *posture.Posture) bool {
				return p.Runtime.Detector == "tetragon" && p.Runtime.Install == posture.InstallInstall
			},
		},
		{
			Name: "trivy-operator", Namespace: "trivy-system", Domain: "images", Drift: DriftCorrect,
			Why:  "The Trivy Operator, which looks for known vulnerabilities in what runs.",
			when: func(p *posture.Posture) bool { return p.Images.Scanner == posture.InstallInstall },
		},
		{
			Name: "velero", Namespace: "velero", Domain: "backup", Drift: DriftCorrect,
			Why: "Velero, which backs up namespaces with their volumes, and restores them.",
			when: func(p *posture.Posture) bool {
				return p.Backup.Install == posture.InstallInstall && p.Backup.Location != nil
			},
		},
	}
}

// StoreDecided says whether the secret store is known.
func StoreDecided(p *posture.Posture) bool {
	return p.Secrets.Provider == "vault" && p.Secrets.Vault != nil || p.Secrets.Provider == "aws" && p.Secrets.AWS != nil
}

// RuntimeManifests says whether the domain runtime has objects of its own beside the add-ons.
func RuntimeManifests(p *posture.Posture) bool {
	r := &p.Runtime
	return r.Detector == "tetragon" && r.Install != posture.InstallOff || r.Detector == "falco" && r.Install == posture.InstallExisting ||
		r.SecurityProfiles != posture.InstallOff || r.Sandbox != nil || r.UserNamespaces
}

// Priority is the priority class of add-ons, or empty where the posture has taken it out.
func Priority(p *posture.Posture) string {
	const class = "platform-critical"
	if _, ok := p.Resources.PriorityClasses[class]; !ok {
		return ""
	}
	return class
}

// Installed are the add-ons that GitOps installs for the posture, by name.
func Installed(p *posture.Posture) []Addon {
	return slices.DeleteFunc(table(), func(a Addon) bool { return !a.when(p) })
}
