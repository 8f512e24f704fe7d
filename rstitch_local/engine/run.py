"""One answer in the making, as whoever asked for it sees it.

Knows the driver and the record it makes; how the answer was begun is the pair's.
"""

from __future__ import annotations

from collections.abc import Callable, Generator

from rstitch_local.decoding.step import Step
from rstitch_local.engine.driver import Driver
from rstitch_local.engine.slots import ActiveSequence
from rstitch_local.errors import EngineError
from rstitch_local.routing.rules import EntropyRouter


class Run:
    """One answer in the making: iterate over it for its Steps; `trace` is its record, complete at the end.

    Many are written at once by `Pair.run_all`.
    """

    def __init__(self, driver: Driver, sequence: ActiveSequence, should_stop: Callable[[], bool] | None) -> None:
        self.trace = sequence.trace
        self.trajectory = sequence.trajectory
        self.sequence = sequence
        self._driver = driver
        self._stop = should_stop

    def __iter__(self) -> Generator[Step, None, None]:
        """Generate. Closing the generator ends the answer as `interrupted`.

        Raises:
            EngineError: broken logits or a failure of llama.cpp; the trace keeps what came before.
        """
        for _, step in self._driver.steps([self.sequence], should_stop=self._stop):
            if step is not None:
                yield step
        if self.error is not None:
            raise self.error

    @property
    def error(self) -> EngineError | None:
        """What ended it, where that was an error of its own."""
        return self.sequence.error

    @property
    def tau(self) -> float | None:
        """The threshold on the entropy, or on a mean of entropies; None where another kind of router decides."""
        router = self.trajectory.router
        return router.tau if isinstance(router, EntropyRouter) else None

    @tau.setter
    def tau(self, value: float) -> None:
        """Change the threshold from the next token on; without effect on another kind of router."""
        router = self.trajectory.router
        if isinstance(router, EntropyRouter) and router.tau != value:
            router.tau = value
            self.trace.taus.append((self.trajectory.position, value))
