#!/usr/bin/env bash
# Tests the wheel in clean environments: its tag and contents, installing and using it, faulty installations,
# and building it from a copy of the repository. Run from the repository's root after `make wheel`.
set -euo pipefail

.venv/bin/python -m pytest -c tests/packages/pytest.ini -p no:cacheprovider tests/packages/test_python.py tests/packages/test_device.py "$@"
