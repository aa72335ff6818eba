package alerts

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/k8ssec/k8ssec/cue/posture"
)

// metricGroups are the rules that Prometheus evaluates. The source of each metric is named beside it.
func metricGroups(p *posture.Posture) []group {
	groups := []group{apiServer(), certificatesGroup(), addonsGroup(p), waivers(p)}
	var out []group
	for _, g := range groups {
		if g = g.of(p); len(g.rules) > 0 {
			out = append(out, g)
		}
	}
	return out
}

// apiServer are rules on kube-apiserver's own metrics (k8s.io/apiserver, pod-security-admission).
func apiServer() group {
	kms := func(p *posture.Posture) bool { return p.Encryption.Provider == "kms" }
	return group{
		name: "apiserver", controls: []string{"alerts-1", "nsa-L5"},
		why: "What the API server says of itself: gaps in the audit log, secrets that cannot be encrypted, refusals, failed logins. Read from the metrics that it serves to Prometheus.",
		rules: []rule{
			{
				name: "APIServerNotSeen", expr: `absent(up{job="apiserver"} == 1)`, wait: "10m", severity: critical, runbook: "control-plane-compromise",
				summary: "Prometheus sees no API server", detail: "No alert about the API server can fire until it does. Either it is down, or the way to it or the scrape was removed.",
			},
			{
				name: "AuditLogFailing", expr: `sum by (instance, plugin) (increase(apiserver_audit_error_total[10m])) > 0`, severity: critical, runbook: "control-plane-compromise",
				summary: "{{ $labels.instance }} loses audit records ({{ $labels.plugin }})", detail: "Records are dropped: the disk is full, the file cannot be written or the collector refuses them. What happens meanwhile leaves no trace.",
			},
			{
				name: "AuditLogRefusesRequests", expr: `sum by (instance) (increase(apiserver_audit_requests_rejected_total[10m])) > 0`, severity: critical, runbook: "control-plane-compromise",
				summary: "{{ $labels.instance }} refuses requests because it cannot audit them", detail: "The audit log blocks and cannot be written.",
			},
			{
				name: "AuditLogSilent", expr: `sum by (instance) (rate(apiserver_audit_event_total[10m])) == 0`, wait: "10m", severity: critical, runbook: "control-plane-compromise",
				summary: "{{ $labels.instance }} writes no audit records", detail: "A running API server always has something to record. The policy was replaced, or auditing was switched off.",
			},
			{
				name: "SecretEncryptionFailing", expr: `sum by (instance, resource, transformation_type) (increase(apiserver_storage_transformation_operations_total{status!="OK"}[10m])) > 0`,
				severity: critical, runbook: "lost-encryption-key",
				summary: "{{ $labels.instance }} cannot encrypt or read {{ $labels.resource }}", detail: "A key is missing or was changed without rewriting what it had encrypted. Do not delete any key.",
			},
			{
				name: "EncryptionConfigNotReloaded", expr: `sum by (instance) (increase(apiserver_encryption_config_controller_automatic_reloads_total{status="failure"}[10m])) > 0`,
				severity: warning, runbook: "lost-encryption-key",
				summary: "{{ $labels.instance }} refuses a changed encryption configuration", detail: "It keeps the old one, so the rotation of a key stands still. After a restart it would not come up.",
			},
			{
				name: "KMSFailing", expr: `sum by (instance, provider_name) (increase(apiserver_envelope_encryption_kms_operations_latency_seconds_count{grpc_status_code!="OK"}[10m])) > 0`,
				severity: critical, runbook: "lost-encryption-key", when: kms,
				summary: "the KMS plug-in {{ $labels.provider_name }} fails on {{ $labels.instance }}", detail: "Secrets that are not in the cache cannot be read, and none can be written.",
			},
			{
				name: "LoginsFail", expr: `sum(increase(authentication_attempts{result=~"failure|error"}[15m])) > 100`, severity: warning, runbook: "leaked-token",
				summary: "{{ $value | humanize }} failed logins in 15 minutes", detail: "Tokens or certificates are tried, or a client goes on with one that was revoked. The audit log has the addresses: code 401.",
			},
			{
				name: "RightsProbed", expr: `sum(increase(authorization_attempts_total{result="denied"}[15m])) > 300 or sum(increase(authorization_attempts_total{result="no-opinion"}[15m])) > 300`,
				severity: warning, runbook: "rbac-abuse",
				summary: "{{ $value | humanize }} requests without the right in 15 minutes", detail: "Somebody tries what an account may do. The audit log has the account: code 403.",
			},
			{
				name: "PodsRefused", expr: `sum by (policy_level) (increase(pod_security_evaluations_total{decision="deny",mode="enforce"}[15m])) > 20`, severity: warning, runbook: "compromised-workload",
				summary: "{{ $value | humanize }} pods below the level {{ $labels.policy_level }} refused in 15 minutes", detail: "A rollout that does not fit its namespace, or somebody who tries for a way to the node.",
			},
			{
				name: "PolicyRefusals", expr: `sum by (policy) (increase(apiserver_validating_admission_policy_check_total{enforcement_action="deny"}[15m])) > 20`, severity: warning, runbook: "compromised-workload",
				summary: "the policy {{ $labels.policy }} refused {{ $value | humanize }} requests in 15 minutes", detail: "A rollout that does not fit the rules, or somebody who tries them one by one.",
			},
			{
				name: "PolicyBroken", expr: `sum by (policy) (increase(apiserver_validating_admission_policy_check_total{error_type!~"no_error|"}[15m])) > 0`, severity: warning, runbook: "rbac-abuse",
				summary: "the policy {{ $labels.policy }} cannot be evaluated", detail: "By its failurePolicy each request that it is about is refused, or let through unchecked.",
			},
			{
				name: "AdmissionWebhookSkipped", expr: `sum by (name) (increase(apiserver_admission_webhook_fail_open_count[15m])) > 0`, severity: warning, runbook: "malicious-image",
				summary: "requests pass without the webhook {{ $labels.name }}", detail: "The webhook does not answer and its failurePolicy is Ignore, so what it checks is not checked.",
			},
		},
	}
}

