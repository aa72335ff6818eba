// Package backup emits what brings the cluster's state back: Velero's schedules and where they write,
// the restore that is tried by itself, the snapshots of etcd on the control plane nodes, the plan that
// hardens the bucket, and the page for the day on which all of it is needed.
//
// What Velero saves are namespaces with their volumes; what is cluster-wide comes from Git. etcd's
// snapshots are for the control plane itself: they bring everything back at once, on the same machines.
//
// Traps that the emitted form avoids, each seen in Velero's own code:
//
//   - Velero has no notion of immutable backups. Object lock works because the bucket is versioned and
//     each write makes a version; the checksum of the AWS plug-in must stay on (checksumAlgorithm), or
//     S3 refuses the write.
//   - Volumes that are saved by the file system lie in a repository whose password is a constant of
//     Velero's source until somebody makes the secret velero-repo-credentials, before the first backup.
//   - Owner references from a backup to its schedule would delete all backups with the schedule.
//   - Emptied volumes (emptyDir) are saved by default; the policy of volumes leaves them out.
//   - Old and new filters of resources must not be mixed in one backup.
package backup
