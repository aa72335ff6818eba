package incident

import (
	"cmp"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/generators"
)

// runbook is one scenario.
type runbook struct {
	// Name is that of its page; alerts and detection rules link to it.
	Name string
	// Sign is what people see.
	Sign string
	// The exercise: what is done, what must notice it, and when it is contained and over.
	Inject, Notice, Contained, Recovered string
}

// runbooks are all scenarios. Other domains link to docs/runbooks/<name>.md.
var runbooks = []runbook{
	{
		Name:      "leaked-token",
		Sign:      "a token or kubeconfig is used from an unknown address, or was seen where it must not be",
		Inject:    "`kubectl create namespace drill && kubectl -n drill create serviceaccount drill && kubectl -n drill create token drill`, then list pods with that token from a machine that is no node.",
		Notice:    "the audit log: a service account from an address that is no pod's and no node's.",
		Contained: "the same token gets 401.",
		Recovered: "`kubectl delete namespace drill` is done, and the address is found in the evidence.",
	},
	{
		Name:      "compromised-workload",
		Sign:      "a shell or an unknown process in a container, connections that no flow declares",
		Inject:    "a pod in a namespace of its own that runs `sh -c 'while true; do wget -qO- -T 2 http://NEIGHBOUR:PORT; sleep 1; done'`, with a flow that lets it.",
		Notice:    "the detector, or the owner who is told that requests come from it.",
		Contained: "`wget` of the pod fails, which its log shows, and the pod still runs.",
		Recovered: "a fresh pod serves, and the quarantine and its guard are gone (`contain.sh status`).",
	},
	{
		Name:      "crypto-miner",
		Sign:      "CPU at its limit without a reason, connections to mining pools",
		Inject:    "a CronJob in a namespace of its own whose pod runs `sh -c 'exec -a xmrig sh -c \"while :; do :; done\"'` with a CPU limit.",
		Notice:    "the alert on CPU or the detector.",
		Contained: "the pod is cut off, and its image is refused for the next run of the CronJob.",
		Recovered: "the CronJob is gone, the audit log has said who made it, images are allowed again.",
	},
	{
		Name:      "compromised-node",
		Sign:      "an unknown login on a node, a changed binary, a process in no container",
		Inject:    "on a worker that can be thrown away: add a file to `/etc/cron.d` and start `sleep 99999` as root.",
		Notice:    "file integrity or the detector on the node.",
		Contained: "the node is cordoned, its pods are cut off, and the API server gets nothing from its address.",
		Recovered: "a new node has taken its place, and the list of secrets that were on the old one is complete.",
	},
	{
		Name:      "malicious-image",
		Sign:      "an advisory, a scan or a signature says that an image is bad",
		Inject:    "name an image that really runs in the cluster, by its digest, and say that it is bad.",
		Notice:    "(told) the question is how soon each pod with it is known.",
		Contained: "a new pod with that digest is refused.",
		Recovered: "no pod runs it, images are allowed again.",
	},
	{
		Name:      "exposed-secret",
		Sign:      "a password or key is in Git, in a log, in an image, or a secret was read by the wrong one",
		Inject:    "a made-up secret in a namespace of its own; put its value into a merge request.",
		Notice:    "the scan for secrets in the pipeline.",
		Contained: "the old value opens nothing any more, and the pods have the new one.",
		Recovered: "the history does not have it, and who read the secret is answered from the audit log.",
	},
	{
		Name:      "rbac-abuse",
		Sign:      "an unknown binding or role, many refused requests, somebody acting as somebody else",
		Inject:    "with a person's daily rights try `kubectl create clusterrolebinding drill --clusterrole=cluster-admin --user=drill` five times; then make a role in a namespace of its own by break-glass.",
		Notice:    "the alert on refused changes of rights.",
		Contained: "rights are frozen: the same attempt is refused with the incident's message.",
		Recovered: "the role is found and gone, the freeze is lifted, GitOps reconciles.",
	},
	{
		Name:      "ransomware-or-deletion",
		Sign:      "namespaces or backups disappear, files cannot be read any more",
		Inject:    "a namespace of its own with known data in a volume, backed up; then delete the namespace.",
		Notice:    "the alert on deletions, or its owner.",
		Contained: "backups cannot be deleted by the cluster's own key, and the account that deleted has no rights.",
		Recovered: "the data is back and compared byte by byte, within RPO and RTO.",
	},
	{
		Name:      "control-plane-compromise",
		Sign:      "admin.conf or a key of the CA has leaked, system:masters acts, the audit log has a gap",
		Inject:    "on paper: the key of the CA was in a backup that somebody else could read.",
		Notice:    "(told) the question is how soon the decision to build anew is taken.",
		Contained: "the API server answers the responders' address alone.",
		Recovered: "a new cluster stands from this repository, and how long it took is written down.",
	},
	{
		Name:      "lost-encryption-key",
		Sign:      "secrets cannot be read, the API server does not start, or the key may have been read",
		Inject:    "on a cluster that can be thrown away: take the key file of the control plane away and restart the API server.",
		Notice:    "the alert on the API server, or the first deployment that fails.",
		Contained: "nothing in etcd was changed.",
		Recovered: "a secret from before can be read, with the sealed copy of the key.",
	},
}