// certificatesGroup are rules on certificates: those of clients as the API server sees them, those of
// kubelets, those of cert-manager.
func certificatesGroup() group {
	return group{
		name: "certificates", controls: []string{"alerts-1", "enc-5"},
		why: "Certificates end on a day that is known long before.",
		rules: []rule{
			{
				name:     "ClientCertificateEnds",
				expr:     `histogram_quantile(0.01, sum by (instance, le) (rate(apiserver_client_certificate_expiration_seconds_bucket[15m]))) < 7 * 24 * 3600 and on (instance) sum by (instance) (rate(apiserver_client_certificate_expiration_seconds_count[15m])) > 0`,
				wait:     "15m",
				severity: critical, runbook: "control-plane-compromise",
				summary: "a client certificate that is in use at {{ $labels.instance }} ends in less than 7 days", detail: "When it is that of a kubelet or of the control plane, that component stops. kubeadm certs check-expiration shows which; docs/control-plane.md says how to renew.",
			},
			{
				name: "KubeletCertificateEnds", expr: `min by (node) (kubelet_certificate_manager_client_ttl_seconds) < 7 * 24 * 3600`, wait: "15m", severity: warning, runbook: "compromised-node",
				summary: "the client certificate of the kubelet on {{ $labels.node }} ends in less than 7 days", detail: "Kubelets renew theirs long before; this one does not get to.",
			},
			{
				name: "KubeletServingCertificateEnds", expr: `min by (node) (kubelet_certificate_manager_server_ttl_seconds) < 7 * 24 * 3600`, wait: "15m", severity: warning, runbook: "compromised-node",
				when:    func(p *posture.Posture) bool { return p.Kubelet.ServerTLSBootstrap },
				summary: "the serving certificate of the kubelet on {{ $labels.node }} ends in less than 7 days", detail: "Nobody approves its request: docs/control-plane.md says who has to.",
			},
			{
				name: "KubeletCannotRenew", expr: `sum by (node) (increase(kubelet_certificate_manager_client_expiration_renew_errors[30m])) > 0`, severity: warning, runbook: "compromised-node",
				summary: "the kubelet on {{ $labels.node }} cannot renew its certificate", detail: "Without a new one the node leaves the cluster when the old one ends.",
			},
			{
				name: "CertificateEnds", expr: `min by (exported_namespace, name) (certmanager_certificate_expiration_timestamp_seconds) - time() < 7 * 24 * 3600`, wait: "15m", severity: critical,
				runbook: "exposed-secret", when: certManager,
				summary: "the certificate {{ $labels.exported_namespace }}/{{ $labels.name }} ends in less than 7 days", detail: "cert-manager renews at two thirds of the lifetime; it could not.",
			},
			{
				name: "CertificateNotReady", expr: `max by (exported_namespace, name) (certmanager_certificate_ready_status{condition="False"}) == 1`, wait: "15m", severity: warning,
				runbook: "exposed-secret", when: certManager,
				summary: "the certificate {{ $labels.exported_namespace }}/{{ $labels.name }} is not issued", detail: "kubectl describe certificaterequest in that namespace says why.",
			},
		},
	}
}

