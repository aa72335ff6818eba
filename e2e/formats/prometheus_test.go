package formats

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/prometheus/prometheus/rules"
	"sigs.k8s.io/yaml"
)

// emitted are the alerts of the PrometheusRules of a repository, after promtool's own check.
func emitted(t *testing.T, dir string) map[string]monitoringv1.Rule {
	t.Helper()
	alerts := map[string]monitoringv1.Rule{}
	for _, data := range objects(t, filepath.Join(dir, "manifests", "alerts", "rules.yaml")) {
		var rule monitoringv1.PrometheusRule
		d := json.NewDecoder(bytes.NewReader(data))
		d.DisallowUnknownFields()
		if err := d.Decode(&rule); err != nil {
			t.Fatal(err)
		}
		text, err := yaml.Marshal(map[string]any{"groups": rule.Spec.Groups})
		if err != nil {
			t.Fatal(err)
		}
		if _, errs := rulefmt.Parse(text, false, model.UTF8Validation, parser.NewParser(parser.Options{}), slog.New(slog.DiscardHandler)); len(errs) > 0 {
			t.Errorf("%s: %v", rule.Name, errs)
		}
		for _, g := range rule.Spec.Groups {
			for _, r := range g.Rules {
				if _, twice := alerts[r.Alert]; twice {
					t.Errorf("%s stands twice", r.Alert)
				}
				alerts[r.Alert] = r
			}
		}
	}
	return alerts
}

