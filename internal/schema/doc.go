// Package schema says whether an object is valid for a minor version of Kubernetes: whether its kind
// exists there, whether every field is known and of the right type, whether what is required is
// there. It covers all kinds that the API server of each supported minor takes, the custom kinds
// that k8ssec emits, and the files that components and tools read and no API knows (kubeadm,
// kubelet, admission, authentication and audit configuration, kind clusters, kustomizations).
//
// The schemas in data/ are made by gen from the modules that define the types: Kubernetes' own
// OpenAPI document with the enums of its generated code, CustomResourceDefinitions, and Go types.
// They are read when the first object asks for them, so that a command that checks nothing pays
// nothing. Only the API server can judge the rest: CEL rules, the meaning of a CEL expression, and
// what the Go validation of a type says beyond its schema.
package schema

//go:generate go run ./gen
