"""Writes a model once more with another tokeniser: the same weights, their tokens under other ids, some of them gone.

Knows GGUF files; nothing of what the models are for. Where no token is left out, the new model says word for word
what the old one does, but shares no id with it: what stitching the two costs is the cost of the bridge alone.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf

_PER_TOKEN = ("token_embd.weight", "output.weight")
_COUNTED = ("vocab_size",)


def write_retokenised(
    source: Path, target: Path, *, seed: int = 0, leave_out: Callable[[str], bool] = lambda _text: False
) -> Path:
    """Write `source` again.

    Args:
        source: a GGUF file with a byte-level BPE vocabulary.
        target: the file to write.
        seed: of the order of the tokens.
        leave_out: which ordinary tokens of several letters the new tokeniser does without; texts that had them are
            cut into smaller ones, which the model was never trained to read.
    """
    reader = gguf.GGUFReader(source)
    values = {name: field.contents() for name, field in reader.fields.items() if not name.startswith("GGUF.")}
    texts, kinds = values["tokenizer.ggml.tokens"], values["tokenizer.ggml.token_type"]
    order = [
        t for t, text in enumerate(texts) if kinds[t] != gguf.TokenType.NORMAL or len(text) < 2 or not leave_out(text)
    ]
    random.Random(f"retokenised {seed}").shuffle(order)
    place = {token: index for index, token in enumerate(order)}
    left = {texts[token] for token in order}
    merges = [m for m in values["tokenizer.ggml.merges"] if left >= {*m.split(" "), m.replace(" ", "")}]
    changed: dict[str, Any] = {
        "tokenizer.ggml.tokens": [texts[token] for token in order],
        "tokenizer.ggml.token_type": [kinds[token] for token in order],
        "tokenizer.ggml.merges": merges,
    }
    writer = gguf.GGUFWriter(target, values["general.architecture"])
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name == "general.architecture":
            continue
        value = changed.get(name, values[name])
        if name.endswith("_token_id"):
            value = place[value]
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