// cases say for each alert which samples make it fire within an hour, and which do not. Samples are a
// minute apart, in promtool's notation.
var cases = map[string]struct{ fires, silent string }{
	"APIServerNotSeen":        {`up{job="apiserver",instance="a"} 0x60`, `up{job="apiserver",instance="a"} 1x180`},
	"AuditLogFailing":         {`apiserver_audit_error_total{instance="a",plugin="log"} 0x30 5x30`, `apiserver_audit_error_total{instance="a",plugin="log"} 5x60`},
	"AuditLogRefusesRequests": {`apiserver_audit_requests_rejected_total{instance="a"} 0x30 1x30`, `apiserver_audit_requests_rejected_total{instance="a"} 0x60`},
	"AuditLogSilent":          {`apiserver_audit_event_total{instance="a"} 900x60`, `apiserver_audit_event_total{instance="a"} 900+10x60`},
	"SecretEncryptionFailing": {
		`apiserver_storage_transformation_operations_total{instance="a",resource="secrets",transformation_type="from_storage",status="Unknown"} 0x30 3x30`,
		`apiserver_storage_transformation_operations_total{instance="a",resource="secrets",transformation_type="from_storage",status="OK"} 0+9x60`,
	},
	"EncryptionConfigNotReloaded": {
		`apiserver_encryption_config_controller_automatic_reloads_total{instance="a",status="failure"} 0x30 1x30`,
		`apiserver_encryption_config_controller_automatic_reloads_total{instance="a",status="success"} 0+1x60`,
	},
	"KMSFailing": {
		`apiserver_envelope_encryption_kms_operations_latency_seconds_count{instance="a",provider_name="kms-1",grpc_status_code="Unavailable"} 0x30 4x30`,
		`apiserver_envelope_encryption_kms_operations_latency_seconds_count{instance="a",provider_name="kms-1",grpc_status_code="OK"} 0+4x60`,
	},
	"LoginsFail":              {`authentication_attempts{instance="a",result="failure"} 0+20x60`, `authentication_attempts{instance="a",result="failure"} 0+1x60`},
	"RightsProbed":            {`authorization_attempts_total{result="no-opinion"} 0+60x60`, `authorization_attempts_total{result="allowed"} 0+600x60`},
	"PodsRefused":             {`pod_security_evaluations_total{decision="deny",mode="enforce",policy_level="restricted"} 0+5x60`, `pod_security_evaluations_total{decision="deny",mode="audit",policy_level="restricted"} 0+5x60`},
	"PolicyRefusals":          {`apiserver_validating_admission_policy_check_total{policy="p",error_type="no_error",enforcement_action="deny"} 0+5x60`, `apiserver_validating_admission_policy_check_total{policy="p",error_type="no_error",enforcement_action="audit"} 0+5x60`},
	"PolicyBroken":            {`apiserver_validating_admission_policy_check_total{policy="p",error_type="invalid_error",enforcement_action="deny"} 0x30 1x30`, `apiserver_validating_admission_policy_check_total{policy="p",error_type="no_error",enforcement_action="allow"} 0+5x60`},
	"AdmissionWebhookSkipped": {`apiserver_admission_webhook_fail_open_count{name="w"} 0x30 2x30`, `apiserver_admission_webhook_fail_open_count{name="w"} 2x60`},
	"ClientCertificateEnds": {
		`apiserver_client_certificate_expiration_seconds_bucket{instance="a",le="86400"} 0+1x60
  apiserver_client_certificate_expiration_seconds_bucket{instance="a",le="+Inf"} 0+10x60
  apiserver_client_certificate_expiration_seconds_count{instance="a"} 0+10x60`,
		`apiserver_client_certificate_expiration_seconds_bucket{instance="a",le="86400"} 0x60
  apiserver_client_certificate_expiration_seconds_bucket{instance="a",le="604800"} 0x60
  apiserver_client_certificate_expiration_seconds_bucket{instance="a",le="31104000"} 0+10x60
  apiserver_client_certificate_expiration_seconds_bucket{instance="a",le="+Inf"} 0+10x60
  apiserver_client_certificate_expiration_seconds_count{instance="a"} 0+10x60`,
	},
	"KubeletCertificateEnds":        {`kubelet_certificate_manager_client_ttl_seconds{node="n"} 500000x60`, `kubelet_certificate_manager_client_ttl_seconds{node="n"} 900000x60`},
	"KubeletServingCertificateEnds": {`kubelet_certificate_manager_server_ttl_seconds{node="n"} 500000x60`, `kubelet_certificate_manager_server_ttl_seconds{node="n"} 900000x60`},
	"KubeletCannotRenew":            {`kubelet_certificate_manager_client_expiration_renew_errors{node="n"} 0x20 1x40`, `kubelet_certificate_manager_client_expiration_renew_errors{node="n"} 1x60`},
	"CertificateEnds":               {`certmanager_certificate_expiration_timestamp_seconds{namespace="shop",name="tls"} 500000x60`, `certmanager_certificate_expiration_timestamp_seconds{namespace="shop",name="tls"} 900000x60`},
	"CertificateNotReady":           {`certmanager_certificate_ready_status{namespace="shop",name="tls",condition="False"} 1x60`, `certmanager_certificate_ready_status{namespace="shop",name="tls",condition="False"} 0x60`},
	"BackupFailed":                  {`velero_backup_partial_failure_total{schedule="daily"} 0x30 1x30`, `velero_backup_failure_total{schedule="daily"} 1x60`},
	"BackupTooOld":                  {`velero_backup_last_successful_timestamp{schedule="daily"} -200000x120`, `velero_backup_last_successful_timestamp{schedule="daily"} 0x120`},
	"BenchmarkFailed":               {`kube_job_status_failed{namespace="kube-bench",job_name="kube-bench-1"} 1x60`, `kube_job_status_failed{namespace="shop",job_name="x"} 1x60`},
	"BenchmarkTooOld":               {`kube_cronjob_status_last_successful_time{namespace="kube-bench",cronjob="kube-bench"} -800000x60`, `kube_cronjob_status_last_successful_time{namespace="kube-bench",cronjob="kube-bench"} 0x60`},
	"CriticalVulnerability":         {`trivy_image_vulnerabilities{namespace="shop",severity="Critical"} 2x120`, `trivy_image_vulnerabilities{namespace="shop",severity="Low"} 2x120`},
	"SecretInImage":                 {`trivy_image_exposedsecrets{namespace="shop",severity="High"} 1x60`, `trivy_image_exposedsecrets{namespace="shop",severity="High"} 0x60`},
	"LogsLost":                      {`vector_component_discarded_events_total{pod="v",component_id="audit",intentional="false"} 0x30 7x30`, `vector_component_discarded_events_total{pod="v",component_id="audit",intentional="true"} 0+7x60`},
	"LogsNotDelivered":              {`vector_component_errors_total{pod="v",component_id="audit"} 0+1x60`, `vector_component_errors_total{pod="v",component_id="audit"} 3x60`},
	"GitOpsFails":                   {`controller_runtime_reconcile_errors_total{namespace="flux-system",controller="kustomization"} 0+1x60`, `controller_runtime_reconcile_errors_total{namespace="shop",controller="kustomization"} 0+1x60`},
}

