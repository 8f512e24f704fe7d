"""The pair of a run started from Python: one that is loaded already, or a name that is loaded when needed.

Also the identity of model files for run.json.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rstitch_local.catalog.checksums import sha256_of
from rstitch_local.decoding.roles import Role
from rstitch_local.engine.choice import PairChoice, PairDefaults, choose_pair
from rstitch_local.engine.machine import AUTO_SEQUENCES
from rstitch_local.engine.options import LoadOptions
from rstitch_local.errors import ModelError, UsageError

if TYPE_CHECKING:
    from rstitch_local.engine.pair import Pair


@dataclass(frozen=True, slots=True)
class PairSource:
    """A pair that may not be loaded yet.

    Attributes:
        name: name of the pair.
        defaults: router, sampling and prompt of the pair.
        model_settings: what makes answers comparable; see `model_settings`.
        pair: the loaded pair, or None.
        choice: the pair to load, or None.
        options: how to load it.
    """

    name: str
    defaults: PairDefaults
    model_settings: Mapping[str, Any]
    pair: Pair | None
    choice: PairChoice | None
    options: LoadOptions

    @classmethod
    def of(cls, pair: Pair | str | None, options: LoadOptions | None = None) -> PairSource:
        """Return the source for a loaded pair, a name, or None for the default pair.

        Raises:
            UsageError: options for a pair that is loaded already, or a mistake in models.toml.
            ModelError: no such pair, or a file is missing.
        """
        if pair is None or isinstance(pair, str):
            choice, options = choose_pair(pair), options or LoadOptions()
            context = options.context or choice.defaults.context
            settings = model_settings(choice.files, context, options.kv_type)
            return cls(choice.name, choice.defaults, settings, None, choice, options)
        if options is not None:
            raise UsageError("Pair already loaded", f"options do not apply to {pair.name}.", "Pass them to load_pair.")
        pair.require_open()
        files = {role: weights.path for role, weights in pair.weights.items()}
        context = pair.options.context or pair.defaults.context
        settings = model_settings(files, context, pair.options.kv_type)
        return cls(pair.name, pair.defaults, settings, pair, None, pair.options)

    def open(self, *, sequences: int | None = 1, swaps: bool = True) -> AbstractContextManager[Pair]:
        """Return a context manager for the loaded pair. A pair that was loaded before stays loaded.

        Args:
            sequences: answers to generate concurrently; None for as many as memory allows. A pair that was loaded
                with one sequence gets more; one with several keeps their number.
            swaps: as in LoadOptions; does not apply to a pair that was loaded before.

        Raises:
            ModelError: the pair cannot be loaded.
        """
        if self.pair is not None:
            if sequences != 1:
                self.pair.add_sequences(sequences or AUTO_SEQUENCES)
            return nullcontext(self.pair)
        from rstitch_local.engine.loading import load_choice

        assert self.choice is not None
        return load_choice(self.choice, replace(self.options, sequences=sequences, swaps=swaps))


def sequences_for(answers: int, parallel: int | None) -> int | None:
    """Return the number of sequences to load a pair with (None: as many as memory allows), at most one per answer."""
    return parallel if answers >= (parallel or AUTO_SEQUENCES) else answers


def model_settings(files: Mapping[Role, Path], context: int, kv_type: str) -> dict[str, Any]:
    """Return the properties of loaded models that answers of one run must have in common, for run.json.

    Args:
        files: the model files.
        context: tokens of one sequence.
        kv_type: precision of the KV cache.

    Raises:
        ModelError: as `checksums_of`.
    """
    return {**checksums_of(files), "context": context, "kv_type": kv_type}


def checksums_of(files: Mapping[Role, Path]) -> dict[str, str]:
    """Return `slm_sha256` and `llm_sha256` of model files.

    Raises:
        ModelError: a file is missing, not a regular file, or cannot be read.
    """
    checksums = {}
    for role, path in files.items():
        try:
            if not path.is_file():
                # Reading a pipe or a device would never end.
                raise ModelError("Model file not found", f"{path} is not a file.")
            checksums[f"{role.value}_sha256"] = sha256_of(path)
        except OSError as error:
            raise ModelError("Model file not found", f"{path} cannot be read: {error.strerror}.") from error
    return checksums
