"""Trains the demo model and writes demo.gguf; checks it; writes the test vectors.

    python train.py                     train, write demo.gguf, check it
    python train.py --refine            train demo.gguf further, on greetings as people type them; check it
    python train.py --draft             train and write draft.gguf, which drafts tokens for demo.gguf
    python train.py --check demo.gguf   check a file only; exit status 1 if it fails the gate
    python train.py --vectors DIR       write the test vectors of demo.gguf to DIR
"""

import argparse
import random
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

import corpus
import gate
import gguf_file
import vectors
import vocabulary
from model import Config, Greedy, Params, forward, init

HERE = Path(__file__).parent

# Documents are packed into rows of these lengths: most are short, and attention over long rows
# costs more. A document longer than the last is left out.
ROW_LENGTHS = (128, 384)
TOKENS_PER_STEP = 2048
LEARNING_RATE = 0.02  # of Muon; for the embedding and the norms AdamW runs at a fixed share of it
REFINING_RATE = 0.004  # of what has been trained
WARMUP_STEPS = 30

# The draft model has a quarter of the layers, so that it computes a token in about a quarter of the time.
DRAFT_LAYERS = 2


def encode_document(tokenizer, document: corpus.Document) -> tuple[list[int], list[bool]]:
    """Tokens and, for each, whether it is to be learned: those of the assistant, all of a text, or the
    answers of a drill."""
    if document.drill:
        tokens, learned = [], []
        for pieces in document.drill:
            for piece, wanted in zip(pieces, (False, True)):
                encoded = vocabulary.encode(tokenizer, piece)
                tokens += encoded
                learned += [wanted] * len(encoded)
        return tokens, learned
    tokens = vocabulary.encode(tokenizer, document.render())
    if document.text:
        return tokens + [vocabulary.END_OF_TEXT], [True] * (len(tokens) + 1)
    head = vocabulary.encode(tokenizer, "<|im_start|>assistant\n")
    learned, inside = [False] * len(tokens), False
    for i in range(len(tokens)):
        if tokens[i - len(head) : i] == head:
            inside = True
        learned[i] = inside
        if tokens[i] == vocabulary.IM_END:
            inside = False
    return tokens, learned


def pack(documents: list[tuple[list[int], list[bool]]], length: int, rng: random.Random):
    """Rows of tokens, targets, loss weights and document numbers; each row contains whole documents."""
    rows: list[list] = []
    open_rows: list[list] = []  # [free space, documents]
    for document in sorted(documents, key=lambda d: -len(d[0])):
        size = len(document[0]) - 1
        fitting = min((r for r in open_rows if r[0] >= size), key=lambda r: r[0], default=None)
        if fitting is None:
            fitting = [length, []]
            rows.append(fitting)
            open_rows.append(fitting)
        fitting[0] -= size
        fitting[1].append(document)
        if fitting[0] < 12:
            open_rows.remove(fitting)
    rng.shuffle(rows)
    shape = (len(rows), length)
    tokens, targets, segment = (np.zeros(shape, np.int16) for _ in range(3))
    weight = np.zeros(shape, np.float32)
    for r, (_, packed) in enumerate(rows):
        at = 0
        for number, (ids, learned) in enumerate(packed, 1):
            place = slice(at, at + len(ids) - 1)
            tokens[r, place], targets[r, place] = ids[:-1], ids[1:]
            weight[r, place], segment[r, place] = learned[1:], number
            at = place.stop
    return tokens, targets, weight, segment


def batches(tokenizer, documents: int, seed: int, document=corpus.document):
    """The whole course of training: a list of (tokens, targets, weights, segments), in order."""
    rng = random.Random(seed)
    encoded = [encode_document(tokenizer, document(rng)) for _ in range(documents)]
    course = []
    for shortest, length in zip((0, *ROW_LENGTHS), ROW_LENGTHS):
        fitting = [d for d in encoded if shortest < len(d[0]) - 1 <= length]
        rows = TOKENS_PER_STEP // length
        # Packed in portions, so that documents of one size are spread over the training.
        for portion in range(0, len(fitting), 2000):
            packed = pack(fitting[portion : portion + 2000], length, rng)
            course += [tuple(a[i : i + rows] for a in packed) for i in range(0, len(packed[0]) - rows + 1, rows)]
    rng.shuffle(course)
    return course


