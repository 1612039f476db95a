"""Embeddings of texts and scores of documents."""

import asyncio
import gc
import io
import json
import threading

import mullama
import numpy as np
import pytest
from mullama import AsyncModel, Embeddings, Model

TEXTS = ["Paris", "Rome", "a longer text about Rome", "7 + 5 = 12."]


@pytest.fixture
def fixture(testkit):
    """Loads a model that the testkit creates."""
    models = []

    def load(name, **options):
        models.append(Model(testkit("path", name).strip(), n_threads=1, **options))
        return models[-1]

    yield load
    for model in models:
        model.close()


def test_numpy_shares_memory_with_embeddings(demo):
    embeddings = demo.embed(TEXTS)
    array = np.asarray(embeddings)
    assert array.dtype == np.float32
    assert array.shape == embeddings.shape == (4, 128)
    assert array.strides == (512, 4)
    assert array.flags.c_contiguous
    assert not array.flags.owndata
    assert not array.flags.writeable
    assert np.allclose(np.linalg.norm(array, axis=1), 1)
    again = np.asarray(embeddings)
    assert again.__array_interface__["data"] == array.__array_interface__["data"]
    assert np.shares_memory(array, np.asarray(embeddings[2]))
    assert np.array_equal(array[2], embeddings[2])


def test_views_outlive_the_object_and_the_model():
    model = Model("demo", n_threads=1)
    embeddings = model.embed(TEXTS)
    expected = embeddings.tolist()
    array, row = np.asarray(embeddings), embeddings[1]
    model.close()
    del embeddings, model
    gc.collect()
    assert array.tolist() == expected
    assert row.tolist() == expected[1]


def test_buffer_format_and_shape(demo):
    embeddings = demo.embed(TEXTS)
    view = memoryview(embeddings)
    assert (view.format, view.itemsize, view.ndim) == ("f", 4, 2)
    assert (view.shape, view.strides) == ((4, 128), (512, 4))
    assert view.readonly
    assert view.c_contiguous
    assert not view.f_contiguous
    assert view.obj is embeddings
    assert bytes(view) == b"".join(map(bytes, embeddings))
    with pytest.raises(TypeError, match="read-only"):
        view[0, 0] = 1
    with pytest.raises((BufferError, TypeError)):
        io.BytesIO(bytes(view)).readinto(embeddings)
    assert np.array_equal(np.frombuffer(embeddings, np.float32).reshape(4, 128), embeddings)


def test_embeddings_are_a_sequence(demo):
    embeddings = demo.embed(TEXTS)
    assert isinstance(embeddings, Embeddings)
    assert len(embeddings) == 4
    assert [len(vector) for vector in embeddings] == [128] * 4
    assert embeddings[-1] == embeddings[3]
    assert [vector.tolist() for vector in embeddings[1:3]] == embeddings.tolist()[1:3]
    assert json.loads(json.dumps(embeddings.tolist()))[0] == embeddings[0].tolist()
    for wrong in (4, -5):
        with pytest.raises(IndexError, match="4 texts"):
            embeddings[wrong]
    with pytest.raises(TypeError):
        embeddings["first"]
    with pytest.raises(TypeError):
        Embeddings()
    assert repr(embeddings).startswith("Embeddings(shape=(4, 128), pooling='mean'")


def test_each_token_can_have_a_vector(demo):
    matrix = demo.embed(TEXTS, pooling="none")
    assert matrix.shape == (sum(matrix.token_counts), 128)
    assert matrix.usage.prompt_tokens == matrix.shape[0]
    assert [vector.shape for vector in matrix] == [(count, 128) for count in matrix.token_counts]
    for pooling, place in (("cls", 0), ("last", -1)):
        pooled = np.asarray(demo.embed(TEXTS, pooling=pooling))
        own = np.array([np.asarray(rows)[place] for rows in matrix])
        assert np.allclose(pooled, own, atol=1e-3)


def test_one_text_a_list_of_one_and_its_tokens_are_the_same(demo):
    one = demo.embed("Paris").tolist()
    tokens = demo.tokenize("Paris")
    for other in (["Paris"], ("Paris",), iter(["Paris"]), tokens, [tokens], np.array(tokens)):
        assert demo.embed(other).tolist() == one


def test_empty_input_returns_empty_embeddings(demo):
    nothing = demo.embed([])
    assert (len(nothing), nothing.shape, nothing.tolist()) == (0, (0, 128), [])
    assert np.asarray(nothing).shape == (0, 128)


def test_vectors_can_be_shorter_and_not_scaled(demo):
    plain = np.asarray(demo.embed(TEXTS, normalize=False))
    short = np.asarray(demo.embed(TEXTS, dimensions=16))
    cut = plain[:, :16] / np.linalg.norm(plain[:, :16], axis=1, keepdims=True)
    assert np.allclose(short, cut, atol=1e-4)


@pytest.mark.parametrize("wrong", [5, None, b"x", {"x"}, {"x": 1}, [None], ["x", 5], [["x"]]])
def test_inputs_of_a_wrong_type_are_rejected(demo, wrong):
    with pytest.raises((TypeError, ValueError)):
        demo.embed(wrong)


