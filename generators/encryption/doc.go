// Package encryption emits how secrets are encrypted at rest: the configuration of a KMS plug-in, or
// the script that replaces a local key, and the procedures for both; and in transit: cert-manager,
// and what has to be set in the CNI or mesh that encrypts between pods.
//
// A local key is made on the node by the apiserver domain's node script, because a key in the
// repository would be no secret. No provider list ends with identity: with it, whoever can write to
// etcd could put plain text there and the API server would take it for a secret.
package encryption
