package backup

import (
	"path"
	"strings"

	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/generators"
)

// snapshotData fills the script and the units of the snapshots.
type snapshotData struct {
	Dir, Data, Pki, CopyTo string
	// Scheme of CopyTo: "s3", "ssh" or empty; Host and Path are its parts.
	Scheme, Host, Path string
	Recipients         []string
	Keep, Hours        int
	Script             string
}

func newSnapshotData(p *posture.Posture) snapshotData {
	s := &p.Backup.EtcdSnapshots
	d := snapshotData{
		Dir: s.Directory, Data: "/var/lib/etcd", Pki: "/etc/kubernetes/pki/etcd", CopyTo: s.CopyTo,
		Recipients: s.Recipients, Keep: s.Keep, Hours: s.EveryHours, Script: generators.NodeEtcdSnapshotScript,
	}
	if scheme, rest, ok := strings.Cut(s.CopyTo, "://"); ok {
		d.Scheme = scheme
		d.Host, d.Path, _ = strings.Cut(rest, "/")
		d.Path = path.Clean("/" + d.Path)
	}
	return d
}

// snapshots are the script and the timer on each control plane node.
func snapshots(p *posture.Posture) ([]generators.Artifact, error) {
	if !p.Backup.EtcdSnapshots.Enabled {
		return nil, nil
	}
	d := newSnapshotData(p)
	claims := append(generators.Claims("snapshot save", "backup-2", "nsa-S3"), generators.Claims("snapshot status", "backup-2")...)
	if len(d.Recipients) > 0 && d.CopyTo != "" {
		claims = append(claims, generators.Claims("age --encrypt", "backup-7")...)
		claims = append(claims, generators.Claims("copy_off ", "backup-7")...)
	}
	var artifacts []generators.Artifact
	for _, f := range []struct {
		name       string
		executable bool
		claims     []generators.Claim
	}{
		{"k8ssec-etcd-snapshot.sh", true, claims},
		{"k8ssec-etcd-snapshot.service", false, nil},
		{"k8ssec-etcd-snapshot.timer", false, generators.Claims("OnUnitActiveSec", "backup-2")},
	} {
		text, err := generators.Text("backup/"+f.name+".tmpl", d)
		if err != nil {
			return nil, err
		}
		artifacts = append(artifacts, generators.Artifact{
			Path: "bootstrap/node/" + f.name, Text: text, Executable: f.executable, Kind: generators.Node, Claims: f.claims,
		})
	}
	return artifacts, nil
}
