"""Export to GGUF: the vocabulary alone, for tokenization, or a trained model in Q8_0."""

from __future__ import annotations

from pathlib import Path

import torch

from demo_pair import tokenizer
from demo_pair.model import CONTEXT_LENGTH, NORM_EPSILON, ROPE_BASE, DemoModel, Shape

BLOCK_NAMES = {
    "norm_attention": "attn_norm", "query": "attn_q", "key": "attn_k", "value": "attn_v", "output": "attn_output",
    "norm_feed": "ffn_norm", "gate": "ffn_gate", "up": "ffn_up", "down": "ffn_down",
}  # fmt: skip


def _writer(path: Path, shape: Shape, name: str) -> object:
    import gguf

    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name(name)
    writer.add_license("Apache-2.0")
    writer.add_context_length(CONTEXT_LENGTH)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(1)
    writer.add_layer_norm_rms_eps(NORM_EPSILON)
    writer.add_rope_freq_base(ROPE_BASE)
    writer.add_rope_dimension_count(shape.head_width)
    writer.add_vocab_size(shape.vocabulary)
    return writer


def _finish(writer: object) -> None:
    writer.write_header_to_file()  # type: ignore[attr-defined]
    writer.write_kv_data_to_file()  # type: ignore[attr-defined]
    writer.write_tensors_to_file()  # type: ignore[attr-defined]
    writer.close()  # type: ignore[attr-defined]


def write_vocabulary_only(vocabulary_json: Path, path: Path) -> None:
    """Write a GGUF file without weights, for llama.cpp's `vocab_only`."""
    writer = _writer(path, Shape(1, 32, 1, 32, tokenizer.VOCABULARY_SIZE), "rstitch demo vocabulary")
    tokenizer.write_vocabulary(writer, vocabulary_json)
    _finish(writer)


def write_model(model: DemoModel, vocabulary_json: Path, path: Path, name: str) -> None:
    """Write a trained model: matrices in Q8_0, norms in F32. The output head is the embedding and is not written."""
    import gguf

    writer = _writer(path, model.shape, name)
    w: object = writer
    w.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)  # type: ignore[attr-defined]
    tokenizer.write_vocabulary(writer, vocabulary_json)

    def add(tensor_name: str, tensor: torch.Tensor) -> None:
        data = tensor.detach().float().numpy()
        if data.ndim == 1:
            w.add_tensor(tensor_name, data)  # type: ignore[attr-defined]
            return
        kind = gguf.GGMLQuantizationType.Q8_0
        w.add_tensor(tensor_name, gguf.quants.quantize(data, kind), raw_dtype=kind)  # type: ignore[attr-defined]

    add("token_embd.weight", model.embedding.weight)
    add("output_norm.weight", model.norm.weight)
    for index, block in enumerate(model.blocks):
        for name, exported in BLOCK_NAMES.items():
            add(f"blk.{index}.{exported}.weight", block.get_submodule(name).weight)  # type: ignore[arg-type]
    _finish(writer)
