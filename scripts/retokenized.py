"""Write a copy of a GGUF model with another tokenizer: the same weights, permuted token ids, some tokens removed.

If no token is removed, the copy generates the same text as the original but shares no token id with it, so that the
cost of stitching the two is the cost of the bridge alone.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf

_PER_TOKEN = ("token_embd.weight", "output.weight")
_COUNTED = ("vocab_size",)


def write_retokenized(
    source: Path, target: Path, *, seed: int = 0, exclude: Callable[[str], bool] = lambda _text: False
) -> Path:
    """Write a copy of a model with another tokenizer, and return its path.

    Args:
        source: a GGUF file with a byte-level BPE vocabulary.
        target: the file to write.
        seed: seed of the permutation.
        exclude: selects ordinary tokens of several letters to remove. Texts with them are split into smaller tokens,
            which the model was not trained on.
    """
    reader = gguf.GGUFReader(source)
    values = {name: field.contents() for name, field in reader.fields.items() if not name.startswith("GGUF.")}
    texts, kinds = values["tokenizer.ggml.tokens"], values["tokenizer.ggml.token_type"]
    order = [
        t for t, text in enumerate(texts) if kinds[t] != gguf.TokenType.NORMAL or len(text) < 2 or not exclude(text)
    ]
    random.Random(f"retokenised {seed}").shuffle(order)
    new_ids = {token: index for index, token in enumerate(order)}
    remaining = {texts[token] for token in order}
    merges = [m for m in values["tokenizer.ggml.merges"] if remaining >= {*m.split(" "), m.replace(" ", "")}]
    changes: dict[str, Any] = {
        "tokenizer.ggml.tokens": [texts[token] for token in order],
        "tokenizer.ggml.token_type": [kinds[token] for token in order],
        "tokenizer.ggml.merges": merges,
    }
    writer = gguf.GGUFWriter(target, values["general.architecture"])
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name == "general.architecture":
            continue
        value = changes.get(name, values[name])
        if name.endswith("_token_id"):
            value = new_ids[value]
        elif name.rpartition(".")[2] in _COUNTED:
            value = len(order)
        writer.add_key_value(name, value, field.types[0], sub_type=field.types[1] if len(field.types) > 1 else None)
    for tensor in reader.tensors:
        data = tensor.data[order] if tensor.name in _PER_TOKEN else tensor.data
        writer.add_tensor(tensor.name, data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target
