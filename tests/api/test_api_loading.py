"""The Python API: load options, and closed pairs."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, get_args

import llama_cpp
import pytest
from api_samples import QUESTION, QUESTIONS
from tiny_pair import TinyPair

from rstitch_local import (
    EngineError,
    LoadOptions,
    Role,
    UsageError,
    inspect_position,
    load_pair,
)
from rstitch_local.engine import loading
from rstitch_local.engine.options import MAX_SEQUENCES, KvType
from rstitch_local.llama.context import KV_TYPES
from rstitch_local.llama.weights import Weights


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("gpu_layers", -1, "a number of layers"),
        ("gpu_layers", (1, 2, 3), "a pair of them"),
        ("gpu_layers", "all", "a pair of them"),
        ("gpu_layers", True, "a pair of them"),
        ("kv_type", "q5_1", "one of f16, q8_0, q4_0"),
        ("threads", 0, "an integer of at least 1"),
        ("threads", 1.5, "an integer of at least 1"),
        ("context", 0, "an integer of at least 1"),
        ("context", "4096", "an integer of at least 1"),
        ("sequences", 0, "an integer from 1 to 256"),
        ("sequences", 257, "an integer from 1 to 256"),
        ("kv_cells", -5, "an integer of at least 1"),
    ],
)
def test_invalid_load_options_are_refused(name: str, value: Any, expected: str) -> None:
    with pytest.raises(UsageError) as caught:
        LoadOptions(**{name: value})
    assert caught.value.title == "Invalid load options"
    assert f"{name} is {value!r}, must be" in caught.value.message
    assert expected in caught.value.message


def test_gpu_layers_are_for_both_models_or_each() -> None:
    assert [LoadOptions(gpu_layers=20).layers_of(role) for role in Role] == [20, 20]
    assert [LoadOptions(gpu_layers=(99, 20)).layers_of(role) for role in Role] == [99, 20]
    assert [LoadOptions().layers_of(role) for role in Role] == [None, None]


def test_load_options_show_what_differs_from_the_defaults() -> None:
    assert repr(LoadOptions()) == "LoadOptions()"
    assert repr(LoadOptions(gpu_layers=20, kv_type="q8_0")) == "LoadOptions(gpu_layers=20, kv_type='q8_0')"


def test_load_options_know_the_limits_of_llama_cpp() -> None:
    assert set(get_args(KvType)) == set(KV_TYPES)
    assert llama_cpp.llama_max_parallel_sequences() == MAX_SEQUENCES


def test_a_pair_is_loaded_with_a_number_of_gpu_layers(tiny_pair: TinyPair, monkeypatch: pytest.MonkeyPatch) -> None:
    requested = []

    def load(path: Path, *, gpu_layers: int, **options: Any) -> Weights:
        requested.append(gpu_layers)
        return Weights(path, gpu_layers=gpu_layers, **options)

    monkeypatch.setattr(loading, "Weights", load)
    for gpu_layers in (20, (9, 3)):
        with load_pair(slm=tiny_pair.slm, llm=tiny_pair.llm, options=LoadOptions(gpu_layers=gpu_layers)) as loaded:
            assert loaded.generate("Hi", max_tokens=2).stop == "length"
    assert requested == [20, 20, 9, 3]


def test_a_closed_pair_says_so() -> None:
    loaded = load_pair("demo", options=LoadOptions(threads=1, context=256))
    loaded.close()
    assert repr(loaded).endswith(", closed)")
    for use in (
        lambda: loaded.ask(QUESTION),
        lambda: loaded.generate(QUESTION),
        lambda: loaded.generate_many(QUESTIONS),
        lambda: list(loaded.run_all([])),
        lambda: asyncio.run(anext(loaded.astream(QUESTION))),
        lambda: inspect_position(loaded, QUESTION, []),
    ):
        with pytest.raises(EngineError, match=r"Pair is closed.*Load it again"):
            use()
