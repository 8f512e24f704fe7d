"""The transformer of the demo pair in torch, compatible with llama.cpp's `llama` architecture.

RMS norm, rotary positions on adjacent pairs (llama.cpp's "normal" RoPE, so no weight is permuted on export), one
key/value head shared by all query heads, SwiGLU, tied embeddings, no biases. Maps token ids to logits.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

NORM_EPSILON = 1e-5
ROPE_BASE = 10000.0
CONTEXT_LENGTH = 2048


@dataclass(frozen=True)
class Shape:
    """Sizes of one model. Every matrix dimension is a multiple of 32, which Q8_0 requires."""

    layers: int
    width: int
    heads: int
    feed_forward: int
    vocabulary: int

    @property
    def head_width(self) -> int:
        """Dimensions of one attention head; all of them are rotated."""
        return self.width // self.heads


SHAPES: dict[str, tuple[int, int, int, int]] = {
    # layers, width, heads, feed-forward
    "slm": (2, 96, 3, 256),
    "llm": (6, 192, 6, 512),
}


def shape_of(role: str, vocabulary: int) -> Shape:
    """Return the shape of the "slm" or the "llm" for a vocabulary of this size."""
    return Shape(*SHAPES[role], vocabulary)


def rope_table(length: int, head_width: int) -> Tensor:
    """Return (cos, sin) of the angles, float32 of shape (2, length, head_width / 2)."""
    frequency = ROPE_BASE ** (-torch.arange(0, head_width, 2, dtype=torch.float64) / head_width)
    angle = torch.arange(length, dtype=torch.float64)[:, None] * frequency[None, :]
    return torch.stack([angle.cos(), angle.sin()]).float()


def rotate(x: Tensor, table: Tensor) -> Tensor:
    """Rotate adjacent pairs of the last axis; x (batch, heads, time, head_width), table (2, time, head_width / 2)."""
    cos, sin = table[0].to(x.dtype), table[1].to(x.dtype)
    even, odd = x.view(*x.shape[:-1], -1, 2).unbind(-1)
    return torch.stack([even * cos - odd * sin, even * sin + odd * cos], -1).flatten(-2)


class Norm(nn.Module):
    """RMS norm with a gain, computed in float32."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """Normalize the last axis of any shape (..., width)."""
        wide = x.float()
        scale = torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + NORM_EPSILON)
        return (wide * scale * self.weight).to(x.dtype)


class Block(nn.Module):
    """One layer: attention with a single key/value head, then SwiGLU."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.heads, self.head_width = shape.heads, shape.head_width
        width, hidden = shape.width, shape.feed_forward
        self.norm_attention = Norm(width)
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, self.head_width, bias=False)
        self.value = nn.Linear(width, self.head_width, bias=False)
        self.output = nn.Linear(width, width, bias=False)
        self.norm_feed = Norm(width)
        self.gate = nn.Linear(width, hidden, bias=False)
        self.up = nn.Linear(width, hidden, bias=False)
        self.down = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor, table: Tensor, cache: list[Tensor] | None, mask: Tensor | None) -> Tensor:
        """Map x of shape (batch, time, width) to the same shape; extend `cache` [keys, values], if given, in place."""
        batch, time, width = x.shape
        h = self.norm_attention(x)
        q = rotate(self.query(h).view(batch, time, self.heads, self.head_width).transpose(1, 2), table)
        k = rotate(self.key(h)[:, None], table)
        v = self.value(h)[:, None]
        if cache is not None:
            if cache:
                k, v = torch.cat([cache[0], k], 2), torch.cat([cache[1], v], 2)
            cache[:] = [k, v]
        k = k.expand(-1, self.heads, -1, -1)
        v = v.expand(-1, self.heads, -1, -1)
        mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None)
        x = x + self.output(mixed.transpose(1, 2).reshape(batch, time, width))
        h = self.norm_feed(x)
        fed: Tensor = self.down(functional.silu(self.gate(h)) * self.up(h))
        return x + fed


class DemoModel(nn.Module):
    """Embeddings, layers, final norm; the output head is the embedding matrix."""

    table: Tensor

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.embedding = nn.Embedding(shape.vocabulary, shape.width)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.norm = Norm(shape.width)
        self.register_buffer("table", rope_table(CONTEXT_LENGTH, shape.head_width), persistent=False)
        nn.init.normal_(self.embedding.weight, std=0.02)
        for block in self.blocks:
            for name, weight in block.named_parameters():
                if weight.dim() == 2:
                    # The two matrices that write into the residual stream are scaled down by depth.
                    damp = (2 * shape.layers) ** -0.5 if name.startswith(("output", "down")) else 1.0
                    nn.init.normal_(weight, std=damp * weight.shape[1] ** -0.5)

    def hidden(self, ids: Tensor) -> Tensor:
        """Map ids of shape (batch, time) to normalized hidden states (batch, time, width). Pad on the right."""
        x = self.embedding(ids)
        table = self.table[:, : ids.shape[1]]
        for block in self.blocks:
            x = block(x, table, None, None)
        out: Tensor = self.norm(x)
        return out

    def logits(self, hidden: Tensor) -> Tensor:
        """Map hidden states of shape (..., width) to logits (..., vocabulary)."""
        return functional.linear(hidden, self.embedding.weight)
