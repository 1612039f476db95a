#!/usr/bin/env bash
# Tests the npm packages, installed by npm into empty folders from a registry on loopback: their contents, sizes and
# loading times, that they work in an environment that has only Node.js, and their error messages. Run from the
# repository's root after `make node-package`.
set -euo pipefail
cd bindings/node
status=0
node packaging/measure.mjs || status=1
node --test packaging/packages.test.mjs || status=1
exit $status
