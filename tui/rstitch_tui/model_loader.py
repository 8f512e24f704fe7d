"""Loads and unloads pairs of models, and reports what is loaded and how far loading is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from rstitch_local.decoding.roles import Role
from rstitch_local.engine.choice import PairChoice, choose_pair
from rstitch_local.engine.loading import LoadOptions
from rstitch_local.errors import InputError, RStitchError
from rstitch_tui.engine_events import LoadedPair, Loading
from rstitch_tui.engine_thread import EngineThread

_BAR_CELLS = 20
_LEAST_CONTEXT = 16


class ModelLoader:
    """State of the models. The app passes on what the engine thread reports; the screens read the state.

    Args:
        engine: the thread that loads.
        options: options for every pair, from the command line.

    Attributes:
        loaded: the loaded pair, None if there is none.
        loading: name of the pair being loaded, "" if there is none.
    """

    def __init__(self, engine: EngineThread, options: LoadOptions) -> None:
        self.loaded: LoadedPair | None = None
        self.loading = ""
        self._engine = engine
        self._options = options
        self._progress: Loading | None = None
        self._unavailable = False

    @property
    def ready(self) -> bool:
        """Whether a pair is loaded."""
        return self.loaded is not None

    @property
    def pair_name(self) -> str:
        """Name of the pair that is loaded or being loaded, "" if there is none."""
        return self.loaded.choice.name if self.loaded is not None else self.loading

    @property
    def status(self) -> str:
        """One line on what is missing before a question can be answered; "" if nothing is."""
        if self.loading:
            if self._progress is None:
                return f"Loading {self.loading}"
            if self._progress.share is None:
                return f"Loading {self.loading}: checking the {self._progress.role.name}'s file once · Esc cancels"
            done = round(self._progress.share * _BAR_CELLS)
            bar = "━" * done + "─" * (_BAR_CELLS - done)
            return f"Loading {self.loading}: {self._progress.role.name} {bar} {self._progress.share:.0%} · Esc cancels"
        return "No models loaded. Choose a pair with /models." if self._unavailable else ""

    # Commands

    def load(self, choice: PairChoice, options: LoadOptions | None = None) -> None:
        """Start loading a pair in place of the current one."""
        self.loaded, self.loading, self._progress = None, choice.name, None
        self._engine.load(choice, options or self._options)

    def load_by_name(self, name: str) -> None:
        """Start loading a pair of the catalog; raises RStitchError if it is not on this disk."""
        self.load(choose_pair(name))

    def load_first_available(self, names: Iterable[str | None]) -> bool:
        """Start loading the first pair that is on this disk; None stands for any. Returns whether there is one."""
        for name in names:
            try:
                choice = choose_pair(name)
            except RStitchError:
                continue
            self.load(choice)
            return True
        return False

    def reload(self, context: int) -> None:
        """Load the same pair again with KV caches of `context` tokens.

        Raises:
            InputError: no pair is loaded, or the models were not trained on so many tokens.
        """
        if self.loaded is None:
            raise InputError("No models loaded", "There is no pair to reload.", "Choose a pair with /models.")
        limit = self.loaded.context_limit
        if not _LEAST_CONTEXT <= context <= limit:
            raise InputError(
                "Context out of range", f"context is {context}, must be between {_LEAST_CONTEXT} and {limit:,} tokens."
            )
        self.load(self.loaded.choice, replace(self.loaded.options, context=context))

    def unload(self) -> None:
        """Start unloading the pair."""
        self.loaded = None
        self._engine.unload()

    def cancel(self) -> bool:
        """Cancel loading; returns whether a pair was being loaded."""
        if self.loading:
            self._engine.cancel_load()
        return bool(self.loading)

    # Reports of the engine thread

    def on_progress(self, event: Loading) -> None:
        self._progress = event

    def on_loaded(self, pair: LoadedPair) -> None:
        self.loaded, self.loading, self._unavailable = pair, "", False

    def on_unavailable(self) -> None:
        """No pair can be loaded, or loading one failed or was cancelled."""
        self.loaded, self.loading, self._unavailable = None, "", True

    def on_unloaded(self) -> None:
        # Another pair may be loading already.
        if not self.loading:
            self.on_unavailable()


def larger_context(used: Mapping[Role, tuple[int, int]], limit: int) -> int | None:
    """Return the context doubled until it holds more than the tokens used, at most `limit`.

    Args:
        used: tokens in each model's KV cache, or of the prompt, and its capacity.
        limit: the largest context both models can use.

    Returns:
        None if no larger context is possible, or none that holds the tokens used.
    """
    current = min((capacity for _, capacity in used.values()), default=0)
    needed = max((tokens for tokens, _ in used.values()), default=0)
    larger = 2 * current
    while 0 < larger <= needed:
        larger *= 2
    larger = min(larger, limit)
    return larger if larger > max(current, needed) else None
