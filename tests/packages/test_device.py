"""The bundle of the tests that need a GPU starts on a machine without one."""

import json
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Any module can be packed; this one is always built.
MODULE = ROOT / "target/release/mullama-engine/libggml-rpc.so"


@pytest.mark.skipif(sys.platform != "linux", reason="the bundle is for Linux")
def test_the_bundle_starts(tmp_path):
    bundle = tmp_path / "bundle.tgz"
    subprocess.run([ROOT / "tests/device/bundle.sh", MODULE, bundle], cwd=ROOT, check=True)
    with tarfile.open(bundle) as archive:
        archive.extractall(tmp_path / "bundle", filter="data")
    done = subprocess.run(["./run.sh", "0"], cwd=tmp_path / "bundle", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("0 passed, 0 failed, ")
    results = json.loads((tmp_path / "bundle/results/results.json").read_text())
    assert {step["outcome"] for step in results["steps"]} == {"skipped"}
    assert (tmp_path / "bundle/results/gpu-results.md").read_text().startswith("# ")
    command = tmp_path / "bundle/python/mullama/lib/mullama"
    listed = subprocess.run([command, "devices"], capture_output=True, text=True, check=True)
    assert "CPU" in listed.stdout
