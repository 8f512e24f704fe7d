"""Fast reasoning on one machine: a small GGUF model generates, and a large one takes over where it is uncertain.

    from rstitch_local import load_pair

    with load_pair("demo") as pair:
        for step in pair.ask("Tom has 12 pens. He buys 30 more. How many pens does Tom have?"):
            print(step.text, end="", flush=True)

This module is the public API; every name is imported when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rstitch_local.costs.calibration import calibrate
    from rstitch_local.costs.latency import PairLatency
    from rstitch_local.costs.speedup import Workload, break_even_share
    from rstitch_local.costs.store import Calibration, load_calibration
    from rstitch_local.decoding.roles import Role
    from rstitch_local.decoding.router import Observation, Router
    from rstitch_local.decoding.sampling import Sampling
    from rstitch_local.decoding.speculative import SpeculativeRouter
    from rstitch_local.decoding.step import Step
    from rstitch_local.engine.inspection import inspect_all, inspect_position
    from rstitch_local.engine.loading import load_pair
    from rstitch_local.engine.options import Conversation, LoadOptions
    from rstitch_local.engine.pair import Pair
    from rstitch_local.engine.run import Run
    from rstitch_local.errors import (
        CancelledError,
        DownloadError,
        EngineError,
        InputError,
        ModelError,
        PromptTooLongError,
        RStitchError,
        StorageError,
        UsageError,
    )
    from rstitch_local.problems.api import solve
    from rstitch_local.problems.results import SolvedAnswer, SolveResult
    from rstitch_local.routing.learned import LearnedRouter
    from rstitch_local.routing.registry import register_router, unregister_router
    from rstitch_local.routing.resolve import RouterLike
    from rstitch_local.routing.rules import (
        ConfidenceRouter,
        EntropyRouter,
        FixedRouter,
        HysteresisRouter,
        MarginRouter,
        MomentumRouter,
        OneTokenRouter,
        RandomRouter,
        StayRouter,
        WindowRouter,
    )
    from rstitch_local.study.api import bench
    from rstitch_local.study.bench_result import BenchResult
    from rstitch_local.study.router_metrics import RouterMetrics
    from rstitch_local.trace.prediction import Candidate, Prediction
    from rstitch_local.trace.record import Trace

__version__ = "0.1.0"

__all__ = [
    "BenchResult",
    "Calibration",
    "CancelledError",
    "Candidate",
    "ConfidenceRouter",
    "Conversation",
    "DownloadError",
    "EngineError",
    "EntropyRouter",
    "FixedRouter",
    "HysteresisRouter",
    "InputError",
    "LearnedRouter",
    "LoadOptions",
    "MarginRouter",
    "ModelError",
    "MomentumRouter",
    "Observation",
    "OneTokenRouter",
    "Pair",
    "PairLatency",
    "Prediction",
    "PromptTooLongError",
    "RStitchError",
    "RandomRouter",
    "Role",
    "Router",
    "RouterLike",
    "RouterMetrics",
    "Run",
    "Sampling",
    "SolveResult",
    "SolvedAnswer",
    "SpeculativeRouter",
    "StayRouter",
    "Step",
    "StorageError",
    "Trace",
    "UsageError",
    "WindowRouter",
    "Workload",
    "__version__",
    "bench",
    "break_even_share",
    "calibrate",
    "inspect_all",
    "inspect_position",
    "load_calibration",
    "load_pair",
    "register_router",
    "solve",
    "unregister_router",
]

_NAMES = {
    "costs.calibration": ["calibrate"],
    "costs.latency": ["PairLatency"],
    "costs.speedup": ["Workload", "break_even_share"],
    "costs.store": ["Calibration", "load_calibration"],
    "decoding.roles": ["Role"],
    "decoding.router": ["Observation", "Router"],
    "decoding.sampling": ["Sampling"],
    "decoding.speculative": ["SpeculativeRouter"],
    "decoding.step": ["Step"],
    "engine.inspection": ["inspect_all", "inspect_position"],
    "engine.loading": ["load_pair"],
    "engine.options": ["Conversation", "LoadOptions"],
    "engine.pair": ["Pair"],
    "engine.run": ["Run"],
    "errors": [
        "CancelledError", "DownloadError", "EngineError", "InputError", "ModelError", "PromptTooLongError",
        "RStitchError", "StorageError", "UsageError",
    ],
    "problems.api": ["solve"],
    "problems.results": ["SolveResult", "SolvedAnswer"],
    "routing.learned": ["LearnedRouter"],
    "routing.registry": ["register_router", "unregister_router"],
    "routing.resolve": ["RouterLike"],
    "routing.rules": [
        "ConfidenceRouter", "EntropyRouter", "FixedRouter", "HysteresisRouter", "MarginRouter", "MomentumRouter",
        "OneTokenRouter", "RandomRouter", "StayRouter", "WindowRouter",
    ],
    "study.api": ["bench"],
    "study.bench_result": ["BenchResult"],
    "study.router_metrics": ["RouterMetrics"],
    "trace.prediction": ["Candidate", "Prediction"],
    "trace.record": ["Trace"],
}  # fmt: skip
_MODULES = {name: module for module, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> object:
    # Imported on first use: llama.cpp takes longer to import than all of `rstitch --help`.
    module = _MODULES.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(importlib.import_module(f"{__name__}.{module}"), name)
    return value


def __dir__() -> list[str]:
    return list(__all__)