def train(config: Config, tokenizer, documents: int, seed: int, trained: Params | None = None) -> Params:
    """Trains from the start, or refines what has been trained."""
    document, rate = (corpus.document, LEARNING_RATE) if trained is None else (corpus.refining_document, REFINING_RATE)
    course = batches(tokenizer, documents, seed, document)
    print(f"{documents} documents, {len(course)} steps of {TOKENS_PER_STEP} tokens", flush=True)
    schedule = optax.warmup_cosine_decay_schedule(0.0, rate, WARMUP_STEPS, len(course), rate * 0.01)
    optimiser = optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.contrib.muon(
            schedule,
            adam_learning_rate=lambda step: schedule(step) * 0.2,
            weight_decay=0.01,
            muon_weight_dimension_numbers=lambda params: {
                name: optax.contrib.MuonDimensionNumbers() if name.startswith("blk.") and "norm" not in name else None
                for name in params
            },
        ),
    )

    def loss_of(params, tokens, targets, weight, segment):
        tokens, targets = tokens.astype(jnp.int32), targets.astype(jnp.int32)
        length = tokens.shape[1]
        # A token attends only to its own document; rotary positions are relative, so documents need not
        # start at position 0.
        mask = (segment[:, :, None] == segment[:, None, :]) & jnp.tril(jnp.ones((length, length), bool))
        logits, _ = forward(config, params, tokens, jnp.broadcast_to(jnp.arange(length), tokens.shape), mask)
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, targets)
        return (losses * weight).sum() / weight.sum()

    @jax.jit
    def step(params, state, batch):
        loss, gradient = jax.value_and_grad(loss_of)(params, *batch)
        updates, state = optimiser.update(gradient, state, params)
        return optax.apply_updates(params, updates), state, loss

    params = init(config, seed) if trained is None else trained
    state = optimiser.init(params)
    losses, start = [], time.monotonic()
    for number, batch in enumerate(course, 1):
        params, state, loss = step(params, state, batch)
        losses.append(loss)
        if number % 50 == 0 or number == len(course):
            recent = float(np.mean([float(x) for x in losses[-50:]]))
            print(f"step {number:5}  loss {recent:.4f}  {time.monotonic() - start:6.0f} s", flush=True)
    return params


def train_and_write(path: Path, config: Config, documents: int, seed: int) -> None:
    rng = random.Random(seed)
    texts = [corpus.document(rng).render() for _ in range(8000)]
    tokens, merges = vocabulary.train(texts, config.vocab)
    assert len(tokens) == config.vocab, len(tokens)
    params = train(config, vocabulary.build(tokens, merges), documents, seed + 1)
    write(path, config, params, tokens, merges)


def refine_and_write(path: Path, documents: int, seed: int) -> None:
    config, trained, tokenizer = gguf_file.read(HERE / "demo.gguf")
    params = train(config, tokenizer, documents, seed + 2, trained)
    write(path, config, params, *gguf_file.vocabulary_of(HERE / "demo.gguf"))


def write(path: Path, config: Config, params: Params, tokens: list[str], merges: list[tuple[str, str]]) -> None:
    gguf_file.write(path, config, params, tokens, merges)
    count = sum(weight.size for weight in params.values())
    print(f"{path}: {count} parameters, {path.stat().st_size} bytes", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="the file to write; default: demo.gguf, or draft.gguf")
    parser.add_argument("--draft", action="store_true", help="train the draft model")
    parser.add_argument("--refine", action="store_true", help="train demo.gguf further, on greetings")
    parser.add_argument("--documents", type=int, help="how much text to train on; default: 38000, 8000 or 20000")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--check", type=Path, metavar="GGUF", help="check this file, train nothing")
    parser.add_argument("--vectors", type=Path, metavar="DIR", help="write the test vectors, train nothing")
    arguments = parser.parse_args()
    documents = arguments.documents or (20000 if arguments.draft else 8000 if arguments.refine else 38000)
    out = arguments.out or HERE / ("draft.gguf" if arguments.draft else "demo.gguf")

    if arguments.vectors:
        config, params, tokenizer = gguf_file.read(out)
        vectors.write(arguments.vectors, Greedy(config, params), tokenizer)
        return 0
    if arguments.refine:
        refine_and_write(out, documents, arguments.seed)
    elif not arguments.check:
        config = Config(layers=DRAFT_LAYERS) if arguments.draft else Config()
        train_and_write(out, config, documents, arguments.seed)
    if arguments.draft:
        # Too small for the gate. Its vocabulary must be the demo model's.
        vocabularies = [gguf_file.read(path)[2].get_vocab() for path in (out, HERE / "demo.gguf")]
        return 0 if vocabularies[0] == vocabularies[1] else 1
    config, params, tokenizer = gguf_file.read(arguments.check or out)
    return 0 if gate.check(Greedy(config, params), tokenizer) else 1


if __name__ == "__main__":
    sys.exit(main())
