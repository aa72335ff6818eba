// Package runtime emits what watches and confines running containers: Falco rules or Tetragon
// policies, profiles for the Security Profiles Operator, the sandbox for code that nobody trusts, and
// user namespaces.
//
// The rules come from the posture: what it forbids is what they report, and a namespace that may do a
// thing is an exception of the rule about it. Each names its technique in MITRE ATT&CK and its runbook.
package runtime
