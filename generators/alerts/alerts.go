package alerts

import (
	"bytes"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/generators"
	"github.com/k8ssec/k8ssec/generators/addons"
)

const (
	domain      = "alerts"
	stack       = "kube-prometheus-stack"
	operatorAPI = "monitoring.coreos.com/v1"
	configAPI   = "monitoring.coreos.com/v1alpha1"
	// configName is the name of the AlertmanagerConfig.
	configName = "k8ssec"
	// rulesConfigMap is what generators/logging mounts into Loki.
	rulesConfigMap = "audit-rules"
)

// New returns the generator of the domain alerts.
func New() generators.Generator { return generator{} }

type generator struct{}

// Domain is "alerts".
func (generator) Domain() string { return domain }

// Generate emits the rules, who is told, and the Prometheus stack where the posture installs it.
func (generator) Generate(p *posture.Posture) (*generators.Output, error) {
	out := &generators.Output{Undecided: decisions(p)}
	if p.Alerts.Install == posture.InstallOff {
		return out, nil
	}
	if p.Alerts.Install == posture.InstallInstall {
		release, err := addons.Release(p, stack, values(p))
		if err != nil {
			return nil, err
		}
		out.Artifacts = append(out.Artifacts, release...)
	}
	out.Artifacts = append(out.Artifacts, prometheusRules(p))
	if monitors := podMonitors(p); len(monitors) > 0 {
		out.Artifacts = append(out.Artifacts, generators.Artifact{
			Path:    "manifests/alerts/monitors.yaml",
			Comment: "What Prometheus scrapes besides the control plane and the nodes. Read by the Prometheus Operator.",
			Objects: monitors,
		})
	}
	if len(p.Alerts.Receivers) > 0 {
		out.Artifacts = append(out.Artifacts, generators.Artifact{
			Path:    "manifests/alerts/alertmanager.yaml",
			Comment: "Who is told of an alert. Read by the Prometheus Operator, which makes Alertmanager's configuration of it.",
			Objects: []generators.Object{alertmanagerConfig(p)},
		})
	}
	audit, err := auditRules(p)
	if err != nil {
		return nil, err
	}
	out.Artifacts = append(out.Artifacts, audit...)
	page, err := docs(p)
	if err != nil {
		return nil, err
	}
	out.Artifacts = append(out.Artifacts, page)
	return out, nil
}

func decisions(p *posture.Posture) []generators.Decision {
	const receiver = `receivers: oncall: {kind: "slack", secretRef: "alerts/url", to: "#alerts"}, routes: critical: "oncall"`
	switch {
	case p.Alerts.Install == posture.InstallOff:
		return []generators.Decision{{
			Controls: []string{"alerts-1", "alerts-2", "nsa-L5", "enc-5"},
			Line:     `network: monitoringNamespace: "monitoring", alerts: {install: "install", ` + receiver + `}`,
			Enables:  "Prometheus and Alertmanager, with a rule for each sign of an attack or of a lost protection, and somebody who is told",
		}}
	case len(p.Alerts.Receivers) == 0:
		return []generators.Decision{{
			Controls: []string{"alerts-2"},
			Line:     `alerts: {` + receiver + `}`,
			Enables:  "alerts reach people: the secret alerts in the monitoring namespace holds the address, under the key url",
		}}
	}
	return nil
}

func prometheusRules(p *posture.Posture) generators.Artifact {
	file := generators.Artifact{
		Path:    "manifests/alerts/rules.yaml",
		Comment: "What Prometheus watches. docs/alerts.md explains each alert.",
	}
	for _, g := range metricGroups(p) {
		file.Objects = append(file.Objects, generators.Object{
			Value: generators.Custom(operatorAPI, "PrometheusRule", generators.Meta(domain, p.Monitoring(), "k8ssec-"+g.name), map[string]any{
				"groups": []any{g.spec()},
			}),
			Why:    g.why,
			Claims: generators.Claims("spec.groups", g.controls...),
		})
	}
	return file
}

// auditRules are the rules for Loki: mounted into the one in the cluster, or a file to load into one
// outside.
func auditRules(p *posture.Posture) ([]generators.Artifact, error) {
	own := p.OwnLoki()
	if !own && (!p.ShipsLogs() || p.Logging.Sink.Kind != "loki") {
		return nil, nil
	}
	g := auditGroup(p).of(p)
	var text bytes.Buffer
	enc := yaml.NewEncoder(&text)
	enc.SetIndent(2)
	if err := enc.Encode(map[string]any{"groups": []any{g.spec()}}); err != nil {
		return nil, fmt.Errorf("audit rules: %w", err)
	}
	if !own {
		return []generators.Artifact{{
			Path: "alerts/audit-rules.yaml", Kind: generators.Procedure,
			Text:   "# Load into the ruler of " + p.Logging.Sink.URL + ":\n#   lokitool rules load --address=" + p.Logging.Sink.URL + " --id=<tenant> alerts/audit-rules.yaml\n# " + g.why + "\nnamespace: k8ssec\n" + text.String(),
			Claims: generators.Claims("alert:", g.controls...),
		}}, nil
	}
	return []generators.Artifact{{
		Path:    "manifests/alerts/audit-rules.yaml",
		Comment: "What Loki's ruler watches in the audit log. docs/alerts.md explains each alert.",
		Objects: []generators.Object{{
			Value: &corev1.ConfigMap{
				TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"}, ObjectMeta: generators.Meta(domain, posture.LokiNamespace, rulesConfigMap),
				Data: map[string]string{"rules.yaml": text.String()},
			},
			Why:    g.why,
			Claims: generators.Claims("data[rules.yaml]", g.controls...),
		}},
	}}, nil
}

