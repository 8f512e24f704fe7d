"""Values in the header of a GGUF file that llama.cpp does not check and aborts on.

Each was found by loading damaged files (docs/reliability.md). Values that llama.cpp reports itself are left to it.
"""

from __future__ import annotations

import math
import re

from rstitch_local.llama.gguf_header import BLOCKS, STRING, TOKENS, Array, Header, InvalidHeaderError

_MAX_LAYERS = 512
"""llama.cpp's LLAMA_MAX_LAYERS."""

_MAX_CONTEXT = (1 << 31) - 1
_F32, _F16, _BF16 = 0, 1, 30
_NOT_MULTIPLIED = {9: "Q8_1", 15: "Q8_K", 24: "I8", 25: "I16", 26: "I32", 27: "I64", 28: "F64"}
"""ggml types that only occur as intermediate results or indices."""

_INDICES = "tid2eid"
"""Part of the names of tensors that are tables of indices."""

_EXPERTS = re.compile(r"blk\.\d+\.ffn_(gate|up|down)_exps\.weight")
_ITEM_KINDS = {
    TOKENS: (STRING,),
    "tokenizer.ggml.merges": (STRING,),
    "tokenizer.ggml.scores": (6,),
    "tokenizer.ggml.token_type": (4, 5),
}
"""Types of the items of arrays."""

_BYTE_TOKENS = [b"<0x%02X>" % byte for byte in range(256)]
_ESCAPES = {b"\\n": 10, b"\\r": 13, b"\\t": 9, b"\\\\": 92, b"\\'": 39, b'\\"': 34}


def require_safe(header: Header) -> None:
    """Check the values of a header.

    Raises:
        InvalidHeaderError: llama.cpp would abort.
    """
    _check_numbers(header)
    _check_layers(header)
    _check_experts(header)
    _check_rope(header)
    _check_vocabulary(header)
    _check_tensor_types(header)


def _check_tensor_types(header: Header) -> None:
    """Check the types of the tensors; raise InvalidHeaderError for one that llama.cpp cannot compute with."""
    for name, dims, kind in header.tensors:
        if kind in _NOT_MULTIPLIED and _INDICES not in name:
            raise InvalidHeaderError(f"tensor {name!r} has the type {_NOT_MULTIPLIED[kind]}, which is not for weights")
        if len(dims) == 1 and kind in BLOCKS and kind not in (_F32, _F16, _BF16) and _INDICES not in name:
            raise InvalidHeaderError(f"tensor {name!r} is a vector in a type for matrices")


def _check_numbers(header: Header) -> None:
    prefix = f"{header.architecture}."
    for key, value in header.values.items():
        if not key.startswith(prefix) or not isinstance(value, float):
            continue
        if not math.isfinite(value) or (key.endswith("epsilon") and value < 0):
            raise InvalidHeaderError(f"{key} is {value}")


def _check_layers(header: Header) -> None:
    arch = header.architecture
    layers = header.integer(f"{arch}.block_count", 1)
    if not 1 <= layers <= _MAX_LAYERS:
        raise InvalidHeaderError(f"{arch}.block_count is {layers}, must be between 1 and {_MAX_LAYERS}")
    predicting = header.integer(f"{arch}.nextn_predict_layers", 0)
    if not 0 <= predicting < layers:
        raise InvalidHeaderError(f"{arch}.nextn_predict_layers is {predicting}, of {layers} layers")
    context = header.integer(f"{arch}.context_length", 1)
    if not 1 <= context <= _MAX_CONTEXT:
        raise InvalidHeaderError(f"{arch}.context_length is {context}")


def _check_experts(header: Header) -> None:
    arch = header.architecture
    if f"{arch}.expert_count" in header.arrays or f"{arch}.expert_used_count" in header.arrays:
        # A number for each layer.
        return
    count, used = (header.integer(f"{arch}.expert_{name}", 0) for name in ("count", "used_count"))
    if not (0 < used <= count or used == count == 0):
        raise InvalidHeaderError(f"it uses {used} experts of {count}")
    groups = header.integer(f"{arch}.expert_group_count", 0)
    if groups and (count == 0 or not 0 < groups <= count or count % groups):
        raise InvalidHeaderError(f"it has {groups} groups of {count} experts")
    used_groups = header.integer(f"{arch}.expert_group_used_count", 0)
    if not 0 <= used_groups <= groups or (groups > 1 and used_groups == 0):
        raise InvalidHeaderError(f"it uses {used_groups} groups of experts of {groups}")
    for name, dims, _ in header.tensors:
        if _EXPERTS.fullmatch(name) and len(dims) == 3 and dims[2] != count:
            raise InvalidHeaderError(f"tensor {name!r} has {dims[2]} experts, the header claims {count}")


def _check_rope(header: Header) -> None:
    arch = header.architecture
    heads = header.integer(f"{arch}.attention.head_count", 0)
    width = header.integer(f"{arch}.embedding_length", 0) // heads if heads > 0 else 0
    width = max(width, header.integer(f"{arch}.attention.key_length", 0))
    rotated = header.integer(f"{arch}.rope.dimension_count", 0)
    if width and (rotated > width or rotated % 2):
        raise InvalidHeaderError(f"{arch}.rope.dimension_count is {rotated}, heads have {width} dimensions")


def _check_vocabulary(header: Header) -> None:
    for key, kinds in _ITEM_KINDS.items():
        array = header.arrays.get(key, None if key not in header.values else Array(-1, 0))
        if array is not None and array.kind not in kinds:
            raise InvalidHeaderError(f"{key} has another type than a vocabulary has")
        if array is not None and key != "tokenizer.ggml.merges" and array.length != len(header.tokens):
            raise InvalidHeaderError(f"{key} has {array.length} items for {len(header.tokens)} tokens")
    model, tokens = header.text("tokenizer.ggml.model"), header.tokens
    if model in ("none", "no_vocab"):
        raise InvalidHeaderError("it has no vocabulary")
    if not tokens:
        return
    distinct = set(tokens)
    # llama.cpp gives tokens without text names of their own.
    if len(distinct) + max(0, tokens.count(b"") - 1) < len(tokens):
        raise InvalidHeaderError(f"its {len(tokens)} tokens have {len(distinct)} different texts")
    if model == "gpt2" and not any(map(_is_utf8, tokens)):
        raise InvalidHeaderError("its tokens are not UTF-8")
    if model == "llama" and not all(
        token in distinct or (byte < 128 and bytes([byte]) in distinct) for byte, token in enumerate(_BYTE_TOKENS)
    ):
        raise InvalidHeaderError("its SentencePiece vocabulary lacks tokens for bytes")
    if model == "rwkv" and len({byte for token in tokens if (byte := _byte_of(token)) is not None}) < 256:
        raise InvalidHeaderError("its RWKV vocabulary lacks tokens for bytes")


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def _byte_of(token: bytes) -> int | None:
    """Return the byte that an escaped token of RWKV stands for; None if it stands for several."""
    if len(token) == 1:
        return token[0]
    if re.fullmatch(rb"\\x[0-9a-f]{2}", token):
        return int(token[2:], 16)
    return _ESCAPES.get(token)
