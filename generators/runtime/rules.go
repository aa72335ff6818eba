package runtime

import (
	"path"
	"strings"

	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/generators"
)

// rule is one Falco rule about something that the posture forbids.
type rule struct {
	name, desc string
	// condition is Falco's; it may use the macros and lists of the file.
	condition string
	// output is what happened; who and where are added to each.
	output   string
	priority string
	// technique and tactic are those of MITRE ATT&CK for Containers.
	technique, tactic string
	runbook           string
}

// rules are the rules of a posture.
func rules(p *posture.Posture) []rule {
	list := []rule{
		{
			name:      "Interactive shell in a tenant's container",
			desc:      "Nobody may exec into tenants' pods but for an emergency, so a shell with a terminal is an emergency or a break-in.",
			condition: "k8ssec_spawned and k8ssec_tenant and proc.tty != 0 and proc.name in (k8ssec_shells)",
			output:    "an interactive shell runs in a container (parent=%proc.pname)",
			priority:  "WARNING", technique: "T1609", tactic: "execution", runbook: "compromised-workload",
		},
		{
			name:      "Program that is not part of the image",
			desc:      "A program was written after the start of the container and is run now: downloaded tools, droppers, miners.",
			condition: "k8ssec_spawned and k8ssec_tenant and proc.is_exe_upper_layer=true",
			output:    "a program runs that is not part of the image (exe=%proc.exepath)",
			priority:  "CRITICAL", technique: "T1204", tactic: "execution", runbook: "compromised-workload",
		},
		{
			name:      "Program that runs from memory",
			desc:      "A program that was never written to a disk, which is how scanners of disks are avoided.",
			condition: "k8ssec_spawned and k8ssec_container and proc.is_exe_from_memfd=true",
			output:    "a program runs from memory (exe=%proc.exepath)",
			priority:  "CRITICAL", technique: "T1036", tactic: "defense_evasion", runbook: "compromised-workload",
		},
		{
			name:      "Crypto-miner",
			desc:      "A program by the name of a miner, or with the arguments that miners take.",
			condition: "k8ssec_spawned and k8ssec_container and (proc.name in (k8ssec_miners) or proc.cmdline contains \"stratum+\" or proc.cmdline contains \"--donate-level\")",
			output:    "a crypto-miner runs (exe=%proc.exepath)",
			priority:  "CRITICAL", technique: "T1496", tactic: "impact", runbook: "crypto-miner",
		},
		{
			name:      "Service account token read by a tenant without the API",
			desc:      "A namespace that may not call the API server has no use for a token of it.",
			condition: "k8ssec_read and k8ssec_tenant and not k8s.ns.name in (k8ssec_api_namespaces) and fd.name startswith /var/run/secrets/kubernetes.io/serviceaccount",
			output:    "a service account token was read (file=%fd.name)",
			priority:  "WARNING", technique: "T1528", tactic: "credential_access", runbook: "leaked-token",
		},
		{
			name:      "API server called by a tenant without leave",
			desc:      "The network policies close this way, so whoever tries does not know them, or they do not hold.",
			condition: "k8ssec_connect and k8ssec_tenant and not k8s.ns.name in (k8ssec_api_namespaces) and fd.sip in (k8ssec_api_addresses)",
			output:    "a connection to the API server was tried (connection=%fd.name)",
			priority:  "WARNING", technique: "T1613", tactic: "discovery", runbook: "leaked-token",
		},
		{
			name:      "Container enters a namespace of another",
			desc:      "setns or unshare with more than a user namespace: the way out of a container.",
			condition: "k8ssec_container and not k8s.ns.name in (k8ssec_platform_namespaces) and (evt.type=setns or (evt.type=unshare and not evt.arg.flags contains \"CLONE_NEWUSER\"))",
			output:    "a container changed its namespaces (call=%evt.type)",
			priority:  "CRITICAL", technique: "T1611", tactic: "privilege_escalation", runbook: "compromised-node",
		},
		{
			name:      "Kernel module loaded from a container",
			desc:      "Whatever the module does, it does it to every container of the node.",
			condition: "k8ssec_container and not k8s.ns.name in (k8ssec_platform_namespaces) and evt.type in (init_module, finit_module)",
			output:    "a kernel module was loaded from a container",
			priority:  "CRITICAL", technique: "T1611", tactic: "privilege_escalation", runbook: "compromised-node",
		},
		{
			name:      "Escape by the kernel's own helpers",
			desc:      "release_agent, core_pattern and the like name a program that the kernel runs on the node, as root.",
			condition: "k8ssec_write and k8ssec_container and (fd.name endswith /release_agent or fd.name in (k8ssec_kernel_helpers))",
			output:    "a helper of the kernel was set from a container (file=%fd.name)",
			priority:  "CRITICAL", technique: "T1611", tactic: "privilege_escalation", runbook: "compromised-node",
		},
		{
			name:      "Control plane files changed by an unknown program",
			desc:      "Static pods, certificates and kubeconfigs: whoever writes here is the cluster.",
			condition: "k8ssec_write and not proc.name in (k8ssec_node_programs) and fd.name startswith /etc/kubernetes",
			output:    "a file of the control plane was changed (file=%fd.name)",
			priority:  "CRITICAL", technique: "T1610", tactic: "persistence", runbook: "control-plane-compromise",
		},
		{
			name:      "Keys of the control plane read by an unknown program",
			desc:      "The cluster's CA, and the key that encrypts secrets at rest.",
			condition: "k8ssec_read and not proc.name in (k8ssec_node_programs) and (fd.name startswith " + generators.NodeKeyDir + " or (fd.name startswith /etc/kubernetes/pki and fd.name endswith .key))",
			output:    "a key of the control plane was read (file=%fd.name)",
			priority:  "CRITICAL", technique: "T1552", tactic: "credential_access", runbook: "control-plane-compromise",
		},
		{
			name:      "etcd's data read by an unknown program",
			desc:      "All objects of the cluster are there, past RBAC and the audit log.",
			condition: "k8ssec_read and not proc.name in (k8ssec_etcd_programs) and fd.name startswith /var/lib/etcd/",
			output:    "the data of etcd was read (file=%fd.name)",
			priority:  "CRITICAL", technique: "T1552", tactic: "credential_access", runbook: "control-plane-compromise",
		},
		{
			name: "Audit log removed or cut",
			desc: "What it would have said is what somebody did not want to be read.",
			condition: "evt.type in (unlink, unlinkat, rename, renameat, renameat2, truncate, ftruncate) and not proc.name in (kube-apiserver) and evt.args contains " +
				strconvQuote(path.Dir(p.Logging.Audit.Path)),
			output:   "the audit log was removed or cut (call=%evt.type args=%evt.args)",
			priority: "CRITICAL", technique: "T1070", tactic: "defense_evasion", runbook: "control-plane-compromise",
		},
		{
			name:      "Container image built or unpacked on the node",
			desc:      "The socket of the container runtime makes any container, past admission.",
			condition: "k8ssec_connect_unix and k8ssec_container and not k8s.ns.name in (k8ssec_platform_namespaces) and fd.name in (k8ssec_runtime_sockets)",
			output:    "a container spoke to the container runtime (socket=%fd.name)",
			priority:  "CRITICAL", technique: "T1612", tactic: "defense_evasion", runbook: "compromised-node",
		},
	}
	if p.Network.BlockMetadata && len(p.Network.MetadataCIDRs) > 0 {
		list = append(list, rule{
			name:      "Cloud metadata asked for by a container",
			desc:      "The network policies close these addresses, which give away the node's cloud identity.",
			condition: "k8ssec_connect and k8ssec_container and not k8s.ns.name in (k8ssec_metadata_namespaces) and fd.snet in (k8ssec_metadata)",
			output:    "a connection to the cloud metadata service was tried (connection=%fd.name)",
			priority:  "CRITICAL", technique: "T1552", tactic: "credential_access", runbook: "exposed-secret",
		})
	}
	return list
}

