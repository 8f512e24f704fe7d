"""Fast reasoning on one desktop: a small GGUF model writes, a large one takes over where it is unsure.

From Python:

    from rstitch_local import load_pair

    with load_pair("qwen2.5-coder") as pair:
        run = pair.ask("What is 17 * 23?")
        for step in run:
            print(step.text, end="", flush=True)
        print(run.trace.totals())
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rstitch_local.engine.loading import LoadOptions, load_pair
    from rstitch_local.engine.pair import Pair

__version__ = "0.1.0"
__all__ = ["LoadOptions", "Pair", "__version__", "load_pair"]


def __getattr__(name: str) -> Any:
    # Lazy, because importing llama.cpp takes longer than all of `rstitch --help` may.
    if name in __all__:
        from rstitch_local.engine import loading, pair

        return pair.Pair if name == "Pair" else getattr(loading, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
