"""The state of the models without an engine: what is loaded, what is loading, and the status line."""

from __future__ import annotations

from typing import Any, cast

import pytest

from rstitch_local.decoding.roles import Role
from rstitch_local.engine.choice import PairChoice, choose_pair
from rstitch_local.engine.loading import LoadOptions
from rstitch_local.errors import InputError, ModelError
from rstitch_tui.engine_events import LoadedPair, Loading
from rstitch_tui.engine_thread import EngineThread
from rstitch_tui.model_loader import ModelLoader


class FakeEngine:
    """Records the calls of the loader."""

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def load(self, choice: PairChoice, options: LoadOptions) -> None:
        self.calls.append((choice.name, options.context))

    def cancel_load(self) -> None:
        self.calls.append("cancel")

    def unload(self) -> None:
        self.calls.append("unload")


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def loader(engine: FakeEngine) -> ModelLoader:
    return ModelLoader(cast(EngineThread, engine), LoadOptions(context=256))


def loaded(options: LoadOptions | None = None) -> LoadedPair:
    context = dict.fromkeys(Role, 256)
    return LoadedPair(choose_pair("demo"), options or LoadOptions(context=256), context, 1024, False, 0.1)


def test_loading_a_pair(loader: ModelLoader, engine: FakeEngine) -> None:
    assert (loader.ready, loader.pair_name, loader.status) == (False, "", "")
    loader.load_by_name("demo")
    assert engine.calls == [("demo", 256)]
    assert (loader.ready, loader.pair_name, loader.status) == (False, "demo", "Loading demo")
    loader.on_progress(Loading(Role.SLM, None))
    assert loader.status == "Loading demo: checking the SLM's file once · Esc cancels"
    loader.on_progress(Loading(Role.LLM, 0.5))
    assert loader.status.startswith("Loading demo: LLM ━━━━━━━━━━────────── 50%")
    loader.on_loaded(loaded())
    assert (loader.ready, loader.pair_name, loader.status) == (True, "demo", "")


def test_progress_of_an_earlier_load_is_not_shown(loader: ModelLoader) -> None:
    loader.load_by_name("demo")
    loader.on_progress(Loading(Role.LLM, 0.9))
    loader.load_by_name("demo")
    assert loader.status == "Loading demo"


def test_cancel(loader: ModelLoader, engine: FakeEngine) -> None:
    assert not loader.cancel()
    loader.load_by_name("demo")
    assert loader.cancel()
    assert engine.calls[-1] == "cancel"
    loader.on_unavailable()
    assert "No models loaded" in loader.status
    assert not loader.cancel()


def test_unload_while_another_pair_is_loading(loader: ModelLoader, engine: FakeEngine) -> None:
    loader.load_by_name("demo")
    loader.on_loaded(loaded())
    loader.unload()
    assert engine.calls[-1] == "unload"
    assert not loader.ready
    loader.load_by_name("demo")
    loader.on_unloaded()
    assert loader.loading == "demo"
    loader.on_loaded(loaded())
    loader.unload()
    loader.on_unloaded()
    assert "No models loaded" in loader.status


def test_first_available_pair(loader: ModelLoader, engine: FakeEngine) -> None:
    assert not loader.load_first_available(["nobody"])
    assert loader.load_first_available(["nobody", "demo", None])
    assert engine.calls == [("demo", 256)]
    with pytest.raises(ModelError):
        loader.load_by_name("nobody")


@pytest.mark.parametrize("context", [15, 1025])
def test_reload_with_a_context_out_of_range(loader: ModelLoader, engine: FakeEngine, context: int) -> None:
    with pytest.raises(InputError, match="No models loaded"):
        loader.reload(512)
    loader.on_loaded(loaded())
    with pytest.raises(InputError, match="must be between 16 and 1,024"):
        loader.reload(context)
    assert engine.calls == []


def test_reload_keeps_the_other_options(loader: ModelLoader, engine: FakeEngine) -> None:
    loader.on_loaded(loaded(LoadOptions(context=256, threads=3)))
    loader.reload(512)
    assert engine.calls == [("demo", 512)]