// strconvQuote is a string in double quotes, as Falco's conditions take it.
func strconvQuote(s string) string { return `"` + strings.ReplaceAll(s, `"`, `\"`) + `"` }

// where is what each output ends with.
const where = "command=%proc.cmdline user=%user.name namespace=%k8s.ns.name pod=%k8s.pod.name container=%container.name image=%container.image.repository"

// falcoLists are the lists of the file, by name.
func falcoLists(p *posture.Posture) []struct {
	name  string
	items []string
} {
	return []struct {
		name  string
		items []string
	}{
		{"k8ssec_platform_namespaces", platformNamespaces(p)},
		{"k8ssec_api_namespaces", apiNamespaces(p)},
		{"k8ssec_api_addresses", apiAddresses(p)},
		{"k8ssec_metadata", p.Network.MetadataCIDRs},
		{"k8ssec_metadata_namespaces", []string{"kube-system"}},
		{"k8ssec_shells", []string{"ash", "bash", "csh", "dash", "fish", "ksh", "sh", "tcsh", "zsh"}},
		{"k8ssec_miners", []string{"ccminer", "cpuminer", "ethminer", "kdevtmpfsi", "kinsing", "minerd", "nbminer", "t-rex", "xmr-stak", "xmrig"}},
		{"k8ssec_kernel_helpers", []string{"/proc/sys/fs/binfmt_misc/register", "/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/sys/kernel/uevent_helper"}},
		{"k8ssec_runtime_sockets", []string{"/run/containerd/containerd.sock", "/run/crio/crio.sock", "/run/docker.sock", "/var/run/containerd/containerd.sock", "/var/run/crio/crio.sock", "/var/run/docker.sock"}},
		// The name of a thread is cut at 15 characters by the kernel.
		{"k8ssec_node_programs", []string{"containerd", "cri-o", "etcd", "k8ssec-node.sh", "k8ssec-rotate-k", "kube-apiserver", "kube-controller", "kube-scheduler", "kubeadm", "kubelet", "systemd", "systemd-tmpfile"}},
		{"k8ssec_etcd_programs", []string{"etcd", "etcdctl", "etcdutl", "kubelet"}},
	}
}

