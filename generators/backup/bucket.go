package backup

import (
	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/generators"
)

// bucketData fills bucket.tf and bucket.sh.
type bucketData struct {
	Cluster, Bucket, Region, Prefix, KMSKeyID, Partition, Role string
	ImmutableDays, NoncurrentDays                              int
	Snapshot                                                   bool
}

// bucket is the bucket and the rights on it, as Terraform and as the same calls of the AWS CLI.
func bucket(p *posture.Posture) ([]generators.Artifact, error) {
	if !active(p) || !aws(p.Backup.Location) {
		return nil, nil
	}
	l := p.Backup.Location
	d := bucketData{
		Cluster: p.Cluster.Name, Bucket: l.Bucket, Region: l.Region, Prefix: l.Prefix, KMSKeyID: l.KMSKeyID,
		Partition: arnPartition(l.Region), Role: l.RoleARN, ImmutableDays: p.Backup.ImmutableDays,
		// A version that was replaced or deleted is needed until the newest backup that may refer to it
		// has expired, and never goes before its lock does.
		NoncurrentDays: p.Backup.RetentionDays + p.Backup.ImmutableDays,
		Snapshot:       p.Backup.VolumeMode == "snapshot",
	}
	var artifacts []generators.Artifact
	for _, f := range []struct {
		name       string
		executable bool
	}{{"bucket.tf", false}, {"bucket.sh", true}} {
		text, err := generators.Text("backup/"+f.name+".tmpl", d)
		if err != nil {
			return nil, err
		}
		claims := generators.Claims("COMPLIANCE", "backup-3")
		if d.KMSKeyID != "" {
			claims = append(claims, generators.Claims("aws:kms", "backup-4")...)
		}
		artifacts = append(artifacts, generators.Artifact{
			Path: "bootstrap/backup/" + f.name, Text: text, Executable: f.executable, Kind: generators.Procedure, Claims: claims,
		})
	}
	return artifacts, nil
}
