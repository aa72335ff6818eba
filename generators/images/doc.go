// Package images emits how it is known where images come from and what is in them: the check of
// signatures at admission (Kyverno or sigstore's policy controller), the scanner in the cluster
// (Trivy Operator), and the CI jobs that build, scan and sign so that the cluster takes the result.
//
// Which registries are allowed and whether digests are asked for is checked by the API server itself
// (generators/workloads): built-in policies come before an add-on.
//
// Kyverno gets one policy for all signers. Its verifyImageSignatures answers 0 for an image that the
// policy does not match, so that with a policy a signer each of them would refuse the other's images.
package images
