// Package resources emits what keeps one tenant from using up what belongs to all: quotas and
// limits in each namespace, priorities and who may use them, a share of the API server, and the
// budget that keeps cluster DNS up while nodes are drained.
package resources
