"""Mutations of GGUF files, by kind: of the header, keys, tensors and data, and of the bytes."""

from __future__ import annotations

import math
import random
import struct
from collections.abc import Callable

from gguf_fuzz.document import ARRAY, SCALARS, STRING, Document, Key, text

_INTEGERS = (0, 1, 2, 3, 7, 255, 511, 513, 1000, 4095, 65_537, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 62)
_FLOATS = (0.0, -1.0, -1e-6, 1.0, 1e-38, 3e38, math.inf, -math.inf, math.nan)
_TOKENIZERS = (b"llama", b"gpt2", b"bert", b"t5", b"rwkv", b"plamo2", b"none", b"no_vocab", b"gemma4", b"hybriddna")
_PRE_TOKENIZERS = (b"default", b"llama-bpe", b"qwen2", b"gpt-2", b"deepseek-llm", b"falcon", b"gpt-4o", b"tekken")
_ARCHITECTURES = (
    b"llama", b"qwen2", b"qwen3", b"qwen3moe", b"mamba", b"mamba2", b"gemma2", b"gemma3", b"phi3", b"gpt2", b"rwkv6",
    b"rwkv7", b"falcon", b"bloom", b"mpt", b"starcoder2", b"olmo2", b"deepseek2", b"granitehybrid", b"command-r",
    b"jamba", b"lfm2", b"glm4moe", b"gpt-oss", b"plamo2", b"minicpm3", b"chatglm", b"bitnet", b"dots1", b"arwkv7",
)  # fmt: skip
_STRINGS = {
    b"tokenizer.ggml.model": _TOKENIZERS,
    b"tokenizer.ggml.pre": _PRE_TOKENIZERS,
    b"general.architecture": _ARCHITECTURES,
}
_KEYS_OF_OTHERS = (
    "nextn_predict_layers", "expert_count", "expert_used_count", "expert_group_count", "expert_group_used_count",
    "leading_dense_block_count", "rope.dimension_count", "attention.key_length", "attention.value_length",
    "attention.sliding_window", "attention.sliding_window_pattern", "ssm.group_count", "interleave_moe_layer_step",
    "attention.shared_kv_layers", "full_attention_interval", "vocab_size", "expert_shared_count",
    "attention.kv_lora_rank", "pooling_type", "embedding_length_out", "attention.group_norm_groups",
)  # fmt: skip
_TOKEN_IDS = ("bos", "eos", "eot", "padding", "unknown", "eom", "fim_pre", "mask", "seperator")
_TENSOR_TYPES = tuple(range(43))
_TEMPLATES = (
    "", "{{ '' }}", "{% if %}", "{{ messages[9].content.x }}", "{{ 9**9**9 }}", "{{ 'a' * 10**11 }}",
    "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "{% macro m(n) %}{{ m(n + 1) }}{{ m(n + 1) }}{% endmacro %}{{ m(0) }}",
    "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(90) }}",
    "{% set n = namespace(s='a') %}{% for i in range(99) %}{% set n.s = n.s ~ n.s %}{% endfor %}{{ n.s }}",
    "{% set n = namespace(s='a') %}{% for i in range(99) %}{% set n.s = n.s + n.s %}{% endfor %}{{ n.s }}",
    "{{ ''.ljust(10**11) }}", "{{ '%99999999999d' % 1 }}", "{{ '{:99999999999}'.format(1) }}", "{{ lipsum(n=10**9) }}",
    "{{ messages | map('string') | join('a' * 10**6) * 10**6 }}",
)  # fmt: skip


def mutate(rng: random.Random, document: Document) -> tuple[bytes, str]:
    """Return the bytes of a changed file, and the kind of the change. Changes `document`."""
    kind = rng.choices(list(_KINDS), [weight for weight, _ in _KINDS.values()])[0]
    changed = _KINDS[kind][1](rng, document)
    return document.encoded() if changed is None else changed, kind


def _header(rng: random.Random, document: Document) -> None:
    if rng.random() < 0.3:
        document.version = rng.choice((0, 1, 2, 4, 3 << 24, (1 << 32) - 1))
        return
    counts = [len(document.tensors), len(document.keys)]
    place = rng.randrange(2)
    counts[place] = rng.choice((0, counts[place] - 1, counts[place] + 1, 1 << 16, (1 << 64) - 1))
    document.counts = counts


