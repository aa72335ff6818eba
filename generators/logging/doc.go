// Package logging emits the audit policy, the webhook that sends audit records to a collector, the
// shipper of all logs with the store that it fills, and the page that says how to read them.
//
// The policy is judged by what it must not miss: a test plays the steps of an attack through the API
// server's own evaluator. Three rules hold it together:
//
//   - The first rule that matches decides, so what is sensitive comes before what is quiet.
//   - A rule of level None names users, verbs and resources, and no user whom a person or a workload
//     can be.
//   - Kinds whose bodies carry secrets are recorded without them, and a kind that is not known here
//     counts as one.
package logging
