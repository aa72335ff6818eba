// Package gitops emits what applies the repository: Flux Kustomizations that depend on one another,
// or Argo CD Applications in waves. The order is data (waves): a later domain is one line.
//
// It also bounds the controllers, which hold cluster-admin: tenants' deliveries act as a service
// account of the tenant, and nothing may refer to another namespace's sources.
//
// The types of Flux are small copies, as importing its API packages costs every start of the
// command some milliseconds; a test decodes what is emitted strictly into the real types.
package gitops
