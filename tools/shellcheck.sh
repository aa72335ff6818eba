#!/usr/bin/env bash
# Checks every shell script: those of this repository and those that k8ssec emits, for each platform.
set -euo pipefail
cd "$(dirname "$0")/.."
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

# Every switch that adds a script or a part of one, on each platform.
for variant in kubeadm-cilium kind-calico; do
	platform=${variant%-*}
	copy=s3://scripts/etcd
	patching=unattended-upgrades
	[ "$platform" = kubeadm ] || patching=off
	[ "$platform" = kubeadm ] || copy=ssh://backup@files.internal/etcd
	mkdir "$tmp/$platform"
	cat >"$tmp/$platform/cluster.cue" <<CUE
package cluster

profiles: ["cis-l2", "nsa"]
cluster: {name: "scripts", platform: "$platform", cni: "${variant#*-}", nodeCIDRs: ["10.0.0.0/24"]}
apiserver: {etcdUser: true, kubeletCertificateAuthority: true}
kubelet: serverTLSBootstrap: true
network: firewall: {enabled: true, apiFrom: ["10.0.0.0/16"]}
upgrades: nodePatching: "$patching"
backup: {
	install: "install"
	location: {bucket: "scripts", region: "eu-central-1", kmsKeyID: "arn:aws:kms:eu-central-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"}
	etcdSnapshots: {
		enabled: true
		recipients: ["age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"]
		copyTo: "$copy"
	}
}
CUE
	go run ./cmd/k8ssec generate "$tmp/$platform" >"$tmp/log" 2>&1 || {
		cat "$tmp/log"
		exit 1
	}
done

scripts=()
while IFS= read -r file; do
	IFS= read -r first <"$file" || true
	case $first in '#!'*sh) scripts+=("$file") ;; esac
done < <(
	git ls-files -co --exclude-standard tools .ci e2e
	find "$tmp" -type f -not -path '*/.k8ssec/*'
)
for s in "${scripts[@]}"; do
	bash -n "$s"
done
if command -v shellcheck >/dev/null; then
	shellcheck "${scripts[@]}"
	echo "shellcheck: ${#scripts[@]} scripts are clean"
else
	echo "shellcheck: NOT CHECKED beyond their syntax, ${#scripts[@]} scripts: shellcheck is not installed (Debian: apt-get install shellcheck)."
fi
