"""The thread that owns the loaded pair: it loads, generates and inspects, one job at a time.

Posts its results as messages. Uses neither widgets nor the store.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence

from textual.message import Message

from rstitch_local.costs.store import stored_latency
from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.step import Step
from rstitch_local.engine.choice import PairChoice
from rstitch_local.engine.inspection import inspect_position
from rstitch_local.engine.loading import LoadOptions, load_choice
from rstitch_local.engine.pair import Pair
from rstitch_local.engine.run import Run
from rstitch_local.errors import EngineError, RStitchError
from rstitch_local.trace.prediction import Prediction
from rstitch_tui.answer import Answer, Request
from rstitch_tui.engine_events import (
    AnswerEnded,
    Loaded,
    LoadedPair,
    LoadFailed,
    Loading,
    Unloaded,
)
from rstitch_tui.estimate import LlmAloneEstimator

_log = logging.getLogger(__name__)


class EngineThread:
    """Runs jobs in one thread, in order. All methods can be called from any thread and return at once.

    Args:
        post: receives the messages; called in the engine thread.
    """

    def __init__(self, post: Callable[[Message], object]) -> None:
        self._post = post
        self._jobs: queue.SimpleQueue[Callable[[], object] | None] = queue.SimpleQueue()
        self._pair: Pair | None = None
        self._answer: Answer | None = None
        self._cancel_load = threading.Event()
        self._estimator = LlmAloneEstimator()
        self._thread = threading.Thread(target=self._work, name="engine", daemon=True)
        self._thread.start()

    def load(self, choice: PairChoice, options: LoadOptions | None = None) -> None:
        """Unload the current pair and load another. Posts Loading, then Loaded or LoadFailed."""
        self.stop()
        self._cancel_load.set()
        self._cancel_load = cancel = threading.Event()
        self._jobs.put(lambda: self._load(choice, options or LoadOptions(), cancel))

    def cancel_load(self) -> None:
        """Cancel loading; posts LoadFailed."""
        self._cancel_load.set()

    def unload(self) -> None:
        """Unload the pair or cancel loading it. Posts Unloaded."""
        self.stop()
        self.cancel_load()
        self._jobs.put(self._unload)

    def generate(self, answer: Answer) -> None:
        """Generate an answer. Posts AnswerEnded when it has ended or cannot start."""
        self._answer = answer
        self._jobs.put(lambda: self._generate(answer))

    def stop(self) -> None:
        """Stop the current answer, if there is one."""
        if self._answer is not None:
            self._answer.stop()

    def inspect(
        self, request: Request, steps: Sequence[Step], done: Callable[[dict[Role, Prediction] | RStitchError], object]
    ) -> None:
        """Evaluate both models after `steps`; `done` is called in the engine thread."""
        self._jobs.put(lambda: done(self._inspect(request, steps)))

    def close(self, timeout: float) -> bool:
        """Stop everything and unload the pair.

        Returns:
            Whether the thread ended within `timeout` seconds. If not, llama.cpp is still computing and the process
            must exit without freeing anything.
        """
        self.stop()
        self.cancel_load()
        self._jobs.put(self._close_pair)
        self._jobs.put(None)
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()

    def _load(self, choice: PairChoice, options: LoadOptions, cancel: threading.Event) -> None:
        self._close_pair()
        if cancel is not self._cancel_load:
            return
        started = time.monotonic()
        reported = -1.0

        def progress(role: Role, share: float) -> bool:
            nonlocal reported
            # llama.cpp reports every tensor; the screen needs whole percents.
            if (abs(share - reported) >= 0.01 or share == 1.0) and not cancel.is_set():
                reported = share
                self._post(Loading(role, share))
            return not cancel.is_set()

        tried: set[Role] = set()

        def on_trial(role: Role) -> bool:
            if role not in tried and not cancel.is_set():
                tried.add(role)
                self._post(Loading(role, None))
            return not cancel.is_set()

        try:
            self._pair = pair = load_choice(choice, options, progress, on_trial)
        except RStitchError as error:
            # Not reported if another load has replaced this one.
            if cancel is self._cancel_load:
                self._post(LoadFailed(choice, error))
        except Exception as error:
            _log.exception("loading %s", choice.name)
            if cancel is self._cancel_load:
                self._post(LoadFailed(choice, _unexpected(error)))
        else:
            self._estimator = LlmAloneEstimator(stored_latency(pair))
            context = {role: pair.contexts[role].n_ctx for role in Role}
            limit = min(weights.n_ctx_train for weights in pair.weights.values())
            seconds = time.monotonic() - started
            switch = pair.renderer.has_thinking_switch
            self._post(Loaded(LoadedPair(choice, options, context, limit, switch, seconds, pair.notice)))

    def _unload(self) -> None:
        self._close_pair()
        self._post(Unloaded())

    def _close_pair(self) -> None:
        if self._pair is not None:
            self._pair.close()
            self._pair = None

    def _generate(self, answer: Answer) -> None:
        try:
            run = self._start(answer)
            for step in run:
                answer.add_step(step)
        except RStitchError as error:
            answer.error = error
        except Exception as error:
            _log.exception("generating")
            answer.error = _unexpected(error)
        finally:
            self._answer = None
            if self._pair is not None and answer.trace is not None:
                self._estimator.record(answer.trace)
                answer.llm_alone_ms = self._estimator.estimate(answer.trace, answer.llm_length)
            answer.ended = True
            self._post(AnswerEnded(answer))

    def _start(self, answer: Answer) -> Run:
        pair = self._require_pair()
        request = answer.request
        run = pair.chat(
            request.messages,
            router=request.router,
            sampling=request.sampling,
            seed=request.seed,
            max_tokens=request.max_tokens,
            stop=request.stop,
            should_stop=lambda: answer.stop_requested,
            thinking=request.thinking,
            prefix=request.prefix,
            resume_steps=request.resume_steps,
            reuse=True,
        )
        opens_thinking = pair.renderer.opens_thinking(request.messages, thinking=request.thinking)
        run.trace.settings = {**run.trace.settings, "opens_thinking": opens_thinking, "tau": run.tau}
        answer.start(run, {role: pair.contexts[role].n_ctx for role in Role})
        return run

    def _inspect(self, request: Request, steps: Sequence[Step]) -> dict[Role, Prediction] | RStitchError:
        try:
            pair = self._require_pair()
            return inspect_position(pair, request.messages, steps, prefix=request.prefix, thinking=request.thinking)
        except RStitchError as error:
            return error
        except Exception as error:
            _log.exception("inspecting")
            return _unexpected(error)

    def _require_pair(self) -> Pair:
        if self._pair is None:
            raise EngineError("No models loaded", "No pair of models is loaded.", "Choose a pair with /models.")
        return self._pair


def _unexpected(error: Exception) -> EngineError:
    return EngineError("Unexpected error", f"{type(error).__name__}: {error}", "Please report this as a bug.")
