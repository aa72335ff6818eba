package backup

import (
	"fmt"
	"strings"

	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/generators"
)

// pageData fills docs/disaster-recovery.md.
type pageData struct {
	Cluster, Platform, Kubernetes                             string
	RPO, RTO                                                  string
	Velero, Installed, FileSystem, Secretbox, Kind, AWS, HA   bool
	Bucket, Region, Endpoint, KMSKeyID, RoleARN, Credential   string
	Schedule, Namespaces, Left, Namespace                     string
	Retention, Immutable, Noncurrent                          int
	Snapshots                                                 snapshotData
	Enabled, Encrypted                                        bool
	RestoreTest                                               *posture.RestoreTest
	Provider, KeyFile, KMS, GitOps, Repository, Shell, Resume string
	Drills                                                    int
}

// page is docs/disaster-recovery.md.
func page(p *posture.Posture) ([]generators.Artifact, error) {
	b := &p.Backup
	d := pageData{
		Cluster: p.Cluster.Name, Platform: p.Cluster.Platform, Kubernetes: p.Cluster.Kubernetes,
		RPO: hours(b.RPOHours), RTO: hours(b.RTOHours), Velero: active(p), Installed: b.Install == posture.InstallInstall,
		FileSystem: b.VolumeMode == "file-system", Secretbox: p.Encryption.Provider == "secretbox", Kind: p.Cluster.Platform == "kind",
		HA: p.Cluster.ControlPlaneEndpoint != "", Schedule: b.Schedule, Retention: b.RetentionDays, Immutable: b.ImmutableDays,
		Noncurrent: b.RetentionDays + b.ImmutableDays, Snapshots: newSnapshotData(p), Enabled: b.EtcdSnapshots.Enabled,
		Encrypted: len(b.EtcdSnapshots.Recipients) > 0, RestoreTest: b.RestoreTest, Provider: p.Secrets.Provider,
		KeyFile: generators.NodeKeyDir + "/encryption.yaml", GitOps: p.GitOps.Engine, Repository: p.GitOps.URL,
		Shell: "ssh root@$NODE", Drills: p.Incident.DrillsPerYear, Namespaces: "none", Left: "none", Namespace: "NAMESPACE",
	}
	if d.Kind {
		d.Shell = "docker exec $NODE"
	}
	if k := p.Encryption.KMS; k != nil {
		d.KMS = k.Name
	}
	if l := b.Location; l != nil {
		d.Bucket, d.Region, d.Endpoint, d.KMSKeyID, d.RoleARN, d.Credential = l.Bucket, l.Region, l.Endpoint, l.KMSKeyID, l.RoleARN, l.CredentialSecret
		d.AWS = aws(l)
	}
	names := saved(p)
	if len(names) > 0 {
		d.Namespaces, d.Namespace = "`"+strings.Join(names, "`, `")+"`", names[0]
	}
	var left []string
	for _, name := range p.NamespaceNames() {
		if !p.Namespaces[name].Backup {
			left = append(left, name)
		}
	}
	if len(left) > 0 {
		d.Left = "`" + strings.Join(left, "`, `") + "`"
	}
	text, err := generators.Text("backup/disaster-recovery.md.tmpl", d)
	if err != nil {
		return nil, err
	}
	claims := generators.Claims("## The way back", "backup-6")
	claims = append(claims, generators.Claims("may be lost", "backup-6", "backup-9")...)
	if d.Velero {
		claims = append(claims, generators.Claims("## Before the first backup", "backup-8")...)
		if !d.AWS {
			claims = append(claims, generators.Claims("## The bucket", "backup-3")...)
		}
	}
	return []generators.Artifact{{Path: "docs/disaster-recovery.md", Kind: generators.Procedure, Text: text, Claims: claims}}, nil
}

func hours(n int) string {
	if n == 1 {
		return "1 hour"
	}
	return fmt.Sprintf("%d hours", n)
}
