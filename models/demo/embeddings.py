"""Writes demo_embeddings.json: the embeddings of some texts that any build of mullama must compute with demo.gguf.

The values are computed by the forward pass below, in 64-bit floats over the weights of the file, so they
are independent of llama.cpp. Texts and their tokens are those of demo_tokenize.json. Run it as
`python embeddings.py ../../tests/vectors`, with NumPy and gguf.
"""

import json
import sys
from pathlib import Path

import numpy as np
from gguf import GGUFReader

# The engine stores activations and the KV cache in 16 bits: the tolerance of an element of a vector of
# length 1.
TOLERANCE = 0.002
TEXTS = [
    "a", "Hello, world!", "The capital of France is Paris.", "THE CAPITAL OF FRANCE",
    "What is the weather in Ouagadougou?", "7 + 5 = 12.", "こんにちは世界", "def add(a, b):\n    return a + b\n",
    "ab " * 100,
]  # fmt: skip
LAYERS, HEADS, KV_HEADS, HEAD_SIZE, RMS_EPS, ROPE_BASE = 8, 4, 2, 64, 1e-5, 10000.0


def norm(x, weight):
    return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + RMS_EPS) * weight


def rotate(x):
    """x: (tokens, heads, size); the pairs (2i, 2i+1) turn by the position times base^(-2i/size)."""
    half = HEAD_SIZE // 2
    angles = np.arange(len(x))[:, None] * ROPE_BASE ** (-np.arange(half) / half)
    turned = (x[..., 0::2] + 1j * x[..., 1::2]) * np.exp(1j * angles)[:, None]
    return np.stack([turned.real, turned.imag], axis=-1).reshape(x.shape)


def attend(q, k, v):
    """Causal attention: groups of query heads share a head of k and v."""
    k, v = (np.repeat(x, HEADS // KV_HEADS, axis=1) for x in (k, v))
    scores = np.einsum("thd,shd->hts", q, k) / np.sqrt(HEAD_SIZE)
    scores = np.where(np.tri(len(q), dtype=bool), scores, -np.inf)
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    return np.einsum("hts,shd->thd", weights, v).reshape(len(q), -1)


def vectors(weights, tokens):
    """The vector of each token after the last norm: (tokens, width)."""
    x = weights["token_embd.weight"][tokens]
    for layer in range(LAYERS):
        w = {name: weights[f"blk.{layer}.{name}.weight"] for name in (
            "attn_norm", "attn_q", "attn_k", "attn_v", "attn_output", "ffn_norm", "ffn_gate", "ffn_up", "ffn_down",
        )}  # fmt: skip
        h = norm(x, w["attn_norm"])
        q, k, v = ((h @ w[name].T).reshape(len(x), -1, HEAD_SIZE) for name in ("attn_q", "attn_k", "attn_v"))
        x = x + attend(rotate(q), rotate(k), v) @ w["attn_output"].T
        h = norm(x, w["ffn_norm"])
        gate = h @ w["ffn_gate"].T
        x = x + (gate / (1 + np.exp(-gate)) * (h @ w["ffn_up"].T)) @ w["ffn_down"].T
    return norm(x, weights["output_norm.weight"])


def rounded(vector):
    return np.round(vector / np.linalg.norm(vector), 5).tolist()


def main(folder):
    reader = GGUFReader(Path(__file__).with_name("demo.gguf"))
    weights = {tensor.name: tensor.data.astype(np.float64) for tensor in reader.tensors}
    known = json.loads((folder / "demo_tokenize.json").read_text(encoding="utf-8"))
    tokens = {case["text"]: case["tokens"] for case in known if not case["parse_special"]}
    cases = []
    for text in TEXTS:
        rows = vectors(weights, tokens[text])
        cases.append({
            "text": text, "tokens": len(rows),
            "mean": rounded(rows.mean(axis=0)), "cls": rounded(rows[0]), "last": rounded(rows[-1]),
        })  # fmt: skip
    path = folder / "demo_embeddings.json"
    content = {"tolerance": TOLERANCE, "cases": cases}
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    path.write_text(text.replace('{"text"', '\n{"text"') + "\n", encoding="utf-8")
    print(path)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
