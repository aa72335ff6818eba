package backup

import (
	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/generators"
)

// Probes asks for the rights of the restore test's job: enough to restore, and nothing of the original.
// That the objects are as emitted is asked for all manifests alike.
func (generator) Probes(p *posture.Posture) []generators.Probe {
	if !active(p) || p.Backup.RestoreTest == nil {
		return nil
	}
	const file = "manifests/backup/restore-test.yaml: "
	job := generators.ServiceAccount(namespace, testName)
	deny := generators.Probe{
		ID: "backup-restore-test-original-deny", Domain: domain, Kind: generators.Deny,
		Title:    "the job of the restore test reads secrets of the namespace whose backup it restores",
		Why:      "Whoever takes over the job has the original as well.",
		Controls: []string{"backup-5"}, Artifacts: []string{file + "Role " + testNamespace + "/" + testName},
		Pair:  "backup-restore-test-allow",
		Plain: "Nothing is bound to an account that does not exist.",
		Check: generators.Access{As: job, Verb: "get", Resource: "secrets", Namespace: p.Backup.RestoreTest.Namespace},
	}
	allow := generators.Probe{
		ID: "backup-restore-test-allow", Domain: domain, Kind: generators.Allow,
		Title:    "the job of the restore test asks Velero for a restore",
		Why:      "The test fails each time, and nobody learns whether backups can be restored.",
		Controls: []string{"backup-5"}, Artifacts: []string{file + "Role " + namespace + "/" + testName, file + "RoleBinding " + namespace + "/" + testName},
		Pair:  deny.ID,
		Check: generators.Access{As: job, Verb: "create", Group: "velero.io", Resource: "restores", Namespace: namespace},
	}
	return []generators.Probe{deny, allow}
}