// backups says whether Velero runs: the user's own, or one that has a place to write to.
func backups(p *posture.Posture) bool {
	return p.Backup.Install == posture.InstallExisting || (p.Backup.Install == posture.InstallInstall && p.Backup.Location != nil)
}

func certManager(p *posture.Posture) bool { return p.Encryption.CertManager != posture.InstallOff }

// addonsGroup are rules on the metrics of add-ons, each where the posture has the add-on.
func addonsGroup(p *posture.Posture) group {
	velero := backups
	bench := func(p *posture.Posture) bool { return p.Benchmark.KubeBench == posture.InstallInstall }
	trivy := func(p *posture.Posture) bool { return p.Images.Scanner != posture.InstallOff }
	vector := func(p *posture.Posture) bool { return p.ShipsLogs() && p.Logging.Shipper == "vector" }
	fluentBit := func(p *posture.Posture) bool { return p.ShipsLogs() && p.Logging.Shipper == "fluent-bit" }
	flux := func(p *posture.Posture) bool { return p.GitOps.Engine == "flux" }
	return group{
		name: "addons", controls: []string{"alerts-1", "nsa-L5"},
		why: "What the add-ons say of themselves: backups, scans, the shipping of logs, GitOps.",
		rules: []rule{
			{
				name: "BackupFailed", expr: `sum by (schedule) (increase(velero_backup_failure_total{schedule!=""}[1h])) > 0 or sum by (schedule) (increase(velero_backup_partial_failure_total{schedule!=""}[1h])) > 0`,
				severity: critical, runbook: "ransomware-or-deletion", when: velero,
				summary: "a backup of the schedule {{ $labels.schedule }} failed or is incomplete", detail: "velero backup describe and velero backup logs say which part. An attacker deletes backups first.",
			},
			{
				name: "BackupTooOld", expr: fmt.Sprintf(`time() - max by (schedule) (velero_backup_last_successful_timestamp{schedule!=""}) > %d * 3600`, p.Backup.RPOHours),
				wait: "1h", severity: critical, runbook: "ransomware-or-deletion", when: velero,
				summary: "no good backup of {{ $labels.schedule }} for {{ $value | humanizeDuration }}", detail: fmt.Sprintf("The posture allows %d hours (backup.rpoHours).", p.Backup.RPOHours),
			},
			{
				name: "BenchmarkFailed", expr: `max by (job_name) (kube_job_status_failed{namespace="kube-bench"}) > 0`, severity: warning, runbook: "compromised-node", when: bench,
				summary: "the benchmark job {{ $labels.job_name }} found a failing control", detail: "The job ends with an error where a check fails that no waiver lifts. kubectl -n kube-bench logs job/{{ $labels.job_name }} has the list.",
			},
			{
				name: "BenchmarkTooOld", expr: fmt.Sprintf(`time() - max by (cronjob) (kube_cronjob_status_last_successful_time{namespace="kube-bench"}) > %d * 24 * 3600`, runsWithin(p.Benchmark.Schedule)), severity: warning, runbook: "compromised-node", when: bench,
				summary: "{{ $labels.cronjob }} has not succeeded for {{ $value | humanizeDuration }}", detail: "A benchmark that does not run finds nothing.",
			},
			{
				name: "CriticalVulnerability", expr: `sum by (namespace) (trivy_image_vulnerabilities{severity="Critical"}) > 0`, wait: "1h", severity: warning, runbook: "malicious-image", when: trivy,
				summary: "{{ $value | humanize }} critical vulnerabilities run in {{ $labels.namespace }}", detail: "kubectl -n {{ $labels.namespace }} get vulnerabilityreports has the images.",
			},
			{
				name: "SecretInImage", expr: `sum by (namespace) (trivy_image_exposedsecrets{severity=~"Critical|High"}) > 0`, severity: critical, runbook: "exposed-secret", when: trivy,
				summary: "an image in {{ $labels.namespace }} holds a secret", detail: "Whoever can pull the image has it. kubectl -n {{ $labels.namespace }} get exposedsecretreports has the place.",
			},
			{
				name: "LogsLost", expr: `sum by (pod, component_id) (increase(vector_component_discarded_events_total{intentional="false"}[15m])) > 0`, severity: critical, runbook: "control-plane-compromise", when: vector,
				summary: "{{ $labels.pod }} drops records ({{ $labels.component_id }})", detail: "The sink refused them for good. Its own log says why.",
			},
			{
				name: "LogsNotDelivered", expr: `sum by (pod, component_id) (increase(vector_component_errors_total[15m])) > 0`, wait: "15m", severity: warning, runbook: "control-plane-compromise", when: vector,
				summary: "{{ $labels.pod }} cannot deliver records ({{ $labels.component_id }})", detail: "They wait on the node until the buffer is full, then in the files themselves.",
			},
			{
				name: "LogsLost", expr: `sum by (pod, name) (increase(fluentbit_output_dropped_records_total[15m])) > 0`, severity: critical, runbook: "control-plane-compromise", when: fluentBit,
				summary: "{{ $labels.pod }} drops records ({{ $labels.name }})", detail: "The sink refused them for good. Its own log says why.",
			},
			{
				name: "LogsNotDelivered", expr: `sum by (pod, name) (increase(fluentbit_output_retries_total[15m])) > 0`, wait: "15m", severity: warning, runbook: "control-plane-compromise", when: fluentBit,
				summary: "{{ $labels.pod }} cannot deliver records ({{ $labels.name }})", detail: "They wait on the node until the buffer is full, then in the files themselves.",
			},
			{
				name: "GitOpsFails", expr: `sum by (controller) (increase(controller_runtime_reconcile_errors_total{namespace=` + strconv.Quote(p.GitOps.Namespace) + `}[30m])) > 10`, wait: "15m", severity: warning,
				runbook: "rbac-abuse", when: flux,
				summary: "Flux cannot apply the repository ({{ $labels.controller }})", detail: "While it cannot, changes by hand stay. flux get all -A says what fails.",
			},
		},
	}
}

