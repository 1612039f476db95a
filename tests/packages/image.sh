#!/usr/bin/env bash
# Tests the container image without a network and with a read-only file system. Run from the repository's root
# after `make image`.
# shellcheck disable=SC2329 # `check` calls the functions
set -euo pipefail
# shellcheck source=tests/packages/checks.sh
source tests/packages/checks.sh

tool=$(command -v podman || command -v docker)
image=$(scripts/image.sh name)
run() { "$tool" run --rm --read-only --network none "$image" "$@"; }

answers_there() {
    [[ $(run run demo --temperature 0 "$question") == "$answer" ]]
}

is_not_root() {
    [[ $("$tool" inspect --format '{{.Config.User}}' "$image") != @(|0|root) ]]
}

echo "$image: $("$tool" image inspect --format '{{.Size}}' "$image") bytes"
check "it answers" answers_there
check "it tells its version" run --version
check "it does not run as root" is_not_root
finish image