def test_overlong_inputs_are_rejected_or_truncated(demo):
    long = "word " * 3000
    with pytest.raises(mullama.ContextOverflowError, match=r"input 1 has \d+ tokens") as raised:
        demo.embed(["short", long])
    assert raised.value.context["limit"] == "2048"
    for side in ("start", "end"):
        cut = demo.embed(["short", long], truncate=side)
        assert cut.token_counts[1] == 2048
        assert cut.usage.truncated_tokens == demo.count_tokens(long) - 2048


def test_threads_share_batches(demo):
    expected = np.asarray(demo.embed(TEXTS * 10))
    results = [None] * 40

    def work(index):
        results[index] = np.asarray(demo.embed(TEXTS[index % 4]))[0]

    threads = [threading.Thread(target=work, args=(index,)) for index in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert np.allclose(results, expected, atol=1e-3)


def test_asyncio(testkit):
    async def main():
        async with await AsyncModel.load("demo", n_threads=1) as model:
            alone = np.asarray(await model.embed(TEXTS))
            together = await asyncio.gather(*(model.embed(text) for text in TEXTS * 10))
            assert np.allclose(np.concatenate(together), np.tile(alone, (10, 1)), atol=1e-3)

            bulk = asyncio.create_task(model.embed(["word " * 200] * 3000))
            await asyncio.sleep(0.05)
            bulk.cancel()
            with pytest.raises(asyncio.CancelledError):
                await bulk
            assert len(await model.embed("x")) == 1
            before = model.stats().embedded_inputs
            await asyncio.sleep(0.05)
            assert model.stats().embedded_inputs == before, "what was cancelled is not computed"
            with pytest.raises(mullama.CancelledError, match="timeout"):
                await model.embed(["word " * 200] * 3000, timeout=0.05)
        with pytest.raises(mullama.ClosedError):
            await model.embed("x")
        async with await AsyncModel.load(testkit("path", "reranker").strip()) as reranker:
            ranked = await reranker.rerank("a green river", ["one", "a stone"])
            assert sorted(document.index for document in ranked) == [0, 1]

    asyncio.run(main())


def test_insufficient_memory_is_an_error(python):
    """Rejected before the engine is called, which would end the process on some devices."""
    done = python(
        """
import os
from mullama import Model, OutOfMemoryError
model = Model("demo", n_threads=1)
os.environ["MULLAMA_HOST_MEMORY"] = "1MiB"
try:
    model.embed("x")
except OutOfMemoryError as error:
    print(error)
os.environ.pop("MULLAMA_HOST_MEMORY")
print(model.embed("x").shape, model.generate("The capital of France is", max_tokens=4).text)
"""
    )
    assert done.returncode == 0, done.stderr
    assert "there is no memory for the context for embeddings: CPU needs" in done.stdout
    assert "(1, 128)" in done.stdout


def test_encoders_embed_and_do_not_generate(fixture):
    encoder = fixture("encoder")
    can = encoder.capabilities
    assert (can.embed, can.generate, can.rerank) == (True, False, False)
    embeddings = encoder.embed(["a text", ""])
    assert (embeddings.shape, embeddings.token_counts[1]) == ((2, 64), 2)
    one_at_a_time = np.concatenate([encoder.embed(text) for text in ("a text", "")])
    assert np.allclose(embeddings, one_at_a_time, atol=1e-3)
    with pytest.raises(mullama.UnsupportedError):
        encoder.generate("x")


def test_inputs_may_be_iterators(fixture):
    encoder = fixture("encoder")
    tokens = encoder.tokenize("a text")
    for given in (iter(tokens), iter([tokens]), (iter(tokens) for _ in range(1)), iter(["a text"])):
        assert encoder.embed(given).token_counts == [len(tokens)]
    assert len(encoder.embed(iter([]))) == 0


def test_rerankers_rank(fixture, demo):
    reranker = fixture("reranker")
    documents = ["one", "two green rivers", "three", "a stone"]
    ranked = reranker.rerank("a green river", documents)
    assert len(ranked) == 4
    scores = [document.score for document in ranked]
    assert scores == sorted(scores, reverse=True)
    assert sorted(document.index for document in ranked.results) == [0, 1, 2, 3]
    best = reranker.rerank("a green river", documents, top_n=2)
    assert [best[0].index, best[-1].index] == [ranked[0].index, ranked[1].index]
    assert best.to_dict()["results"][0]["index"] == best[0].index
    assert best.usage.prompt_tokens == ranked.usage.prompt_tokens
    assert len(reranker.rerank("x", [])) == 0
    with pytest.raises(mullama.UnsupportedError, match="scores documents"):
        reranker.embed("x")
    assert reranker.embed(documents, pooling="rank").shape == (4, 1)
    with pytest.raises(mullama.UnsupportedError, match="classification head"):
        demo.rerank("x", ["y"])
    with pytest.raises(TypeError, match="a list of texts"):
        reranker.rerank("x", "y")