def _integer_key(rng: random.Random, document: Document) -> None:
    _set_scalar(rng, _pick(rng, document, set(SCALARS) - {6, 7, 12}), _INTEGERS)


def _float_key(rng: random.Random, document: Document) -> None:
    _set_scalar(rng, _pick(rng, document, {6, 12}), _FLOATS)


def _string_key(rng: random.Random, document: Document) -> None:
    known = [key for key in document.keys if key.name in _STRINGS]
    if known and rng.random() < 0.7:
        key = rng.choice(known)
        key.items = [text(rng.choice(_STRINGS[key.name]))]
        if key.name == b"general.architecture" and rng.random() < 0.5:
            _rename_keys(document, key.items[0][8:])
        return
    key = _pick(rng, document, {STRING})
    key.items = [text(rng.choice((b"", rng.randbytes(12), b"\xff" * 9, b"a" * 100_000, key.items[0][8:] * 2)))]


def _array_key(rng: random.Random, document: Document) -> None:
    key = _pick(rng, document, {ARRAY})
    count = len(key.items)
    change = rng.randrange(5)
    if change == 0:
        key.items = key.items[: rng.choice((0, 1, count // 2, max(0, count - 1)))]
    elif change == 1:
        key.items = key.items + key.items[: rng.choice((1, count))]
    elif change == 2:
        rng.shuffle(key.items)
    else:
        key.items = _new_items(rng, key, everywhere=change == 3)


def _new_items(rng: random.Random, key: Key, *, everywhere: bool) -> list[bytes]:
    if key.item_kind == STRING:
        choices = [text(rng.randbytes(rng.randrange(9))), text(b"\xff\xfe" * 3), text(b""), text(b"a"), text(b" a b ")]
    else:
        letter = SCALARS[key.item_kind or 4]
        values = _FLOATS if letter in "fd" else _INTEGERS
        choices = [_pack(letter, rng.choice(values))]
    share = 1.0 if everywhere else rng.choice((0.01, 0.2))
    return [rng.choice(choices) if rng.random() < share else item for item in key.items]


def _missing_key(rng: random.Random, document: Document) -> None:
    document.keys.remove(rng.choice(document.keys))


def _duplicate_key(rng: random.Random, document: Document) -> None:
    key = rng.choice(document.keys)
    copy = Key(key.name, key.kind, list(key.items), key.item_kind)
    if key.kind in SCALARS:
        _set_scalar(rng, copy, _INTEGERS)
    document.keys.append(copy)


def _retyped_key(rng: random.Random, document: Document) -> None:
    key = rng.choice(document.keys)
    kind = rng.choice((*SCALARS, STRING, ARRAY))
    key.kind, key.item_kind = kind, None
    if kind == STRING:
        key.items = [text(b"1")]
    elif kind == ARRAY:
        key.item_kind = rng.choice((4, 5, 6, STRING))
        key.items = [text(b"1") if key.item_kind == STRING else _pack(SCALARS[key.item_kind], 1)] * rng.choice(
            (0, 1, 4)
        )
    else:
        key.items = [_pack(SCALARS[kind], rng.choice(_INTEGERS))]


def _added_key(rng: random.Random, document: Document) -> None:
    value = _pack("I", rng.choice(_INTEGERS))
    if rng.random() < 0.3:
        name = f"tokenizer.ggml.{rng.choice(_TOKEN_IDS)}_token_id"
    else:
        name = f"{_architecture(document)}.{rng.choice(_KEYS_OF_OTHERS)}"
    document.keys = [key for key in document.keys if key.name != name.encode()]
    document.keys.append(Key(name.encode(), 4, [value]))


def _tensor_type(rng: random.Random, document: Document) -> None:
    for tensor in rng.sample(document.tensors, rng.choice((1, 1, len(document.tensors)))):
        tensor.kind = rng.choice(_TENSOR_TYPES)


def _tensor_shape(rng: random.Random, document: Document) -> None:
    tensor = rng.choice(document.tensors)
    place = rng.randrange(len(tensor.dims))
    change = rng.randrange(4)
    if change == 0:
        tensor.dims.reverse()
    elif change == 1:
        tensor.dims[place] = rng.choice((0, 1, 32, tensor.dims[place] // 2, tensor.dims[place] * 2, 1 << 40))
    elif change == 2:
        tensor.dims.append(rng.choice((0, 1, 2)))
    else:
        tensor.dims.pop()


def _tensor_offset(rng: random.Random, document: Document) -> None:
    tensor = rng.choice(document.tensors)
    tensor.offset = rng.choice((0, 1, 32, tensor.offset + 32, len(document.data), 1 << 40, (1 << 64) - 32))


def _tensor_name(rng: random.Random, document: Document) -> None:
    tensor = rng.choice(document.tensors)
    change = rng.randrange(4)
    if change == 0:
        document.tensors.remove(tensor)
    elif change == 1:
        tensor.name = rng.choice(document.tensors).name
    elif change == 2:
        tensor.name = rng.choice((b"", b"blk.999.attn_q.weight", b"x" * 64, rng.randbytes(8)))
    else:
        rng.shuffle(document.tensors)


def _template(rng: random.Random, document: Document) -> None:
    document.keys = [key for key in document.keys if key.name != b"tokenizer.chat_template"]
    document.keys.append(Key(b"tokenizer.chat_template", STRING, [text(rng.choice(_TEMPLATES).encode())]))


def _weights(rng: random.Random, document: Document) -> None:
    value = rng.choice((struct.pack("<f", math.nan), struct.pack("<f", math.inf), bytes(4), b"\xff\xff\xff\xff"))
    start = rng.randrange(len(document.data)) & ~3
    length = rng.choice((4, 4096, len(document.data))) & ~3
    end = min(len(document.data), start + length)
    document.data[start:end] = rng.randbytes(end - start) if rng.random() < 0.4 else value * ((end - start) // 4)


def _truncation(rng: random.Random, document: Document) -> bytes:
    content = document.encoded()
    return content[: rng.choice((rng.randrange(64), rng.randrange(len(content)), len(content) - 1))]


def _random_bytes(rng: random.Random, document: Document) -> bytes:
    content = bytearray(document.encoded())
    # Half of the changes hit the header, which is a small part of the file.
    end = len(content) - len(document.data) if rng.random() < 0.5 else len(content)
    for _ in range(rng.choice((1, 4, 64))):
        content[rng.randrange(4, end)] = rng.randrange(256)
    return bytes(content)


def _several(rng: random.Random, document: Document) -> None:
    for change in rng.sample([_integer_key, _float_key, _string_key, _array_key, _added_key, _tensor_type], 2):
        change(rng, document)


def _pick(rng: random.Random, document: Document, kinds: set[int]) -> Key:
    keys = [key for key in document.keys if key.kind in kinds]
    return rng.choice(keys or [key for key in document.keys if key.kind in SCALARS])


def _set_scalar(rng: random.Random, key: Key, values: tuple[int, ...] | tuple[float, ...]) -> None:
    letter = SCALARS[key.kind]
    old = struct.unpack("<" + letter, key.items[0])[0]
    key.items = [_pack(letter, rng.choice((*values, old + 1, old * 2, old // 2, -old)))]


def _pack(letter: str, value: float) -> bytes:
    if letter in "fd":
        return struct.pack("<" + letter, value)
    size = struct.calcsize("<" + letter)
    whole = int(value) if math.isfinite(value) else 0
    return (whole % (1 << 8 * size)).to_bytes(size, "little")


def _architecture(document: Document) -> str:
    key = document.key("general.architecture")
    return key.items[0][8:].decode("utf-8", "replace") if key is not None else ""


def _rename_keys(document: Document, architecture: bytes) -> None:
    """Give the keys of the former architecture the name of the new one."""
    for key in document.keys:
        section, _, rest = key.name.partition(b".")
        if section not in (b"general", b"tokenizer"):
            key.name = architecture + b"." + rest


_KINDS: dict[str, tuple[int, Callable[[random.Random, Document], bytes | None]]] = {
    "header": (4, _header),
    "integer key": (20, _integer_key),
    "float key": (6, _float_key),
    "string key": (10, _string_key),
    "array key": (10, _array_key),
    "missing key": (4, _missing_key),
    "duplicate key": (2, _duplicate_key),
    "retyped key": (4, _retyped_key),
    "added key": (10, _added_key),
    "tensor type": (10, _tensor_type),
    "tensor shape": (6, _tensor_shape),
    "tensor offset": (3, _tensor_offset),
    "tensor name": (4, _tensor_name),
    "weights": (5, _weights),
    "template": (6, _template),
    "truncation": (3, _truncation),
    "random bytes": (8, _random_bytes),
    "several": (10, _several),
}
"""Kinds of mutations: relative frequency and function."""
