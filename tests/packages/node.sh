#!/usr/bin/env bash
# The npm packages, as npm installs them into empty folders from a registry on loopback: what they hold, how large
# they are, how long they take to load, that they work in an environment that has Node.js and nothing else, and
# what they say where something is wrong. Run from the repository's root after `make node-package`.
set -euo pipefail
cd bindings/node
status=0
node packaging/measure.mjs || status=1
node --test packaging/packages.test.mjs || status=1
exit $status