// monitor is one set of pods that is scraped for the rules.
type monitor struct {
	name, namespace, port, path string
	match                       map[string]any
	// honor keeps the labels of the metrics where they say more than those of the scrape.
	honor bool
}

func podMonitors(p *posture.Posture) []generators.Object {
	named := func(name string) map[string]any {
		return map[string]any{"matchLabels": map[string]any{"app.kubernetes.io/name": name}}
	}
	var list []monitor
	if p.GitOps.Engine == "flux" {
		list = append(list, monitor{name: "flux", namespace: p.GitOps.Namespace, port: "http-prom", match: map[string]any{
			"matchExpressions": []any{map[string]any{"key": "app", "operator": "In", "values": []any{"helm-controller", "kustomize-controller", "notification-controller", "source-controller"}}},
		}})
	}
	if certManager(p) {
		list = append(list, monitor{name: "cert-manager", namespace: "cert-manager", port: "http-metrics", match: named("cert-manager"), honor: true})
	}
	if backups(p) {
		list = append(list, monitor{name: "velero", namespace: "velero", port: "http-monitoring", match: named("velero")})
	}
	if p.Images.Scanner != posture.InstallOff {
		list = append(list, monitor{name: "trivy-operator", namespace: "trivy-system", port: "metrics", match: named("trivy-operator"), honor: true})
	}
	if p.ShipsLogs() {
		m := monitor{name: p.Logging.Shipper, namespace: posture.LoggingNamespace, port: "metrics", match: named(p.Logging.Shipper)}
		if p.Logging.Shipper == "fluent-bit" {
			m.path = "/api/v2/metrics/prometheus"
		}
		list = append(list, m)
	}
	objects := []generators.Object{}
	for _, m := range list {
		endpoint := map[string]any{"port": m.port, "interval": "30s"}
		if m.path != "" {
			endpoint["path"] = m.path
		}
		if m.honor {
			endpoint["honorLabels"] = true
		}
		objects = append(objects, generators.Object{
			Value: generators.Custom(operatorAPI, "PodMonitor", generators.Meta(domain, p.Monitoring(), "k8ssec-"+m.name), map[string]any{
				"namespaceSelector":   map[string]any{"matchNames": []any{m.namespace}},
				"selector":            m.match,
				"podMetricsEndpoints": []any{endpoint},
			}),
			Why: "Without it the rules about " + m.name + " see nothing, and say nothing.",
		})
	}
	return objects
}

// alertmanagerConfig is the whole configuration of Alertmanager; addresses and keys stay in the
// secrets that it names.
func alertmanagerConfig(p *posture.Posture) generators.Object {
	receivers := []any{map[string]any{"name": "nobody"}}
	for _, name := range sortedNames(p.Alerts.Receivers) {
		receivers = append(receivers, receiver(name, p.Alerts.Receivers[name]))
	}
	is := func(label, value, how string) []any {
		return []any{map[string]any{"name": label, "value": value, "matchType": how}}
	}
	// Prometheus' own sign of life, and its helper against noise, are for machines.
	routes := []any{map[string]any{"receiver": "nobody", "matchers": is("alertname", "Watchdog|InfoInhibitor", "=~")}}
	for _, severity := range []string{critical, warning, info} {
		if to := p.Alerts.Routes[severity]; to != "" {
			route := map[string]any{"receiver": to, "matchers": is("severity", severity, "=")}
			if severity == critical {
				route["repeatInterval"] = "1h"
			}
			routes = append(routes, route)
		}
	}
	return generators.Object{
		Value: generators.Custom(configAPI, "AlertmanagerConfig", generators.Meta(domain, p.Monitoring(), configName), map[string]any{
			"route": map[string]any{
				// An alert without a route of its own goes where the worst go: to nobody would be worse.
				"receiver": p.Alerts.Routes[critical], "groupBy": []any{"alertname", "namespace", "severity"},
				"groupWait": "30s", "groupInterval": "5m", "repeatInterval": "12h", "routes": routes,
			},
			"receivers": receivers,
			"inhibitRules": []any{map[string]any{
				"sourceMatch": is("severity", critical, "="), "targetMatch": is("severity", warning, "="), "equal": []any{"alertname", "namespace"},
			}},
		}),
		Why:    "Each severity goes to the receiver that alerts.routes names; what has no route goes where critical alerts go.",
		Claims: generators.Claims("spec.route", "alerts-2"),
	}
}

