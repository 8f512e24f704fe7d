"""The one thread that owns the loaded pair: loading, answering, inspecting, one after the other.

Knows the engine and posts what happened as messages; knows no widgets and no store. What is asked of it from other
threads is put in line; stopping and changing tau reach into the answer that is being written.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from textual.message import Message as Event

from rstitch_local.costs.store import stored_latency
from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.sampling import Sampling
from rstitch_local.decoding.step import Step
from rstitch_local.engine.choice import PairChoice
from rstitch_local.engine.inspection import inspect_position
from rstitch_local.engine.loading import LoadOptions, load_choice
from rstitch_local.engine.pair import Pair
from rstitch_local.engine.run import Run
from rstitch_local.errors import EngineError, RStitchError
from rstitch_local.trace.prediction import Prediction
from rstitch_local.trace.record import Trace
from rstitch_tui.estimate import LlmAlone

_log = logging.getLogger(__name__)

Turn = dict[str, str]


@dataclass(frozen=True)
class Request:
    """An answer that is wanted; the fields are those of `Pair.start`."""

    messages: Sequence[Turn]
    router: str | None = None
    sampling: Sampling | None = None
    seed: int = 0
    max_tokens: int | None = None
    thinking: bool | None = None
    prefix: str = ""
    resume_steps: Sequence[Step] = ()


@dataclass(eq=False)
class Answer:
    """An answer wanted or being written: steps come out of `take`, `trace` is there once it has begun."""

    request: Request
    trace: Trace | None = None
    error: RStitchError | None = None
    ended: bool = False
    llm_alone_ms: float | None = None
    _fresh: deque[Step] = field(default_factory=deque)
    _stop: threading.Event = field(default_factory=threading.Event)
    _run: Run | None = None
    _capacity: dict[Role, int] = field(default_factory=dict)

    def stop(self) -> None:
        """End it after the evaluation that is under way; what is written stays."""
        self._stop.set()

    @property
    def tau(self) -> float | None:
        """The threshold in force; None before it begins, or where no threshold decides."""
        return self._run.tau if self._run is not None else None

    @tau.setter
    def tau(self, value: float) -> None:
        """Change it from the next token on; without effect before it begins or on another kind of router."""
        if self.tau is not None and self._run is not None:
            self._run.tau = value

    @property
    def context_used(self) -> dict[Role, tuple[int, int]]:
        """Tokens in each cache, of how many it holds; empty before the answer begins."""
        if self._run is None:
            return {}
        return {role: (self._run.trajectory.cached(role), self._capacity[role]) for role in Role}

    def take(self) -> list[Step]:
        """The steps written since this was called last."""
        taken: list[Step] = []
        while self._fresh:
            taken.append(self._fresh.popleft())
        return taken


class Loading(Event):
    """How far a model is loaded, 0 to 1."""

    def __init__(self, role: Role, share: float) -> None:
        super().__init__()
        self.role = role
        self.share = share


class Loaded(Event):
    """A pair is in memory and takes questions."""

    def __init__(self, facts: PairFacts) -> None:
        super().__init__()
        self.facts = facts


class LoadFailed(Event):
    """A pair could not be loaded, or loading was cancelled; none is in memory now."""

    def __init__(self, choice: PairChoice, error: RStitchError) -> None:
        super().__init__()
        self.choice = choice
        self.error = error


class Unloaded(Event):
    """The pair has been freed."""


class AnswerBegun(Event):
    """The first evaluation of an answer is about to start."""

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self.answer = answer


class AnswerEnded(Event):
    """An answer is at its end: `answer.trace` says how, `answer.error` what went wrong."""

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self.answer = answer


@dataclass(frozen=True)
class PairFacts:
    """What the screens may know of the loaded pair."""

    choice: PairChoice
    options: LoadOptions
    context: dict[Role, int]
    context_limit: int
    """The longest context both models were trained on."""
    thinking_switch: bool
    seconds: float
    notice: str | None = None
    """What is to be known of the two before they write."""


class EngineThread:
    """Runs jobs in one thread, in order. All methods may be called from any thread and return at once.

    Args:
        post: takes the events; called from the thread.
    """

    def __init__(self, post: Callable[[Event], object]) -> None:
        self._post = post
        self._jobs: queue.SimpleQueue[Callable[[], object] | None] = queue.SimpleQueue()
        self._pair: Pair | None = None
        self._answer: Answer | None = None
        self._cancel_load = threading.Event()
        self._estimate = LlmAlone()
        self._thread = threading.Thread(target=self._work, name="engine", daemon=True)
        self._thread.start()

    def load(self, choice: PairChoice, options: LoadOptions | None = None) -> None:
        """Free the pair in memory, if there is one, and load another. Posts Loading, then Loaded or LoadFailed."""
        self.stop()
        # What is being loaded is not wanted any more.
        self._cancel_load.set()
        self._cancel_load = cancel = threading.Event()
        self._jobs.put(lambda: self._load(choice, options or LoadOptions(), cancel))

    def cancel_load(self) -> None:
        """Give up loading; LoadFailed follows."""
        self._cancel_load.set()

    def unload(self) -> None:
        """Free the pair, or give up loading it; Unloaded follows."""
        self.stop()
        self.cancel_load()
        self._jobs.put(self._unload)

    def write(self, answer: Answer) -> None:
        """Have an answer written. Posts AnswerBegun, then AnswerEnded, also where it fails at once."""
        self._answer = answer
        self._jobs.put(lambda: self._write(answer))

    def stop(self) -> None:
        """Stop the answer that is being written or waits for it, if there is one."""
        if self._answer is not None:
            self._answer.stop()

    def inspect(
        self, request: Request, steps: Sequence[Step], done: Callable[[dict[Role, Prediction] | RStitchError], object]
    ) -> None:
        """Ask both models what they would write after `steps`; `done` is called from the thread."""
        self._jobs.put(lambda: done(self._inspect(request, steps)))

    def close(self, timeout: float) -> bool:
        """Stop everything and free the pair; whether the thread came to its end in `timeout` seconds.

        Where it did not, llama.cpp is still computing, and the process must end without freeing anything.
        """
        self.stop()
        self.cancel_load()
        self._jobs.put(self._free)
        self._jobs.put(None)
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()

    def _load(self, choice: PairChoice, options: LoadOptions, cancel: threading.Event) -> None:
        self._free()
        if cancel is not self._cancel_load:
            return
        begun = time.monotonic()
        shown = -1.0

        def progress(role: Role, share: float) -> bool:
            nonlocal shown
            # llama.cpp reports every tensor; the screen needs a hundredth.
            if (abs(share - shown) >= 0.01 or share == 1.0) and not cancel.is_set():
                shown = share
                self._post(Loading(role, share))
            return not cancel.is_set()

        try:
            self._pair = pair = load_choice(choice, options, progress)
        except RStitchError as error:
            # Where another pair is wanted by now, nobody waits for this one.
            if cancel is self._cancel_load:
                self._post(LoadFailed(choice, error))
        except Exception as error:
            _log.exception("loading %s", choice.name)
            if cancel is self._cancel_load:
                self._post(LoadFailed(choice, _unexpected(error)))
        else:
            self._estimate = LlmAlone(stored_latency(pair))
            context = {role: pair.contexts[role].n_ctx for role in Role}
            limit = min(weights.n_ctx_train for weights in pair.weights.values())
            seconds = time.monotonic() - begun
            facts = PairFacts(choice, options, context, limit, pair.renderer.has_thinking_switch, seconds, pair.notice)
            self._post(Loaded(facts))

    def _unload(self) -> None:
        self._free()
        self._post(Unloaded())

    def _free(self) -> None:
        if self._pair is not None:
            self._pair.close()
            self._pair = None

    def _write(self, answer: Answer) -> None:
        try:
            run = self._begin(answer)
            self._post(AnswerBegun(answer))
            for step in run:
                answer._fresh.append(step)
        except RStitchError as error:
            answer.error = error
        except Exception as error:
            _log.exception("answering")
            answer.error = _unexpected(error)
        finally:
            self._answer = None
            if self._pair is not None and answer.trace is not None:
                self._estimate.learn(answer.trace)
                length = len(answer._run.trajectory.ids(Role.LLM)) if answer._run is not None else 0
                answer.llm_alone_ms = self._estimate.of(answer.trace, length)
            answer.ended = True
            self._post(AnswerEnded(answer))

    def _begin(self, answer: Answer) -> Run:
        pair = self._loaded()
        request = answer.request
        run = pair.chat(
            request.messages,
            router=request.router,
            sampling=request.sampling,
            seed=request.seed,
            max_tokens=request.max_tokens,
            should_stop=answer._stop.is_set,
            thinking=request.thinking,
            prefix=request.prefix,
            resume_steps=request.resume_steps,
            reuse=True,
        )
        opened = pair.renderer.opens_thinking(request.messages, thinking=request.thinking)
        run.trace.settings = {**run.trace.settings, "opens_thinking": opened, "tau": run.tau}
        answer._capacity = {role: pair.contexts[role].n_ctx for role in Role}
        answer.trace, answer._run = run.trace, run
        return run

    def _inspect(self, request: Request, steps: Sequence[Step]) -> dict[Role, Prediction] | RStitchError:
        try:
            return inspect_position(
                self._loaded(), request.messages, steps, prefix=request.prefix, thinking=request.thinking
            )
        except RStitchError as error:
            return error
        except Exception as error:
            _log.exception("inspecting")
            return _unexpected(error)

    def _loaded(self) -> Pair:
        if self._pair is None:
            raise EngineError("No models are loaded", "There is nobody to answer.", "Choose a pair first (/models).")
        return self._pair


def _unexpected(error: Exception) -> EngineError:
    return EngineError("Something unexpected went wrong", f"{type(error).__name__}: {error}")
