package backup

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/generators"
)

const (
	domain    = "backup"
	namespace = "velero"
	// location is the name of the BackupStorageLocation, Velero's own default.
	location = "default"
	// schedule is the name of the Schedule.
	schedule = "k8ssec"
	// volumePolicy is the ConfigMap that says which volumes are saved.
	volumePolicy = "k8ssec-volumes"
	// credentialKey is the key of the secret with the credentials of the bucket.
	credentialKey = "cloud"
)

// New returns the generator of the domain backup.
func New() generators.Generator { return generator{} }

type generator struct{}

func (generator) Domain() string { return domain }

// Generate emits Velero's configuration where a bucket is decided, the snapshots of etcd where they are
// asked for, and the page about both always.
func (generator) Generate(p *posture.Posture) (*generators.Output, error) {
	out := &generators.Output{Undecided: undecided(p)}
	for _, part := range []func(*posture.Posture) ([]generators.Artifact, error){velero, restoreTest, snapshots, bucket, page} {
		artifacts, err := part(p)
		if err != nil {
			return nil, err
		}
		out.Artifacts = append(out.Artifacts, artifacts...)
	}
	return out, nil
}

// active says whether Velero is configured: it is there, and it is known where it writes.
func active(p *posture.Posture) bool {
	return p.Backup.Install != posture.InstallOff && p.Backup.Location != nil
}

// undecided is what only the user knows.
func undecided(p *posture.Posture) []generators.Decision {
	b := &p.Backup
	var d []generators.Decision
	if !active(p) {
		line := `backup: {install: "install", location: {bucket: "prod-backups", region: "eu-central-1", kmsKeyID: "arn:aws:kms:eu-central-1:123456789012:key/ID", roleARN: "arn:aws:iam::123456789012:role/velero"}}`
		d = append(d, generators.Decision{
			Controls: []string{"backup-1", "backup-3", "backup-4", "backup-5", "backup-8"},
			Line:     line,
			Enables:  "Velero backs up each namespace with backup: true, on schedule, into a bucket that is locked and encrypted",
		})
	} else {
		if b.Location.KMSKeyID == "" {
			d = append(d, generators.Decision{
				Controls: []string{"backup-4"},
				Line:     `backup: location: kmsKeyID: "arn:aws:kms:eu-central-1:123456789012:key/ID"`,
				Enables:  "backups are encrypted with a key of your own; until then the bucket's default decides",
			})
		}
		if b.Location.RoleARN == "" && b.Location.CredentialSecret == "" {
			d = append(d, generators.Decision{
				Line:    `backup: location: roleARN: "arn:aws:iam::123456789012:role/velero"`,
				Enables: "Velero reaches the bucket as this role, or with credentialSecret by a key in that secret; until then as what its nodes are",
			})
		}
		if b.RestoreTest == nil {
			example := "team-a"
			if names := saved(p); len(names) > 0 {
				example = names[0]
			}
			d = append(d, generators.Decision{
				Controls: []string{"backup-5"},
				Line:     fmt.Sprintf("backup: restoreTest: namespace: %q", example),
				Enables:  "once a week the latest backup of that namespace is restored into restore-test, which reaches nobody, and removed again",
			})
		}
	}
	switch s := &b.EtcdSnapshots; {
	case !s.Enabled:
		d = append(d, generators.Decision{
			Controls: []string{"backup-2", "backup-7", "nsa-S3"},
			Line:     "backup: etcdSnapshots: enabled: true",
			Enables:  "each control plane node takes a snapshot of etcd by a timer, checks it and keeps the newest",
		})
	case len(s.Recipients) == 0 || s.CopyTo == "":
		d = append(d, generators.Decision{
			Controls: []string{"backup-7"},
			Line:     `backup: etcdSnapshots: {recipients: ["age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"], copyTo: "s3://prod-etcd/snapshots"}`,
			Enables:  "each snapshot is encrypted to these age keys and copied off its node; until then it lies on its node alone",
		})
	}
	return d
}

// saved are the namespaces that Velero saves, sorted.
func saved(p *posture.Posture) []string {
	return slices.DeleteFunc(p.NamespaceNames(), func(name string) bool { return !p.Namespaces[name].Backup })
}

// velero is manifests/backup and, where it is to be installed, the add-on.
func velero(p *posture.Posture) ([]generators.Artifact, error) {
	if !active(p) {
		return nil, nil
	}
	var artifacts []generators.Artifact
	if p.Backup.Install == posture.InstallInstall {
		installed, err := install(p)
		if err != nil {
			return nil, err
		}
		artifacts = append(artifacts, installed...)
	}
	return append(artifacts, generators.Artifact{
		Path:    "manifests/backup/velero.yaml",
		Comment: "What is backed up, when, and to where. Read by Velero.",
		Objects: []generators.Object{storageLocation(p), volumes(p), backupSchedule(p)},
	}), nil
}

// meta is the metadata of an object of Velero's.
func meta(name string) metav1.ObjectMeta { return generators.Meta(domain, namespace, name) }

