#!/usr/bin/env bash
# Checks every shell script: those of this repository and those that k8ssec emits, for each platform.
set -euo pipefail
cd "$(dirname "$0")/.."
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
for platform in kubeadm kind; do
	go run ./cmd/k8ssec init "$tmp/$platform" --profile cis --platform "$platform" >"$tmp/log" 2>&1 || {
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
	find "$tmp" -type f
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
