// Package access emits who may do what: the cluster's roles, their bindings to the groups of the
// identity provider, and the service accounts that hold no token.
//
// Each role that is bound to somebody is an aggregation of small parts, selected by labels of our
// own (Label). An add-on's permissions are added by one more ClusterRole with the right label, and
// no rule is written twice. The built-in admin, edit and view roles are never used: edit can read
// secrets, exec into pods and impersonate service accounts.
//
// People change a hardened cluster through Git. So no human role may write RBAC, admission,
// namespaces or pods themselves: each of them is a way to every secret and every node.
package access