// data fills every template of the domain.
type data struct {
	Cluster, CNI                       string
	Cilium, Kind, Production, Deny     bool
	Label, Quarantine                  string
	Images, ImagesNamespace, ManagedBy string
	// Lead is whom to call, and Critical and High are how soon, as sentences.
	Lead, Critical, High  string
	Open, Evidence, Close string
	// NamespaceArg, CopyNode and the like are pieces of commands.
	NamespaceArg, CopyNode, RunNode, CopyAudit, CopyContain, RunContain, Shell string
	Pause, Resume, GitOpsName, Interval                                        string
	AuditLog, AuditDir, Webhook, PodLogs, Sink                                 string
	AuditDays, SinkDays, Days                                                  int
	Store                                                                      string
	Issuer, UserPrefix, NodeDir, MaxToken                                      string
	MaxTokenHours                                                              int
	Provider, VaultAddress, VaultMount, VaultAuth, AWSRegion, AWSPrefix        string
	Refresh                                                                    string
	MaxAge                                                                     int
	Registries, RequireDigest, Firewall                                        bool
	Verify, NodePatching, Detector                                             string
	ExpectedAdmins, Endpoint                                                   string
	Secretbox                                                                  bool
	KeyDir, KeyFile, Resources, KMSName, KMSEndpoint                           string
	Backup, Locked, EtcdSnapshots                                              bool
	LockedDays                                                                 int
	EtcdDirectory, RPO, RTO                                                    string

	Contacts   []posture.Contact
	Tenants    []tenant
	Severities []severity
	Notify     []posture.Notification
	Runbooks   []runbook

	// The drills.
	PerYear                     string
	Detect, DetectLate, Contain string
	Schedule                    []week
	Drills                      []runbook
}

type tenant struct{ Name, Owner, DataClass string }

type severity struct{ Name, Within, Example string }

type week struct {
	Week int
	Name string
}

