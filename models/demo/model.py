"""The network: a llama-architecture decoder in JAX, the same arithmetic that llama.cpp runs.

Weights are named as in GGUF and have the shape (inputs, outputs); there are no biases.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

Params = dict[str, jax.Array]


@dataclass(frozen=True)
class Config:
    """Shapes of the network.

    The head size is given apart from the width (`llama.attention.key_length`), because 64 is the
    smallest size for which every GPU backend of llama.cpp has a flash-attention kernel.
    """

    vocab: int = 1024
    context: int = 2048
    width: int = 128
    layers: int = 8
    heads: int = 4
    kv_heads: int = 2
    head_size: int = 64
    feed_forward: int = 320
    rms_eps: float = 1e-5
    rope_base: float = 10000.0


def init(config: Config, seed: int) -> Params:
    """Random weights; the matrices that write to the residual stream start smaller, by depth."""
    rng = np.random.default_rng(seed)
    c = config

    def matrix(rows: int, columns: int, scale: float = 1.0) -> jax.Array:
        return jnp.asarray(rng.normal(0.0, scale / np.sqrt(rows), (rows, columns)), jnp.float32)

    out = 1.0 / np.sqrt(2 * c.layers)
    params = {
        "token_embd.weight": jnp.asarray(rng.normal(0.0, 0.05, (c.vocab, c.width)), jnp.float32),
        "output_norm.weight": jnp.ones(c.width),
    }
    for i in range(c.layers):
        params |= {
            f"blk.{i}.attn_norm.weight": jnp.ones(c.width),
            f"blk.{i}.attn_q.weight": matrix(c.width, c.heads * c.head_size),
            f"blk.{i}.attn_k.weight": matrix(c.width, c.kv_heads * c.head_size),
            f"blk.{i}.attn_v.weight": matrix(c.width, c.kv_heads * c.head_size),
            f"blk.{i}.attn_output.weight": matrix(c.heads * c.head_size, c.width, out),
            f"blk.{i}.ffn_norm.weight": jnp.ones(c.width),
            f"blk.{i}.ffn_gate.weight": matrix(c.width, c.feed_forward),
            f"blk.{i}.ffn_up.weight": matrix(c.width, c.feed_forward),
            f"blk.{i}.ffn_down.weight": matrix(c.feed_forward, c.width, out),
        }
    return params


def rms_norm(x: jax.Array, weight: jax.Array, eps: float) -> jax.Array:
    return x * jax.lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + eps) * weight


def rope(x: jax.Array, positions: jax.Array, base: float) -> jax.Array:
    """Rotate the pairs (2i, 2i+1) of each head, which is what llama.cpp does for this architecture
    (`LLAMA_ROPE_TYPE_NORM`). x: (batch, tokens, heads, head_size)."""
    half = x.shape[-1] // 2
    angles = positions[..., None] * base ** (-jnp.arange(half) / half)
    cos, sin = jnp.cos(angles)[:, :, None], jnp.sin(angles)[:, :, None]
    even, odd = x[..., 0::2], x[..., 1::2]
    return jnp.stack([even * cos - odd * sin, even * sin + odd * cos], axis=-1).reshape(x.shape)


def attention(config: Config, q: jax.Array, k: jax.Array, v: jax.Array, mask: jax.Array) -> jax.Array:
    """Grouped-query attention; q (batch, tokens, heads, size), mask (batch, tokens, keys)."""
    b, t = q.shape[:2]
    q = q.reshape(b, t, config.kv_heads, config.heads // config.kv_heads, config.head_size)
    scores = jnp.einsum("btkgd,bskd->bkgts", q, k) / np.sqrt(config.head_size)
    weights = jax.nn.softmax(jnp.where(mask[:, None, None], scores, -1e30), axis=-1)
    return jnp.einsum("bkgts,bskd->btkgd", weights, v).reshape(b, t, -1)


def forward(
    config: Config,
    params: Params,
    tokens: jax.Array,
    positions: jax.Array,
    mask: jax.Array,
    cache: list[tuple[jax.Array, jax.Array]] | None = None,
) -> tuple[jax.Array, list[tuple[jax.Array, jax.Array]]]:
    """Logits (batch, tokens, vocab) and the new cache.

    Without a cache, the keys are those of the given tokens. With one, each layer has keys and
    values (batch, slots, kv_heads, head_size), and a token's slot is its position.
    """
    c = config
    rows = jnp.arange(tokens.shape[0])[:, None]
    x = params["token_embd.weight"][tokens]
    new_cache = []
    for i in range(c.layers):
        w = lambda name: params[f"blk.{i}.{name}.weight"]
        heads = lambda y: y.reshape(*tokens.shape, -1, c.head_size)
        h = rms_norm(x, w("attn_norm"), c.rms_eps)
        q = rope(heads(h @ w("attn_q")), positions, c.rope_base)
        k = rope(heads(h @ w("attn_k")), positions, c.rope_base)
        v = heads(h @ w("attn_v"))
        if cache is not None:
            k, v = (old.at[rows, positions].set(new) for old, new in zip(cache[i], (k, v)))
            new_cache.append((k, v))
        x = x + attention(c, q, k, v, mask) @ w("attn_output")
        h = rms_norm(x, w("ffn_norm"), c.rms_eps)
        x = x + (jax.nn.silu(h @ w("ffn_gate")) * (h @ w("ffn_up"))) @ w("ffn_down")
    # The embedding serves as the output matrix too (GGUF: no output.weight).
    return rms_norm(x, params["output_norm.weight"], c.rms_eps) @ params["token_embd.weight"].T, new_cache


class Greedy:
    """Batched greedy decoding with a key/value cache, in 32-bit floats."""

    def __init__(self, config: Config, params: Params):
        self.config = config
        self.params = params
        self._step = jax.jit(self._forward_at)

    def _forward_at(self, params, tokens, start, cache):
        positions = start[:, None] + jnp.arange(tokens.shape[1])
        slots = jnp.arange(cache[0][0].shape[1])
        mask = slots[None, None] <= positions[..., None]
        return forward(self.config, params, tokens, positions, mask, cache)

    def generate(self, prompts: list[list[int]], stop: set[int], max_tokens: int = 128):
        """For each prompt the tokens up to (without) a stop token, and the smallest difference
        between the best and the second best logit on the way."""
        c = self.config
        batch, longest = len(prompts), max(map(len, prompts))
        width = -(-longest // 64) * 64  # few distinct shapes, so few compilations
        cache = [
            (jnp.zeros((batch, width + max_tokens, c.kv_heads, c.head_size)),) * 2 for _ in range(c.layers)
        ]
        padded = np.zeros((batch, width), np.int32)
        for row, prompt in enumerate(prompts):
            padded[row, : len(prompt)] = prompt
        length = np.array([len(p) for p in prompts], np.int32)
        # What the padding wrote into the cache lies behind each row's position, where the mask hides
        # it until decoding overwrites it.
        logits, cache = self._step(self.params, jnp.asarray(padded), jnp.zeros(batch, jnp.int32), cache)
        logits = np.asarray(logits)[np.arange(batch), length - 1]
        out: list[list[int]] = [[] for _ in prompts]
        margin = np.full(batch, np.inf)
        running = np.ones(batch, bool)
        for step in range(max_tokens):
            second, best = np.partition(logits, -2, axis=-1)[:, -2:].T
            token = logits.argmax(-1)
            margin = np.where(running, np.minimum(margin, best - second), margin)
            running &= ~np.isin(token, list(stop))
            if not running.any():
                break
            for row in np.flatnonzero(running):
                out[row].append(int(token[row]))
            logits, cache = self._step(
                self.params, jnp.asarray(token[:, None], jnp.int32), jnp.asarray(length + step), cache
            )
            logits = np.asarray(logits)[:, 0]
        return out, margin.tolist()
