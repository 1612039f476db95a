import base64
import struct
import zlib
from pathlib import Path

import mullama
import pytest
from mullama import Model

np = pytest.importorskip("numpy")

ASK = {"temperature": 0, "max_tokens": 6, "ignore_eos": True}


def png(pixels):
    """A PNG file of RGB pixels."""
    height, width, _ = pixels.shape

    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    size = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [chunk(b"IHDR", size), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


PIXELS = (np.arange(20 * 24 * 3) * 7 % 251).astype(np.uint8).reshape(20, 24, 3)
FILE = png(PIXELS)
URL = "data:image/png;base64," + base64.b64encode(FILE).decode()


@pytest.fixture(scope="module")
def paths(testkit):
    return [testkit("path", name).strip() for name in ("tiny", "projector")]


@pytest.fixture(scope="module")
def model(paths):
    with Model(paths[0], projector=paths[1], n_threads=1) as model:
        yield model


@pytest.fixture(scope="module")
def seen(model):
    """The model's answer for the picture."""
    return ask(model, {"type": "image_url", "image_url": {"url": URL}}).tokens


def ask(model, picture):
    message = {"role": "user", "content": [picture, {"type": "text", "text": "What is it?"}]}
    return model.chat([message], **ASK)


class Pillow:
    """A fake Pillow image with the part of its interface that is used."""

    def __init__(self, array, mode="RGB"):
        self.array, self.mode = array, mode

    @property
    def __array_interface__(self):
        return {"shape": (1, 1), "typestr": "|b1", "version": 3}

    def convert(self, mode):
        assert mode == "RGBA"
        assert self.mode not in ("I;16", "I", "F")
        opaque = np.full((*self.array.shape[:2], 1), 255, np.uint8)
        return np.concatenate([self.array, opaque], axis=2)

    def tobytes(self):
        raise AssertionError("the mode may be another one")


def test_images_of_all_types_give_equal_answers(model, seen, tmp_path):
    path = tmp_path / "cat.png"
    path.write_bytes(FILE)
    held = [URL, FILE, bytearray(FILE), memoryview(FILE), path, PIXELS, Pillow(PIXELS)]
    for picture in held:
        parts = [{"type": "image_url", "image_url": picture}]
        parts.append({"type": "image_url", "image_url": {"url": picture, "detail": "low"}})
        if not isinstance(picture, str):
            parts.append(picture)
        for part in parts:
            assert ask(model, part).tokens == seen, type(picture)
    images = [base64.b64encode(FILE).decode()]
    message = {"role": "user", "content": "What is it?", "images": images}
    assert model.chat([message], **ASK).tokens == seen
    assert ask(model, PIXELS[::-1]).tokens != seen
    assert ask(model, PIXELS[:, ::2]).usage.image_tokens == 16


def test_values_of_16_bits_are_scaled(model):
    grey = PIXELS[:, :, 0]
    tokens = ask(model, grey).tokens
    for wide in (grey.astype("<u2") * 257, grey.astype(">u2") * 257):
        assert ask(model, wide).tokens == tokens
    wide = grey.astype("<u2") * 257
    image = type("Image", (), {"mode": "I;16", "convert": None, "tobytes": wide.tobytes})()
    image.__array_interface__ = wide.__array_interface__
    assert ask(model, image).tokens == tokens
    with pytest.raises(mullama.InvalidArgumentError, match="mode F has no known range"):
        ask(model, Pillow(PIXELS, "F"))
    with pytest.raises(mullama.InvalidArgumentError, match="24 x 0 pixels is empty"):
        ask(model, np.zeros((0, 24, 3), np.uint8))


def test_usage_and_capabilities(model, seen, paths):
    assert model.capabilities.vision
    usage = ask(model, FILE).usage
    assert usage.image_tokens == 16
    assert usage.cached_tokens == usage.prompt_tokens - 1
    with Model(paths[0], projector="none", n_threads=1) as blind:
        assert not blind.capabilities.vision
        assert blind.capabilities.media_limits is None
        assert blind.placement.devices[-1].projector == 0
        with pytest.raises(mullama.UnsupportedError, match="takes text only"):
            ask(blind, FILE)


def test_limits_and_placement(model, paths):
    limits = model.capabilities.media_limits
    assert (limits.pixels, limits.bytes, limits.pictures) == (100_000_000, 64 << 20, 256)
    load = {"projector": paths[1], "n_threads": 1}
    strict = {"pixels": 10, "pictures": 1}
    with Model(paths[0], load_projector=True, media_limits=strict, **load) as eager:
        assert eager.capabilities.media_limits.to_dict() == {**limits.to_dict(), **strict}
        assert eager.placement == model.placement
        with pytest.raises(mullama.InvalidArgumentError, match="at most 10 are allowed"):
            ask(eager, FILE)
        with pytest.raises(mullama.InvalidArgumentError, match="2 pictures; the limit is 1"):
            eager.chat([{"role": "user", "content": [FILE, FILE]}])
    with pytest.raises(mullama.InvalidArgumentError, match="seconds"):
        Model(paths[0], media_limits={"seconds": 3}, **load)
    plan = mullama.plan(paths[0], devices=[], projector=paths[1])
    assert plan.host.projector == model.placement.devices[-1].projector > 0


def test_states_and_embeddings_reject_images(model):
    with pytest.raises(TypeError):
        model.embed([FILE])
    with pytest.raises(TypeError):
        model.embed([{"type": "image_url", "image_url": {"url": "data:,"}}])
    with pytest.raises(TypeError):
        model.save_state([{"role": "user", "content": [FILE]}])
    with pytest.raises(mullama.InvalidArgumentError):
        model.save_state([1, -5])


def test_conversations_have_pictures(model):
    chat = model.start_chat(**ASK)
    answer = chat.send({"role": "user", "content": [FILE, "What is it?"]})
    assert answer.usage.image_tokens == 16
    assert chat.send("And now?").usage.image_tokens == 16
    assert "image_url" in str(chat.messages[0])
    chunks = list(chat.stream({"role": "user", "content": [PIXELS, "Or this?"]}))
    assert chunks[-1].completion.usage.image_tokens == 32
    message = mullama.Message.from_dict({"role": "user", "content": [FILE, "What is it?"]})
    assert model.chat([message], **ASK).usage.image_tokens == 16


def test_invalid_images_are_rejected(model, tmp_path):
    for picture, said in [
        ("https://127.0.0.1/cat.png", "nothing is fetched"),
        ("cat.png", "no file is opened"),
        (b"text", "not an image in a supported format"),
        (FILE[:50], "damaged"),
        (PIXELS.astype(np.float32), "uint8"),
        (PIXELS[..., :2], "channels"),
    ]:
        with pytest.raises(mullama.InvalidArgumentError, match=said):
            ask(model, {"type": "image_url", "image_url": picture})
    with pytest.raises(mullama.NotFoundError):
        ask(model, Path(tmp_path / "none.png"))
    with pytest.raises(mullama.InvalidModelError, match="not a GGUF file"):
        Model("demo", projector=mullama.__file__, n_threads=1)
