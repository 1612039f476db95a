"""The byte-level BPE vocabulary, with the pre-tokeniser that llama.cpp calls "smollm".

Each digit is a separate token; GPT-2's rule splits the rest (`LLAMA_VOCAB_PRE_TYPE_SMOLLM` in
llama.cpp's src/llama-vocab.cpp): numbers are copied and added digit by digit.
"""

import json

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

PRE_TOKENIZER = "smollm"  # the name in `tokenizer.ggml.pre`

# Control tokens never appear in generated text; the marks of tool use do, so they are user-defined.
CONTROL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
USER_DEFINED = ["<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>"]
END_OF_TEXT, IM_START, IM_END = range(3)


def _pre_tokenizer() -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )


def build(tokens: list[str], merges: list[tuple[str, str]]) -> Tokenizer:
    """The tokeniser of a vocabulary whose first tokens are CONTROL and USER_DEFINED."""
    tokenizer = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=merges))
    tokenizer.pre_tokenizer = _pre_tokenizer()
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in CONTROL])
    tokenizer.add_tokens([AddedToken(t, special=False, normalized=False) for t in USER_DEFINED])
    return tokenizer


def train(texts: list[str], size: int) -> tuple[list[str], list[tuple[str, str]]]:
    """Learn the merges from texts; returns tokens by id and merges by rank."""
    reserved = CONTROL + USER_DEFINED
    for mark in reserved:  # the trainer would merge their letters
        texts = [text.replace(mark, "\n") for text in texts]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = _pre_tokenizer()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=reserved,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),  # all 256 bytes: any text is lossless
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokens = [tokenizer.id_to_token(i) for i in range(tokenizer.get_vocab_size())]
    merges = [tuple(pair) for pair in json.loads(tokenizer.to_str())["model"]["merges"]]
    return tokens, merges


def encode(tokenizer: Tokenizer, text: str, parse_special: bool = True) -> list[int]:
    """Token ids. Without parse_special, control tokens in the text are read as plain characters."""
    tokenizer.encode_special_tokens = not parse_special
    return tokenizer.encode(text, add_special_tokens=False).ids


def decode(tokenizer: Tokenizer, tokens: list[int]) -> str:
    return tokenizer.decode(tokens, skip_special_tokens=False)
