package formats

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"slices"
	"testing"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	monitoringv1alpha1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1alpha1"
	"github.com/prometheus/alertmanager/config"
	"github.com/prometheus/alertmanager/dispatch"
	"github.com/prometheus/common/model"
	"sigs.k8s.io/yaml"
)

func strict(t *testing.T, data []byte, into any) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		t.Fatalf("%v\n%s", err, data)
	}
}

// TestOperatorTypes decodes what the Prometheus Operator reads strictly into its own types.
func TestOperatorTypes(t *testing.T) {
	dir := repository(t, watched)
	for _, data := range objects(t, filepath.Join(dir, "manifests", "alerts", "monitors.yaml")) {
		var m monitoringv1.PodMonitor
		strict(t, data, &m)
		if len(m.Spec.PodMetricsEndpoints) != 1 || len(m.Spec.NamespaceSelector.MatchNames) != 1 {
			t.Errorf("%s: %+v", m.Name, m.Spec)
		}
	}
}

// TestRoutes builds Alertmanager's configuration of the emitted AlertmanagerConfig, as the operator
// does, lets Alertmanager load it, and asks where each severity goes.
func TestRoutes(t *testing.T) {
	dir := repository(t, watched)
	var c monitoringv1alpha1.AlertmanagerConfig
	strict(t, objects(t, filepath.Join(dir, "manifests", "alerts", "alertmanager.yaml"))[0], &c)
	if len(c.Spec.Receivers) != 5 {
		t.Errorf("%d receivers", len(c.Spec.Receivers))
	}
	secrets := 0
	for _, r := range c.Spec.Receivers {
		for _, s := range r.SlackConfigs {
			secrets++
			if s.APIURL.Name != "alerts" || s.APIURL.Key != "url" || *s.Channel != "#security" {
				t.Errorf("slack: %+v", s)
			}
		}
		for _, p := range r.PagerDutyConfigs {
			secrets++
			if p.RoutingKey.Name != "alerts" || p.RoutingKey.Key != "routing-key" {
				t.Errorf("pagerduty: %+v", p)
			}
		}
		for _, e := range r.EmailConfigs {
			secrets++
			if e.AuthPassword.Key != "password" || *e.Smarthost != "smtp.acme.internal:587" || !*e.RequireTLS {
				t.Errorf("email: %+v", e)
			}
		}
		for _, w := range r.WebhookConfigs {
			secrets++
			if w.URLSecret.Key != "siem" || w.URL != nil {
				t.Errorf("webhook: %+v", w)
			}
		}
	}
	if secrets != 4 {
		t.Errorf("%d receivers name a secret", secrets)
	}

	matchers := func(list []monitoringv1alpha1.Matcher) []string {
		var out []string
		for _, m := range list {
			out = append(out, m.Name+string(m.MatchType)+`"`+m.Value+`"`)
		}
		return out
	}
	children, err := c.Spec.Route.ChildRoutes()
	if err != nil {
		t.Fatal(err)
	}
	var routes, receivers, inhibits []map[string]any
	for _, r := range children {
		routes = append(routes, map[string]any{"receiver": r.Receiver, "matchers": matchers(r.Matchers)})
	}
	for _, r := range c.Spec.Receivers {
		receivers = append(receivers, map[string]any{"name": r.Name})
	}
	for _, i := range c.Spec.InhibitRules {
		inhibits = append(inhibits, map[string]any{"source_matchers": matchers(i.SourceMatch), "target_matchers": matchers(i.TargetMatch), "equal": i.Equal})
	}
	text, err := yaml.Marshal(map[string]any{
		"route": map[string]any{
			"receiver": c.Spec.Route.Receiver, "group_by": c.Spec.Route.GroupBy, "group_wait": c.Spec.Route.GroupWait, "group_interval": c.Spec.Route.GroupInterval,
			"repeat_interval": c.Spec.Route.RepeatInterval, "routes": routes,
		},
		"receivers": receivers, "inhibit_rules": inhibits,
	})
	if err != nil {
		t.Fatal(err)
	}
	loaded, err := config.Load(string(text))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	root := dispatch.NewRoute(loaded.Route, nil)
	for _, want := range []struct{ name, severity, receiver string }{
		{"AuditLogFailing", "critical", "oncall"}, {"LoginsFail", "warning", "chat"}, {"Anything", "info", "mail"}, {"Other", "", "oncall"}, {"Watchdog", "none", "nobody"}, {"InfoInhibitor", "none", "nobody"},
	} {
		var got []string
		for _, r := range root.Match(model.LabelSet{"alertname": model.LabelValue(want.name), "severity": model.LabelValue(want.severity)}) {
			got = append(got, r.RouteOpts.Receiver)
		}
		if !slices.Equal(got, []string{want.receiver}) {
			t.Errorf("%s (%s) reaches %v, want %s", want.name, want.severity, got, want.receiver)
		}
	}
}
