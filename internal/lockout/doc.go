// Package lockout shows, without a cluster, that an emitted or edited repository locks nobody out:
// that under its policies and for its CNI the ways stay open that a cluster needs to live and to be
// repaired, and that what must be closed is closed.
//
// It reads the objects themselves, not the posture that they were made from: every NetworkPolicy and
// Cilium policy is parsed and evaluated as the chosen CNI evaluates it, connection by connection. A
// test that only compared the objects with what a generator meant would pass on its mistakes.
//
// What a pod's labels are is not known before it runs. A way that must be open is therefore judged for
// a pod without labels and for one pod for each selector in its namespace: allow rules only add up, so
// a pod with more labels has every way that these have. A way that must be closed is judged against a
// peer that may have any label and any address it could have. Tenants are not compared pair by pair: a
// peer that no rule names cannot be told from a stranger, so one stranger stands for all of them, and
// only the namespaces that a rule does name are looked at one by one. The cost grows with the number of
// rules, not with the square of the namespaces.
package lockout
