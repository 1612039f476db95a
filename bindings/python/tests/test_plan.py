"""Plans of remote models: only the header is downloaded, and its defects are reported."""

import contextlib
import http.server
import json
import re
import threading
from pathlib import Path

import pytest
from mullama import Model, errors, plan

DEVICE = {"devices": "8GiB"}


class Files(http.server.BaseHTTPRequestHandler):
    """Serves files by path: in ranges, without ranges, or with a wrong length."""

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        data = self.server.files.get(self.path)
        if data is None:
            self.send_error(404)
            return
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        total = len(data) // 2 if "shorter" in self.path else len(data)
        if asked and "whole" not in self.path:
            first, last = int(asked[1]), int(asked[2] or total - 1)
            part = data[first : min(last + 1, total)]
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{first + len(part) - 1}/{total}")
        else:
            part = data
            self.send_response(200)
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        if self.command == "GET":
            self.server.sent += len(part)
            # A client that has read enough closes the connection.
            with contextlib.suppress(ConnectionError):
                self.wfile.write(part)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def serve(monkeypatch, tmp_path):
    """Serves files by name and returns the server."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Files) as server:
        server.files, server.sent = {}, 0
        server.address = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def large(testkit):
    """The bytes of a model of several megabytes."""
    return Path(testkit("path", "large").strip()).read_bytes()


def test_remote_models_are_planned_from_their_header(serve, large, tmp_path):
    serve.files["/m.gguf"] = large
    there = plan(f"{serve.address}/m.gguf", **DEVICE)
    assert serve.sent < len(large) / 4
    (tmp_path / "m.gguf").write_bytes(large)
    here = plan(tmp_path / "m.gguf", **DEVICE)
    assert there.devices == here.devices
    assert there.n_gpu_layers == there.n_layers
    assert there.max_gpu_context_size >= there.context_size


@pytest.mark.parametrize(
    ("name", "spoil", "kind", "words"),
    [
        ("whole", lambda data: data, errors.UnsupportedError, "does not send ranges"),
        ("shorter", lambda data: data, errors.InvalidModelError, "incomplete"),
        ("cut", lambda data: data[:20_000], errors.InvalidModelError, "ends too soon"),
        ("text", lambda data: b"<html>" * 10_000, errors.InvalidModelError, "GGUF"),
        (
            "absurd",
            lambda data: data[:8] + (2**62).to_bytes(8, "little") + data[16:],
            errors.InvalidModelError,
            "more than",
        ),
    ],
)
def test_unavailable_or_invalid_remote_headers_are_errors(serve, large, name, spoil, kind, words):
    serve.files[f"/{name}.gguf"] = spoil(large)
    with pytest.raises(kind, match=words):
        plan(f"{serve.address}/{name}.gguf", **DEVICE)
    with pytest.raises(errors.NotFoundError):
        plan(f"{serve.address}/nothing.gguf", **DEVICE)


def test_invalid_plans_are_errors(serve):
    for devices in ["RTX 9999", "24", "-8GiB"]:
        with pytest.raises(errors.InvalidArgumentError):
            plan("demo", devices=devices)
    assert plan("demo", devices="1MiB").max_gpu_context_size is None
    with Model("demo", **plan("demo", context_size=512).options) as model:
        assert model.context_size == 512


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"projector": "missing.gguf"}, errors.NotFoundError),
        ({"projector": "{text}"}, errors.InvalidModelError),
        ({"lora": "missing.gguf"}, errors.NotFoundError),
        ({"lora": [["{text}", 0.5]]}, errors.InvalidModelError),
        ({"draft_model": "{text}"}, errors.InvalidModelError),
        ({"n_parallel": 0}, errors.InvalidArgumentError),
        ({"n_cpu_moe": 1 << 31}, errors.InvalidArgumentError),
    ],
)
def test_plan_and_load_reject_the_same_options(options, kind, tmp_path):
    text = tmp_path / "text.gguf"
    text.write_text("not a model")
    options = json.loads(json.dumps(options).replace("{text}", str(text)))
    messages = []
    for call in (plan, Model):
        with pytest.raises(kind) as raised:
            call("demo", **options)
        messages.append(str(raised.value))
    assert messages[0] == messages[1]
    if kind is errors.InvalidArgumentError:
        assert raised.value.context["option"] in options


@pytest.mark.parametrize("devices", [["24GiB"] * 17, ["RTX 4090"] * 10**6, ["16x 8GiB", "8GiB"]])
def test_more_devices_than_the_engine_knows_are_not_planned(devices):
    with pytest.raises(errors.InvalidArgumentError, match="at most 16 devices") as raised:
        plan("demo", devices)
    assert raised.value.context["option"] == "devices"
