// Package secrets emits how workloads get secrets from a store outside of the cluster: Vault or AWS
// Secrets Manager, through External Secrets.
//
// Each namespace and purpose has an identity of its own, from end to end: a service account, a
// SecretStore that logs in as it, and in the store a role and a policy that read exactly the entries
// which the posture declares. No credential of the store is in the cluster or in the repository, so
// there is no first secret to bring: External Secrets asks the API server for a token of the service
// account, and the store believes that.
//
// What External Secrets could do beyond its task is bounded by admission policies, because its chart
// grants it more than it needs: it may create tokens of every service account and write every secret.
//
// The types of External Secrets are small copies: its API package brings controller-runtime. Tests and
// verify hold what is emitted against the CRDs.
package secrets
