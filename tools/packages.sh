#!/usr/bin/env bash
# Installs what some checks need and Go does not bring, named as command:package or /path:package. It
# does so as root on Debian and its kin; elsewhere it only tells what is missing.
set -euo pipefail
packages=()
for pair in "$@"; do
	{ command -v "${pair%%:*}" >/dev/null || [ -e "${pair%%:*}" ]; } || packages+=("${pair##*:}")
done
[ ${#packages[@]} -gt 0 ] || exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
	echo "installing ${packages[*]}"
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${packages[@]}" >/dev/null
else
	echo "missing: ${packages[*]} (Debian: sudo apt-get install ${packages[*]})"
fi