func storageLocation(p *posture.Posture) generators.Object {
	l := p.Backup.Location
	config := map[string]string{"region": l.Region}
	claims := generators.Claims("spec.objectStorage.bucket", "backup-1")
	why := "Where backups are written. The bucket itself is hardened by bootstrap/backup/bucket.tf: versions, object lock, encryption, no public access.\n" +
		"checksumAlgorithm is left at its default: a bucket with object lock refuses what comes without a checksum."
	if l.Endpoint != "" {
		config["s3Url"], config["s3ForcePathStyle"] = l.Endpoint, "true"
		why = "Where backups are written, at an S3 service of your own; docs/disaster-recovery.md says how it must be set up.\n" +
			"checksumAlgorithm is left at its default: a bucket with object lock refuses what comes without a checksum."
	}
	if l.KMSKeyID != "" {
		config["serverSideEncryption"], config["kmsKeyId"] = "aws:kms", l.KMSKeyID
		claims = append(claims, generators.Claims("spec.config.kmsKeyId", "backup-4")...)
		claims = append(claims, generators.Claims("spec.config.serverSideEncryption", "backup-4")...)
	}
	spec := storageLocationSpec{
		Provider:      "velero.io/aws",
		Default:       true,
		AccessMode:    "ReadWrite",
		ObjectStorage: objectStorage{Bucket: l.Bucket, Prefix: l.Prefix},
		Config:        config,
	}
	if l.CredentialSecret != "" {
		spec.Credential = &corev1.SecretKeySelector{
			LocalObjectReference: corev1.LocalObjectReference{Name: l.CredentialSecret}, Key: credentialKey,
		}
	}
	return generators.Object{
		Value: &backupStorageLocation{
			TypeMeta:   metav1.TypeMeta{APIVersion: veleroAPI, Kind: "BackupStorageLocation"},
			ObjectMeta: meta(location),
			Spec:       spec,
		},
		Why: why, Claims: claims,
	}
}

// volumes is the policy of volumes. Its form is Velero's own (internal/resourcepolicies).
func volumes(*posture.Posture) generators.Object {
	return generators.Object{
		Value: &corev1.ConfigMap{
			TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
			ObjectMeta: meta(volumePolicy),
			Data: map[string]string{"policy.yaml": "version: v1\n" +
				"volumePolicies:\n" +
				"- conditions:\n" +
				"    volumeTypes: [emptyDir, ephemeral, hostPath, configMap, secret, downwardAPI, projected]\n" +
				"  action:\n" +
				"    type: skip\n"},
		},
		Why: "Which volumes are left out: those that end with their pod, and those that Kubernetes fills itself. All others are saved.",
	}
}

func backupSchedule(p *posture.Posture) generators.Object {
	b := &p.Backup
	off, on := false, true
	kind := "configmap"
	template := backupSpec{
		IncludedNamespaces: saved(p),
		// Heartbeats and what the control plane makes again by itself.
		ExcludedNamespaceScopedResources: []string{"endpoints", "endpointslices.discovery.k8s.io", "events", "events.events.k8s.io", "leases.coordination.k8s.io"},
		StorageLocation:                  location,
		TTL:                              fmt.Sprintf("%dh0m0s", b.RetentionDays*24),
		ResourcePolicy:                   &resourcePolicy{Kind: kind, Name: volumePolicy},
	}
	why := "Every namespace with backup: true in cluster.cue, with its volumes. What is cluster-wide comes from Git; the volumes' own objects are taken along.\n"
	if b.VolumeMode == "snapshot" {
		template.SnapshotVolumes, template.SnapshotMoveData = &on, &on
		why += "Volumes are snapshotted by their CSI driver and the snapshot is moved into the bucket: one that stays in the storage system is lost with it."
	} else {
		template.SnapshotVolumes, template.DefaultVolumesToFsBackup = &off, &on
		why += "Volumes are read by the agent of their node (kopia) and written into the bucket, encrypted: docs/disaster-recovery.md says with which password."
	}
	if p.Secrets.Provider != "" {
		template.ExcludedNamespaceScopedResources = append(template.ExcludedNamespaceScopedResources, "secrets")
		why += "\nSecrets are left out: they come from " + p.Secrets.Provider + " again, and a backup with them would be a second place to guard."
	} else {
		why += "\nSecrets are in it, readable for whoever reads the bucket and may use its key."
	}
	return generators.Object{
		Value: &veleroSchedule{
			TypeMeta:   metav1.TypeMeta{APIVersion: veleroAPI, Kind: "Schedule"},
			ObjectMeta: meta(schedule),
			Spec: scheduleSpec{
				Schedule: b.Schedule,
				Template: template,
				// With owner references, deleting the schedule would delete every backup it made.
				UseOwnerReferencesInBackup: &off,
			},
		},
		Why: why,
		Claims: slices.Concat(
			generators.Claims("spec.schedule", "backup-1", "nsa-S3"),
			generators.Claims("spec.template.includedNamespaces", "backup-1"),
		),
	}
}

// aws says whether the bucket is one of Amazon's, which bucket.tf can harden.
func aws(l *posture.BackupLocation) bool { return l != nil && l.Endpoint == "" }

// arnPartition is the partition of AWS that a region belongs to.
func arnPartition(region string) string {
	switch {
	case strings.HasPrefix(region, "cn-"):
		return "aws-cn"
	case strings.HasPrefix(region, "us-gov-"):
		return "aws-us-gov"
	}
	return "aws"
}
