"""The model file: written with llama.cpp's tensor and metadata names, and read back."""

from pathlib import Path

import gguf
import jax.numpy as jnp
import numpy as np
from tokenizers import Tokenizer

import vocabulary
from corpus import TEMPLATE
from model import Config, Params

# The temperature that the file recommends.
TEMPERATURE = 0.2


def _to_gguf(name: str, weight: np.ndarray) -> np.ndarray:
    """Matrices are stored transposed (outputs, inputs) in 16 bits; norms stay in 32."""
    if weight.ndim == 1:
        return weight.astype(np.float32)
    stored = weight if name == "token_embd.weight" else weight.T
    return np.ascontiguousarray(stored).astype(np.float16)


def write(path: Path, config: Config, params: Params, tokens: list[str], merges: list[tuple[str, str]]) -> None:
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("Mullama Demo")
    writer.add_description("A toy that knows capitals, small sums, a little about mullama, and one tool call")
    writer.add_license("MIT")
    writer.add_size_label(f"{sum(w.size for w in params.values()) / 1e6:.1f}M")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    # A model this small often picks a wrong token at the usual 0.8.
    writer.add_float32("general.sampling.temp", TEMPERATURE)

    writer.add_vocab_size(config.vocab)
    writer.add_context_length(config.context)
    writer.add_embedding_length(config.width)
    writer.add_block_count(config.layers)
    writer.add_feed_forward_length(config.feed_forward)
    writer.add_head_count(config.heads)
    writer.add_head_count_kv(config.kv_heads)
    writer.add_key_length(config.head_size)
    writer.add_value_length(config.head_size)
    writer.add_rope_dimension_count(config.head_size)
    writer.add_rope_freq_base(config.rope_base)
    writer.add_layer_norm_rms_eps(config.rms_eps)

    types = {vocabulary.CONTROL[i]: gguf.TokenType.CONTROL for i in range(len(vocabulary.CONTROL))}
    types |= {token: gguf.TokenType.USER_DEFINED for token in vocabulary.USER_DEFINED}
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(vocabulary.PRE_TOKENIZER)
    writer.add_token_list(tokens)
    writer.add_token_types([types.get(token, gguf.TokenType.NORMAL) for token in tokens])
    writer.add_token_merges([" ".join(pair) for pair in merges])
    # llama.cpp takes token 11 for the missing start token of a "gpt2" vocabulary, so one is named,
    # and never added.
    writer.add_bos_token_id(vocabulary.END_OF_TEXT)
    writer.add_eos_token_id(vocabulary.IM_END)
    writer.add_pad_token_id(vocabulary.END_OF_TEXT)
    writer.add_add_bos_token(False)
    writer.add_chat_template(TEMPLATE)

    for name, weight in params.items():
        writer.add_tensor(name, _to_gguf(name, np.asarray(weight)))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def read(path: Path) -> tuple[Config, Params, Tokenizer]:
    """Everything from the file alone, weights dequantised to 32-bit floats."""
    reader = gguf.GGUFReader(path)

    def value(key: str):
        return reader.fields[key].contents()

    config = Config(
        vocab=value("llama.vocab_size"),
        context=value("llama.context_length"),
        width=value("llama.embedding_length"),
        layers=value("llama.block_count"),
        heads=value("llama.attention.head_count"),
        kv_heads=value("llama.attention.head_count_kv"),
        head_size=value("llama.attention.key_length"),
        feed_forward=value("llama.feed_forward_length"),
        rms_eps=value("llama.attention.layer_norm_rms_epsilon"),
        rope_base=value("llama.rope.freq_base"),
    )
    params = {}
    for tensor in reader.tensors:
        weight = gguf.dequantize(tensor.data, tensor.tensor_type)
        if weight.ndim == 2 and tensor.name != "token_embd.weight":
            weight = weight.T
        params[tensor.name] = jnp.asarray(weight)
    return config, params, vocabulary.build(*vocabulary_of(path))


def vocabulary_of(path: Path) -> tuple[list[str], list[tuple[str, str]]]:
    """The tokens and merges of a file."""
    fields = gguf.GGUFReader(path).fields
    tokens, merges = (fields[f"tokenizer.ggml.{name}"].contents() for name in ("tokens", "merges"))
    return tokens, [tuple(merge.split(" ")) for merge in merges]