// TestPrometheusRules makes each alert fire, and holds that it is silent on samples that look alike.
func TestPrometheusRules(t *testing.T) {
	alerts := emitted(t, repository(t, watched))
	for name, rule := range alerts {
		if rule.Labels["severity"] == "" || rule.Annotations["runbook"] == "" || rule.Annotations["summary"] == "" {
			t.Errorf("%s lacks a severity, a runbook or a summary", name)
		}
		if name == "WaiverEnds" {
			continue // it has no samples; see TestWaiverEnds
		}
		c, ok := cases[name]
		if !ok {
			t.Errorf("%s has no samples", name)
			continue
		}
		t.Run(name, func(t *testing.T) {
			if !fires(t, rule, c.fires, time.Unix(0, 0)) {
				t.Errorf("it is silent on %s", c.fires)
			}
			if fires(t, rule, c.silent, time.Unix(0, 0)) {
				t.Errorf("it fires on %s", c.silent)
			}
		})
	}
	for name := range cases {
		if _, ok := alerts[name]; !ok {
			t.Errorf("%s is not emitted", name)
		}
	}
}

// TestWaiverEnds moves the clock: the waiver holds up to and with 2026-12-20.
func TestWaiverEnds(t *testing.T) {
	rule := emitted(t, repository(t, watched))["WaiverEnds"]
	for at, want := range map[string]bool{"2026-12-06T20:00:00Z": false, "2026-12-07T00:30:00Z": true, "2027-01-01T00:00:00Z": true} {
		from, err := time.Parse(time.RFC3339, at)
		if err != nil {
			t.Fatal(err)
		}
		if got := fires(t, rule, `up 1x60`, from); got != want {
			t.Errorf("from %s on it fires: %t, want %t", at, got, want)
		}
	}
}

// fires evaluates a rule once a minute for two hours and says whether it ever fires.
func fires(t *testing.T, r monitoringv1.Rule, samples string, from time.Time) bool {
	t.Helper()
	storage := promqltest.LoadedStorage(t, "load 1m\n  "+samples+"\n")
	expr, err := parser.NewParser(parser.Options{}).ParseExpr(r.Expr.String())
	if err != nil {
		t.Fatal(err)
	}
	var wait model.Duration
	if r.For != nil {
		if wait, err = model.ParseDuration(string(*r.For)); err != nil {
			t.Fatal(err)
		}
	}
	rule := rules.NewAlertingRule(r.Alert, expr, time.Duration(wait), 0, labels.FromMap(r.Labels), labels.FromMap(r.Annotations), labels.EmptyLabels(), "", true, slog.New(slog.DiscardHandler))
	query := rules.EngineQueryFunc(promqltest.NewTestEngine(t, false, 5*time.Minute, 100000), storage)
	for minute := range 120 {
		at := from.Add(time.Duration(minute) * time.Minute)
		if minute >= 60 && from.Unix() == 0 && r.For == nil {
			break // the samples end there
		}
		if _, err := rule.Eval(context.Background(), 0, at, query, nil, 0); err != nil {
			t.Fatal(err)
		}
		for _, alert := range rule.ActiveAlerts() {
			if alert.State == rules.StateFiring {
				for name, text := range map[string]string{"summary": alert.Annotations.Get("summary"), "description": alert.Annotations.Get("description")} {
					if text == "" || bytes.Contains([]byte(text), []byte("<error")) || bytes.Contains([]byte(text), []byte("<no value>")) {
						t.Errorf("%s: the %s reads %q", r.Alert, name, text)
					}
				}
				return true
			}
		}
	}
	return false
}