// runsWithin is the number of days within which a cron line must have run once, with a day to spare.
func runsWithin(schedule string) int {
	f := strings.Fields(schedule)
	switch {
	case len(f) != 5 || f[3] != "*":
		return 367
	case f[2] != "*":
		return 32
	case f[4] != "*":
		return 8
	}
	return 2
}

// waivers are rules without a metric: each waiver has a last day, and the clock is enough.
func waivers(p *posture.Posture) group {
	g := group{
		name: "waivers", controls: []string{"alerts-1"},
		why: "Each waiver of cluster.cue warns two weeks before its end. After it, the control is in force again and what broke it is refused by k8ssec.",
	}
	for _, name := range sortedNames(p.Waivers) {
		w := p.Waivers[name]
		last, err := time.Parse(time.DateOnly, w.Expires)
		if err != nil || !w.Active {
			continue // the schema has parsed it; an expired one is a finding of verify
		}
		end := last.AddDate(0, 0, 1).Unix()
		g.rules = append(g.rules, rule{
			name: "WaiverEnds", severity: warning, runbook: "rbac-abuse",
			expr:    fmt.Sprintf(`label_replace(vector(time()), "waiver", %q, "", "") > %d - 14 * 24 * 3600`, name, end),
			summary: "the waiver " + name + " ends on " + w.Expires, detail: "It lifts " + w.Control + ", and " + w.Owner + " owns it. Remove what needs it, or decide again in cluster.cue.",
		})
	}
	return g
}
