#!/usr/bin/env bash
# Checks the named modules against the Go vulnerability database. Where the database cannot be
# reached, or GOVULNDB is off, the check is not done, and says so: it neither fails for that nor passes in silence.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
if [ "${GOVULNDB:-}" = off ]; then
	echo "govulncheck: NOT CHECKED: GOVULNDB=off, there is no way to the vulnerability database from here."
	exit 0
fi
for module in "$@"; do
	status=0
	out=$(cd "$module" && go tool -modfile="$root/tools/go.mod" govulncheck ./... 2>&1) || status=$?
	if [ "$status" = 0 ]; then
		echo "govulncheck: no known vulnerability is reached in module $module"
	elif grep -q 'fetching vulnerabilities: .*vuln\.go\.dev' <<<"$out"; then
		echo "govulncheck: NOT CHECKED, module $module: the vulnerability database cannot be reached from here."
		echo "govulncheck: it said: $(grep -m 1 'fetching vulnerabilities' <<<"$out")"
	else
		echo "$out"
		exit "$status"
	fi
done
