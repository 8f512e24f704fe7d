"""Options of loading and of generating, checked before anything is loaded.

Imports no llama.cpp.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, TypeAlias, TypedDict, TypeVar, get_args

from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.sampling import Sampling
from rstitch_local.errors import UsageError
from rstitch_local.llama.chat_template import Message
from rstitch_local.routing.resolve import RouterLike

KvType: TypeAlias = Literal["f16", "q8_0", "q4_0"]
"""Precision of the KV cache."""

Conversation: TypeAlias = Sequence[Message]
"""The turns of a conversation, in order: mappings with `role` (system, user or assistant) and `content`."""

MAX_SEQUENCES = 256
"""Sequences that llama.cpp allows in one context."""

_Function = TypeVar("_Function", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True, repr=False)
class LoadOptions:
    """How the models of a pair are loaded.

    Attributes:
        gpu_layers: layers on the GPU: a number for both models, or a pair (SLM, LLM); None for as many as fit.
        threads: CPU threads of each model; None for the number of physical cores.
        context: tokens that one answer can hold, prompt included; None for the pair's own number.
        kv_type: precision of the KV cache: f16, q8_0 or q4_0.
        sequences: answers that can be generated at the same time; None for as many as memory allows, up to 16.
        kv_cells: tokens that all sequences together can hold in each KV cache; None for `context` tokens per
            sequence, or for what fits into half of the free memory if that is less.
        swaps: whether both models work on the same answers. If not (a router that only uses one model), each
            sequence gets a KV cache of its own, which is faster for single tokens but slower for catch-ups.
        trust_models: load files that this machine has never loaded without trying them in another process first,
            where a file that crashes llama.cpp does no harm.

    Raises:
        UsageError: a value is invalid.
    """

    gpu_layers: int | tuple[int, int] | None = None
    threads: int | None = None
    context: int | None = None
    kv_type: KvType = "f16"
    sequences: int | None = 1
    kv_cells: int | None = None
    swaps: bool = True
    trust_models: bool = False

    def __post_init__(self) -> None:
        layers = self.gpu_layers
        if layers is not None and not _is_layers(layers):
            raise _invalid("gpu_layers", layers, "None, a number of layers (0 or more), or a pair of them (SLM, LLM)")
        if self.kv_type not in get_args(KvType):
            raise _invalid("kv_type", self.kv_type, f"one of {', '.join(get_args(KvType))}")
        for name, limit in (("threads", None), ("context", None), ("sequences", MAX_SEQUENCES), ("kv_cells", None)):
            value = getattr(self, name)
            if value is not None and not (_is_int(value) and 1 <= value <= (limit or value)):
                bounds = f"an integer from 1 to {limit}" if limit else "an integer of at least 1"
                raise _invalid(name, value, f"None or {bounds}")

    def layers_of(self, role: Role) -> int | None:
        """Return the number of one model's layers on the GPU; None for as many as fit."""
        if isinstance(self.gpu_layers, tuple | list):
            return self.gpu_layers[0 if role is Role.SLM else 1]
        return self.gpu_layers

    def __repr__(self) -> str:
        changed = [f"{f.name}={getattr(self, f.name)!r}" for f in fields(self) if getattr(self, f.name) != f.default]
        return f"LoadOptions({', '.join(changed)})"


class AnswerOptions(TypedDict, total=False):
    """The keyword arguments of `Pair.chat` that `Pair.generate`, `generate_many` and `astream` pass on."""

    router: RouterLike | None
    sampling: Sampling | None
    temperature: float | None
    top_p: float | None
    top_k: int | None
    min_p: float | None
    seed: int
    max_tokens: int | None
    stop: str | Sequence[str]
    should_stop: Callable[[], bool] | None
    thinking: bool | None
    prefix: str
    reuse: bool


def shows_options(method: Callable[..., Any]) -> Callable[[_Function], _Function]:
    """List the options of a method, in place of `**options`, in the signature that `help` and notebooks show.

    Editors read them from the annotation `Unpack[AnswerOptions]`.

    Args:
        method: the method that the options are passed to.
    """
    parameters = inspect.signature(method).parameters

    def decorate(function: _Function) -> _Function:
        signature = inspect.signature(function)
        named = [each for each in signature.parameters.values() if each.kind is not inspect.Parameter.VAR_KEYWORD]
        options = [parameters[name] for name in AnswerOptions.__annotations__]
        vars(function)["__signature__"] = signature.replace(parameters=[*named, *options])
        return function

    return decorate


def merged_sampling(
    default: Sampling,
    sampling: Sampling | None,
    *,
    temperature: float | None,
    top_p: float | None,
    top_k: int | None,
    min_p: float | None,
) -> Sampling:
    """Return `sampling`, or the default if it is None, with the single values that are not None.

    Raises:
        UsageError: a value is out of range, or `sampling` is no Sampling.
    """
    if sampling is not None and not isinstance(sampling, Sampling):
        raise UsageError(
            "Invalid sampling",
            f"sampling is of type {type(sampling).__name__}.",
            "Pass Sampling(...), or temperature=, top_p=, top_k= and min_p=.",
        )
    values = {"temperature": temperature, "top_p": top_p, "top_k": top_k, "min_p": min_p}
    changes: dict[str, Any] = {name: value for name, value in values.items() if value is not None}
    return replace(sampling or default, **changes)


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_layers(value: object) -> bool:
    numbers = value if isinstance(value, tuple | list) else (value, value)
    return len(numbers) == 2 and all(_is_int(number) and number >= 0 for number in numbers)


def _invalid(name: str, value: object, expected: str) -> UsageError:
    return UsageError("Invalid load options", f"{name} is {value!r}, must be {expected}.")
