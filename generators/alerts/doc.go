// Package alerts emits the rules that notice an attack or the loss of a protection, and who is told.
//
// There are two sources. Prometheus evaluates metrics that the components of the cluster serve
// themselves (metrics.go). What only the audit log shows is evaluated by the ruler of the Loki that
// the audit log is shipped to (audit.go), over the records themselves. No rule reads a metric or a
// stream that nothing emits: each says when it has a source, and is left out elsewhere.
//
// e2e/formats holds every rule to the packages of Prometheus, Alertmanager and the Prometheus
// Operator, e2e/loki those of the audit log to Loki itself: each is made to fire, and seen to stay
// silent.
package alerts