// newData takes from the posture what the templates need.
func newData(p *posture.Posture) data {
	d := data{
		Cluster: p.Cluster.Name, CNI: p.Cluster.CNI, Cilium: p.Cluster.CNI == "cilium", Kind: p.Cluster.Platform == "kind",
		Production: p.Cluster.Production, Deny: p.Network.DefaultDeny,
		Label: generators.LabelQuarantine, Quarantine: quarantineName,
		Images: deniedImages, ImagesNamespace: deniedImagesNamespace, ManagedBy: generators.LabelManagedBy,
		Interval: p.GitOps.Interval, GitOpsName: p.GitOps.Engine,
		AuditLog: p.Logging.Audit.Path, AuditDir: path.Dir(p.Logging.Audit.Path), AuditDays: p.Logging.Audit.MaxAgeDays,
		PodLogs: fmt.Sprintf("%d files of %s a container", p.Kubelet.ContainerLogMaxFiles, p.Kubelet.ContainerLogMaxSize),
		Days:    p.Incident.EvidenceRetentionDays, Store: p.Incident.EvidenceStore,
		UserPrefix: p.Identity.UsernamePrefix, NodeDir: generators.NodeDir, MaxToken: p.APIServer.ServiceAccountMaxToken,
		Provider: p.Secrets.Provider, Refresh: p.Secrets.Refresh, MaxAge: p.Secrets.MaxAgeDays,
		Registries: len(p.Images.Registries) > 0, RequireDigest: p.Images.RequireDigest, Verify: p.Images.Verify,
		Firewall: p.Network.Firewall.Enabled, NodePatching: p.Upgrades.NodePatching, Detector: p.Runtime.Detector,
		Endpoint: p.Cluster.ControlPlaneEndpoint, Secretbox: p.Encryption.Provider == "secretbox",
		KeyDir: generators.NodeKeyDir, KeyFile: generators.NodeKeyDir + "/encryption.yaml", Resources: strings.Join(p.Encryption.Resources, ", "),
		Backup: p.Backup.Install != posture.InstallOff, Locked: p.Backup.Location != nil && p.Backup.ImmutableDays > 0,
		LockedDays: p.Backup.ImmutableDays, EtcdSnapshots: p.Backup.EtcdSnapshots.Enabled, EtcdDirectory: p.Backup.EtcdSnapshots.Directory,
		RPO: hours(p.Backup.RPOHours), RTO: hours(p.Backup.RTOHours),
		Runbooks: runbooks, Drills: runbooks,
		ExpectedAdmins: "cluster-admin, kubeadm:cluster-admins",
	}
	d.Shell = "ssh root@$NODE"
	d.CopyNode, d.RunNode = "scp incident/evidence-node.sh root@$NODE:", "ssh root@$NODE ./evidence-node.sh inc-123"
	d.CopyContain, d.RunContain = "scp incident/contain-node.sh root@$OTHER:", "ssh root@$OTHER ./contain-node.sh block BAD-NODE-ADDRESS"
	d.CopyAudit = "ssh root@$CONTROL_PLANE 'cat " + d.AuditDir + "/*.log' > audit.jsonl   # each control plane node, >> from the second on"
	if d.Kind {
		d.Shell = "docker exec $NODE"
		d.CopyNode, d.RunNode = "docker cp incident/evidence-node.sh $NODE:/root/", "docker exec $NODE /root/evidence-node.sh inc-123"
		d.CopyContain, d.RunContain = "docker cp incident/contain-node.sh $OTHER:/root/", "docker exec $OTHER /root/contain-node.sh block BAD-NODE-ADDRESS"
		d.CopyAudit = "docker exec $CONTROL_PLANE sh -c 'cat " + d.AuditDir + "/*.log' > audit.jsonl   # each control plane node, >> from the second on"
	}
	controller := "deployment/kustomize-controller"
	if p.GitOps.Engine == "argocd" {
		controller = "statefulset/argocd-application-controller"
	} else {
		d.ExpectedAdmins += ", cluster-reconciler-" + p.GitOps.Namespace
	}
	scale := "kubectl -n " + p.GitOps.Namespace + " scale " + controller + " --replicas="
	d.Pause, d.Resume = scale+"0", scale+"1"
	if o := p.Identity.OIDC; o != nil {
		d.Issuer, d.MaxTokenHours = o.IssuerURL, o.MaxTokenHours
	}
	if w := p.Logging.Audit.Webhook; w != nil {
		d.Webhook = w.URL
	}
	if s := p.Logging.Sink; s != nil {
		d.Sink, d.SinkDays = s.URL, s.RetentionDays
	}
	if v := p.Secrets.Vault; v != nil {
		d.VaultAddress, d.VaultMount, d.VaultAuth = v.Address, v.Mount, v.AuthPath
	}
	if a := p.Secrets.AWS; a != nil {
		d.AWSRegion, d.AWSPrefix = a.Region, a.Prefix
	}
	if k := p.Encryption.KMS; k != nil {
		d.KMSName, d.KMSEndpoint = k.Name, k.Endpoint
	}
	d.people(p)
	d.drills(p)
	return d
}

// people fills in who is called and how soon.
func (d *data) people(p *posture.Posture) {
	d.Lead = "whoever leads (docs/incident-response.md)"
	for _, name := range slices.Sorted(maps.Keys(p.Contacts)) {
		c := p.Contacts[name]
		d.Contacts = append(d.Contacts, c)
		if len(d.Contacts) == 1 || strings.Contains(strings.ToLower(c.Role), "command") {
			reach := cmp.Or(c.Phone, c.Email)
			d.Lead = c.Name + " (" + reach + ")"
		}
	}
	for _, name := range p.NamespacesOf("tenant") {
		ns := p.Namespaces[name]
		d.Tenants = append(d.Tenants, tenant{name, ns.Owner, ns.DataClass})
	}
	examples := map[string]string{
		"critical": "somebody is inside, data leaves or is destroyed, the control plane or a key is in question",
		"high":     "a miner, a bad image, a secret that has leaked, before anything was done with it",
		"medium":   "refused attempts that go on, a control that was found open",
	}
	for _, name := range slices.Sorted(maps.Keys(p.Incident.Severities)) {
		d.Severities = append(d.Severities, severity{name, p.Incident.Severities[name], examples[name]})
	}
	slices.SortStableFunc(d.Severities, func(a, b severity) int {
		x, _ := time.ParseDuration(a.Within)
		y, _ := time.ParseDuration(b.Within)
		return cmp.Compare(x, y)
	})
	within := func(name string) string {
		if w := p.Incident.Severities[name]; w != "" {
			return fmt.Sprintf("Severity **%s**: somebody is on it within %s.", name, w)
		}
		return fmt.Sprintf("Severity **critical**: somebody is on it within %s.", p.Incident.Severities["critical"])
	}
	d.Critical, d.High = within("critical"), within("high")
	for _, name := range slices.Sorted(maps.Keys(p.Incident.Notify)) {
		n := p.Incident.Notify[name]
		n.When = cmp.Or(n.When, "each incident")
		d.Notify = append(d.Notify, n)
	}
}