func receiver(name string, r posture.Receiver) map[string]any {
	secretName, key, _ := strings.Cut(r.SecretRef, "/")
	from := map[string]any{"name": secretName, "key": key}
	const title = `[{{ .Status | toUpper }}] {{ .CommonLabels.severity }}: {{ .CommonLabels.alertname }}`
	const text = `{{ range .Alerts }}{{ .Annotations.summary }}. {{ .Annotations.description }} Runbook: {{ .Annotations.runbook }}
{{ end }}`
	out := map[string]any{"name": name}
	switch r.Kind {
	case "slack":
		out["slackConfigs"] = []any{map[string]any{"apiURL": from, "channel": r.To, "sendResolved": true, "title": title, "text": text}}
	case "pagerduty":
		out["pagerdutyConfigs"] = []any{map[string]any{
			"routingKey": from, "sendResolved": true, "description": `{{ .CommonLabels.alertname }}: {{ .CommonAnnotations.summary }}`,
			"severity": `{{ if eq .CommonLabels.severity "info" }}info{{ else if eq .CommonLabels.severity "warning" }}warning{{ else }}critical{{ end }}`,
		}}
	case "email":
		out["emailConfigs"] = []any{map[string]any{
			"to": r.To, "from": r.From, "smarthost": r.Smarthost, "authUsername": r.From, "authPassword": from, "requireTLS": true, "sendResolved": true, "text": text,
			"headers": []any{map[string]any{"key": "Subject", "value": title}},
		}}
	case "webhook":
		out["webhookConfigs"] = []any{map[string]any{"urlSecret": from, "sendResolved": true}}
	}
	return out
}

// values are those of the chart kube-prometheus-stack.
func values(p *posture.Posture) map[string]any {
	off := map[string]any{"enabled": false}
	here := map[string]any{"matchLabels": map[string]any{corev1.LabelMetadataName: p.Monitoring()}}
	alertmanagerSpec := map[string]any{"replicas": int64(2), "alertmanagerConfigNamespaceSelector": here, "priorityClassName": addons.Priority(p)}
	if len(p.Alerts.Receivers) > 0 {
		alertmanagerSpec["alertmanagerConfiguration"] = map[string]any{"name": configName}
	}
	webhooks := map[string]any{"enabled": false}
	operatorTLS := map[string]any{"enabled": false}
	if certManager(p) {
		webhooks = map[string]any{"certManager": map[string]any{"enabled": true}}
		operatorTLS = map[string]any{"enabled": true}
	}
	return map[string]any{
		"grafana": off,
		// The benchmark wants their metrics on the loopback address, where nothing scrapes them.
		"kubeControllerManager": off, "kubeScheduler": off, "kubeEtcd": off, "kubeProxy": off,
		// It reads the host, so it has a namespace of its own; Prometheus needs no privileges.
		"prometheus-node-exporter": map[string]any{"namespaceOverride": "node-exporter"},
		"prometheusOperator":       map[string]any{"admissionWebhooks": webhooks, "tls": operatorTLS},
		"prometheus": map[string]any{"prometheusSpec": map[string]any{
			"retention": "15d", "priorityClassName": addons.Priority(p),
			// Rules and monitors come from this namespace alone, whatever a tenant may write in its own.
			"ruleSelectorNilUsesHelmValues": false, "podMonitorSelectorNilUsesHelmValues": false, "serviceMonitorSelectorNilUsesHelmValues": false,
			"ruleNamespaceSelector": here, "podMonitorNamespaceSelector": here, "serviceMonitorNamespaceSelector": here, "probeNamespaceSelector": here, "scrapeConfigNamespaceSelector": here,
			"arbitraryFSAccessThroughSMs": map[string]any{"deny": true},
			"enableAdminAPI":              false,
		}},
		"alertmanager": map[string]any{"alertmanagerSpec": alertmanagerSpec},
	}
}

func docs(p *posture.Posture) (generators.Artifact, error) {
	type section struct {
		Name, Why, Source string
		Rules             []map[string]string
	}
	var sections []section
	add := func(g group, source string) {
		s := section{Name: g.name, Why: g.why, Source: source}
		for _, r := range g.rules {
			s.Rules = append(s.Rules, map[string]string{
				"Name": r.name, "Severity": r.severity, "Runbook": r.runbook, "Detail": r.detail,
				"Summary": strings.NewReplacer("{{ $labels.", "<", "{{ $value", "<number", " | humanizeDuration", "", " | humanize", "", " }}", ">").Replace(r.summary),
			})
		}
		sections = append(sections, s)
	}
	for _, g := range metricGroups(p) {
		add(g, "Prometheus")
	}
	audit := p.OwnLoki() || (p.ShipsLogs() && p.Logging.Sink.Kind == "loki")
	if audit {
		add(auditGroup(p).of(p), "Loki")
	}
	text, err := generators.Text("alerts/alerts.md.tmpl", struct {
		*posture.Posture
		Sections   []section
		Namespace  string
		Audit, Own bool
	}{p, sections, p.Monitoring(), audit, p.OwnLoki()})
	if err != nil {
		return generators.Artifact{}, err
	}
	return generators.Artifact{Path: "docs/alerts.md", Kind: generators.Doc, Text: text}, nil
}
