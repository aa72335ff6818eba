package posture

import (
	"net/netip"
	"net/url"
	"strconv"
)

// The namespaces of the add-ons that log and watch, as cue/posture/defaults.cue has them.
const (
	LoggingNamespace    = "logging"
	LokiNamespace       = "loki"
	MonitoringNamespace = "monitoring"
)

// Ports of those add-ons.
const (
	LokiPort         = 3100
	AlertmanagerPort = 9093
)

// ShipsLogs says whether GitOps installs a log shipper.
func (p *Posture) ShipsLogs() bool {
	return p.Logging.Shipper != "off" && p.Logging.Install == InstallInstall
}

// OwnLoki says whether the logs go to a Loki in the cluster, because no sink is named.
func (p *Posture) OwnLoki() bool { return p.ShipsLogs() && p.Logging.Sink == nil }

// Monitoring is the namespace of Prometheus and Alertmanager, or empty where there is none.
func (p *Posture) Monitoring() string {
	switch {
	case p.Alerts.Install == InstallOff:
		return ""
	case p.Network.MonitoringNamespace != "":
		return p.Network.MonitoringNamespace
	}
	return MonitoringNamespace
}

// AddonFlows are the ways that the add-ons need besides the declared ones of their namespaces. They
// depend on values that stand elsewhere in the posture: where logs go, who is told of alerts. Their names
// begin with addon-, which no declared flow has to care for.
func (p *Posture) AddonFlows(namespace string) (ingress, egress map[string]Flow) {
	ingress, egress = map[string]Flow{}, map[string]Flow{}
	monitoring := p.Monitoring()
	loki := map[string]string{"app.kubernetes.io/name": "loki"}
	alertmanager := map[string]string{"app.kubernetes.io/name": "alertmanager"}
	tcp := func(ports ...int) []Port {
		list := make([]Port, len(ports))
		for i, port := range ports {
			list[i] = Port{Port: port, Protocol: "TCP"}
		}
		return list
	}
	if namespace == LoggingNamespace && p.ShipsLogs() {
		if p.OwnLoki() {
			egress["addon-loki"] = Flow{Why: "The shipper sends every record to Loki.", Peers: []Peer{{Namespace: LokiNamespace, Pods: loki}}, Ports: tcp(LokiPort)}
		} else if peer, port, ok := p.outside(p.Logging.Sink.URL); ok {
			egress["addon-sink"] = Flow{Why: "The shipper sends every record to the sink of the posture.", Peers: []Peer{peer}, Ports: tcp(port)}
		}
	}
	if namespace == LokiNamespace && p.OwnLoki() {
		ingress["addon-shipper"] = Flow{
			Why: "Records come from the shipper alone.", Pods: loki, Ports: tcp(LokiPort),
			Peers: []Peer{{Namespace: LoggingNamespace, Pods: map[string]string{"app.kubernetes.io/name": p.Logging.Shipper}}},
		}
		if monitoring != "" {
			egress["addon-alertmanager"] = Flow{Why: "Loki's ruler reports what the audit log shows.", Pods: loki, Peers: []Peer{{Namespace: monitoring, Pods: alertmanager}}, Ports: tcp(AlertmanagerPort)}
		}
	}
	if namespace != monitoring || monitoring == "" {
		return ingress, egress
	}
	if p.OwnLoki() {
		ingress["addon-loki"] = Flow{Why: "Loki's ruler reports what the audit log shows.", Pods: alertmanager, Peers: []Peer{{Namespace: LokiNamespace, Pods: loki}}, Ports: tcp(AlertmanagerPort)}
	}
	if p.Alerts.Install == InstallInstall {
		egress["addon-nodes"] = Flow{
			Why: "Prometheus reads the metrics of kubelets and node exporters.", Pods: map[string]string{"app.kubernetes.io/name": "prometheus"},
			Peers: []Peer{{Entity: "nodes"}}, Ports: tcp(9100, 10250),
		}
		ports := []int{443}
		for _, r := range p.Alerts.Receivers {
			if _, port, ok := p.outside("smtp://" + r.Smarthost); ok && r.Kind == "email" {
				ports = appendOnce(ports, port)
			}
		}
		if len(p.Alerts.Receivers) > 0 {
			egress["addon-receivers"] = Flow{Why: "Alertmanager tells people.", Pods: alertmanager, Peers: []Peer{{Entity: "world"}}, Ports: tcp(ports...)}
		}
	}
	return ingress, egress
}

// outside is the peer and port of a URL: its address, its name where the CNI knows names, else
// anywhere.
func (p *Posture) outside(raw string) (peer Peer, port int, ok bool) {
	u, err := url.Parse(raw)
	if err != nil || u.Hostname() == "" {
		return Peer{}, 0, false
	}
	port = 443
	if u.Scheme == "http" {
		port = 80
	}
	if s := u.Port(); s != "" {
		if port, err = strconv.Atoi(s); err != nil {
			return Peer{}, 0, false
		}
	}
	if a, err := netip.ParseAddr(u.Hostname()); err == nil {
		return Peer{CIDR: netip.PrefixFrom(a, a.BitLen()).String()}, port, true
	}
	if p.Cluster.CNI == "cilium" {
		return Peer{FQDN: u.Hostname()}, port, true
	}
	return Peer{Entity: "world"}, port, true
}

func appendOnce(list []int, n int) []int {
	i := 0
	for i < len(list) && list[i] < n {
		i++
	}
	if i < len(list) && list[i] == n {
		return list
	}
	return append(list[:i:i], append([]int{n}, list[i:]...)...)
}