// drills spreads the exercises over the year, each runbook equally far from itself.
func (d *data) drills(p *posture.Posture) {
	n := p.Incident.DrillsPerYear
	d.PerYear = fmt.Sprintf("%d times", n)
	if n == 1 {
		d.PerYear = "once"
	}
	total := n * len(runbooks)
	for i := range total {
		// Week 53 does not exist each year, and nobody is there in the last one.
		d.Schedule = append(d.Schedule, week{2 + i*50/total, runbooks[i%len(runbooks)].Name})
	}
	critical, err := time.ParseDuration(p.Incident.Severities["critical"])
	if err != nil {
		critical = time.Hour
	}
	d.Detect, d.DetectLate, d.Contain = short(critical), short(4*critical), short(2*critical)
}

// short writes a duration without its zero parts.
func short(d time.Duration) string {
	s := d.String()
	s = strings.TrimSuffix(s, "0s")
	if trimmed := strings.TrimSuffix(s, "h0m"); trimmed != s {
		s = trimmed + "h"
	}
	return s
}

func hours(n int) string {
	if n == 1 {
		return "1 hour"
	}
	return fmt.Sprintf("%d hours", n)
}

// scripts are what people run: on their own machine and on nodes.
func scripts(p *posture.Posture) ([]generators.Artifact, error) {
	d := newData(p)
	var artifacts []generators.Artifact
	for _, s := range []struct {
		name   string
		claims []generators.Claim
	}{
		{"contain.sh", generators.Claims("", "incident-3")},
		{"contain-node.sh", generators.Claims("", "incident-3")},
		{"evidence.sh", generators.Claims("sha256sum", "incident-4")},
		{"evidence-node.sh", generators.Claims("sha256sum", "incident-4")},
	} {
		text, err := generators.Text("incident/"+s.name+".tmpl", d)
		if err != nil {
			return nil, err
		}
		artifacts = append(artifacts, generators.Artifact{
			Path: "incident/" + s.name, Text: text, Executable: true, Kind: generators.Procedure, Claims: s.claims,
		})
	}
	return artifacts, nil
}

// pages are the plan, the drills and the runbooks.
func pages(p *posture.Posture) ([]generators.Artifact, error) {
	d := newData(p)
	var artifacts []generators.Artifact
	add := func(file, template string, claims ...generators.Claim) error {
		text, err := generators.Text(template, d)
		if err != nil {
			return err
		}
		artifacts = append(artifacts, generators.Artifact{Path: file, Text: text, Kind: generators.Procedure, Claims: claims})
		return nil
	}
	plan := generators.Claims("## Where the evidence is", "incident-4")
	if len(p.Contacts) > 0 {
		plan = append(plan, generators.Claims("## Who", "incident-1")...)
	}
	if len(p.Incident.Notify) > 0 {
		plan = append(plan, generators.Claims("## The clock", "incident-6")...)
	}
	if p.Incident.EvidenceStore != "" {
		plan = append(plan, generators.Claims("Collected evidence goes to", "incident-7")...)
	}
	if err := add("docs/incident-response.md", "incident/incident-response.md.tmpl", plan...); err != nil {
		return nil, err
	}
	if err := add("docs/drills.md", "incident/drills.md.tmpl",
		generators.Claims("## The schedule", "incident-5", "incident-8")...); err != nil {
		return nil, err
	}
	artifacts[1].Claims = append(artifacts[1].Claims, generators.Claims("## How it is scored", "incident-5")...)
	for _, part := range []struct {
		template string
		to       *string
	}{{"open", &d.Open}, {"evidence", &d.Evidence}, {"close", &d.Close}} {
		text, err := generators.Text("incident/"+part.template+".md.tmpl", d)
		if err != nil {
			return nil, err
		}
		*part.to = strings.TrimSuffix(text, "\n") + "\n"
	}
	d.Close = strings.TrimSuffix(d.Close, "\n")
	for _, r := range runbooks {
		if err := add("docs/runbooks/"+r.Name+".md", "incident/runbooks/"+r.Name+".md.tmpl",
			generators.Claims("## Done when", "incident-2")...); err != nil {
			return nil, err
		}
	}
	return artifacts, nil
}