// falcoMacros are the macros of the file. They are its own, so that it does not depend on which of
// Falco's own rules files are loaded.
var falcoMacros = []struct{ name, condition string }{
	{"k8ssec_container", "container.id != host"},
	{"k8ssec_tenant", "k8ssec_container and k8s.ns.name exists and not k8s.ns.name in (k8ssec_platform_namespaces)"},
	{"k8ssec_spawned", "evt.type in (execve, execveat)"},
	{"k8ssec_read", "evt.type in (open, openat, openat2) and evt.is_open_read=true and fd.num>=0"},
	{"k8ssec_write", "evt.type in (open, openat, openat2) and evt.is_open_write=true and fd.num>=0"},
	{"k8ssec_connect", "evt.type=connect and (fd.type=ipv4 or fd.type=ipv6)"},
	{"k8ssec_connect_unix", "evt.type=connect and fd.type=unix"},
}

// rulesFile is the text of Falco's rules file.
func rulesFile(p *posture.Posture) string {
	var b strings.Builder
	b.WriteString("# Emitted by k8ssec: what this posture forbids, seen when it happens.\n" +
		"- required_engine_version: 0.57.0\n" +
		"- required_plugin_versions:\n    - name: container\n      version: 0.4.0\n\n")
	for _, l := range falcoLists(p) {
		b.WriteString("- list: " + l.name + "\n  items: [" + strings.Join(quoted(l.items), ", ") + "]\n\n")
	}
	for _, m := range falcoMacros {
		b.WriteString("- macro: " + m.name + "\n  condition: >\n    " + m.condition + "\n\n")
	}
	for _, r := range rules(p) {
		b.WriteString("- rule: " + r.name + "\n" +
			"  desc: >\n    " + r.desc + " Runbook: " + runbook(r.runbook) + ".\n" +
			"  condition: >\n    " + r.condition + "\n" +
			"  output: >\n    " + sentenceStart(r.output) + " " + where + " runbook=" + runbook(r.runbook) + "\n" +
			"  priority: " + r.priority + "\n" +
			"  source: syscall\n" +
			"  tags: [k8ssec, container, mitre_" + r.tactic + ", " + r.technique + ", runbook_" + strings.ReplaceAll(r.runbook, "-", "_") + "]\n\n")
	}
	return strings.TrimSuffix(b.String(), "\n")
}

func sentenceStart(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

func quoted(items []string) []string {
	out := make([]string, len(items))
	for i, item := range items {
		out[i] = strconvQuote(item)
	}
	return out
}
