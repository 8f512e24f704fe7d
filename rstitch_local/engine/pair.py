"""Two loaded models that can work together, and the way to ask them something.

Knows how to prompt a pair and what an answer needs; how models get into memory is loading's, the loop itself the
driver's, the rule the trajectory's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rstitch_local.catalog.checksums import sha256_of
from rstitch_local.decoding.config import TrajectoryConfig
from rstitch_local.decoding.create import create_trajectory
from rstitch_local.decoding.foreign import ForeignBridge
from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.router import Router
from rstitch_local.decoding.sampling import Sampler, Sampling
from rstitch_local.decoding.speculative import SpeculativeRouter
from rstitch_local.decoding.step import Step
from rstitch_local.decoding.trajectory import Trajectory
from rstitch_local.decoding.vocabulary import Bridge
from rstitch_local.engine.choice import PairDefaults
from rstitch_local.engine.driver import Driver, Status
from rstitch_local.engine.prompting import PromptRenderer
from rstitch_local.engine.run import Run
from rstitch_local.engine.slots import ActiveSequence
from rstitch_local.engine.vocabularies import notice_of
from rstitch_local.errors import EngineError, InputError, ModelError, UsageError
from rstitch_local.llama import library
from rstitch_local.llama.chat_template import ChatTemplate, Message
from rstitch_local.llama.context import Context
from rstitch_local.llama.weights import Weights
from rstitch_local.routing.learned import LearnedRouter
from rstitch_local.routing.spec import router_from_spec
from rstitch_local.trace.record import Trace


class Pair:
    """Two models in memory. Made by `load_pair`; a context manager that frees them.

    name: the catalogue's name, or the two files'.
    weights, contexts: both models, and their KV caches.
    bridge: converts tokens, or text, between the two vocabularies.
    renderer: renders conversations for both models.
    """

    def __init__(
        self,
        name: str,
        weights: Mapping[Role, Weights],
        contexts: Mapping[Role, Context],
        bridge: Bridge | ForeignBridge,
        templates: Mapping[Role, ChatTemplate],
        defaults: PairDefaults,
    ) -> None:
        self.name = name
        self.defaults = defaults
        self.weights = weights
        self.bridge = bridge
        self.renderer = PromptRenderer(weights, templates, bridge.vocabularies)
        self.contexts = contexts
        self._closed = False
        self._fitting: set[str] = set()
        self.driver = Driver(self.contexts)

    def __enter__(self) -> Pair:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Free caches and weights; runs that are not at their end cannot go on."""
        self._closed = True
        for context in self.contexts.values():
            context.close()
        for weights in self.weights.values():
            weights.close()

    def require_open(self) -> None:
        """Raise EngineError once the pair was closed: llama.cpp would read freed memory, and end the process."""
        if self._closed:
            raise EngineError("The pair is closed", f"{self.name} was freed; load it again.")

    @property
    def notice(self) -> str | None:
        """What is to be known of the two before they write, in one line; None where they plainly share their tokens."""
        return notice_of(self.bridge, self.weights)

    def shared_bridge(self, what: str) -> Bridge:
        """The bridge of a pair that shares its tokens, for those who need that.

        Args:
            what: what they are, for the error: "Speculative decoding".

        Raises:
            ModelError: the two models have different tokenisers.
        """
        if isinstance(self.bridge, ForeignBridge):
            raise ModelError(
                "The two models do not share a tokeniser",
                f"{what} compares single tokens, and {self.name} have none in common.",
                "Take a pair of one family, as those of `rstitch pairs` are; all routers of `--router` that swap work.",
            )
        return self.bridge

    def render(
        self, messages: Sequence[Message], role: Role, *, thinking: bool | None = None, prefix: str = ""
    ) -> list[int]:
        """Render a conversation as one model's token ids; see `PromptRenderer.tokens`."""
        return self.renderer.tokens(messages, role, thinking=thinking, prefix=prefix)

    def ask(self, question: str, *, system: str | None = None, **options: Any) -> Run:
        """`chat` for a single question, with the pair's own prompt suffix put after it."""
        messages = [{"role": "system", "content": system}] if system else []
        suffix = self.defaults.prompt_suffix
        messages.append({"role": "user", "content": f"{question}\n{suffix}" if suffix else question})
        return self.chat(messages, **options)

    def chat(
        self,
        messages: Sequence[Message],
        *,
        router: str | Router | None = None,
        sampling: Sampling | None = None,
        seed: int = 0,
        max_tokens: int | None = None,
        should_stop: Callable[[], bool] | None = None,
        thinking: bool | None = None,
        prefix: str = "",
        resume_steps: Sequence[Step] = (),
        reuse: bool = False,
    ) -> Run:
        """Begin an answer; nothing is evaluated before the Run is iterated.

        Args:
            messages: the conversation, ending with the user's turn.
            router: a router spec, or a router of this answer's own; the entropy router at the pair's tau if None.
            sampling: how tokens are drawn; the pair's own way if None.
            seed: of all noise.
            max_tokens: budget of kept tokens; what the context holds if None.
            should_stop: looked at between evaluations; True ends the answer as `interrupted`.
            thinking: the switch of templates that have one; None leaves it as the template has it.
            prefix: text the answer shall begin with; both models read it as if they had written it.
            resume_steps: steps of an earlier answer to go on from; they count for `max_tokens`.
            reuse: evaluate only what the caches do not hold of this conversation. Off, an answer does not depend
                on what was asked before, not even by rounding.

        Raises:
            InputError: the conversation does not fit a context, or a template refuses it.
            UsageError: no such router, or a budget below one token.
            ModelError: a learned router's file is missing or broken, or was learned with another SLM; or speculative
                decoding of a pair with two tokenisers.
            EngineError: the pair is closed.
        """
        self.require_open()
        if max_tokens is None:
            max_tokens = max(context.n_ctx for context in self.contexts.values())
        if max_tokens < 1:
            raise UsageError("No budget", f"max_tokens is {max_tokens}; it is 1 at least.")
        spec = router or self.defaults.router
        sampling = sampling or self.defaults.sampling
        rule = router_from_spec(spec, seed=seed) if isinstance(spec, str) else spec
        if isinstance(rule, LearnedRouter):
            self.require_fit(rule)
        prompt = {role: self.render(messages, role, thinking=thinking, prefix=prefix) for role in Role}
        for role in Role:
            room = self.contexts[role].n_ctx
            if len(prompt[role]) > room:
                raise InputError(
                    "The prompt is too long",
                    f"It has {len(prompt[role])} tokens; the {role.name}'s context holds {room}.",
                    "Shorten it, or give a larger --context.",
                )
        trajectory = self._trajectory(
            prompt, rule, Sampler(sampling, seed), max_tokens=max_tokens, resume_steps=resume_steps
        )
        named = spec if isinstance(spec, str) else type(spec).__name__
        settings = {"pair": self.name, "router": named, "sampling": asdict(sampling), "max_tokens": max_tokens}
        settings["vocabulary"] = {role.value: len(self.bridge.vocabularies[role].texts) for role in Role}
        trace = Trace(
            seed,
            settings,
            steps=list(trajectory.resumed),
            resumed_tokens=len(resume_steps),
            stop=trajectory.stop_reason,
        )
        return Run(self.driver, ActiveSequence(trajectory, trace, reuse=reuse), should_stop)

    def _trajectory(
        self,
        prompt: Mapping[Role, Sequence[int]],
        router: Router,
        sampler: Sampler,
        *,
        max_tokens: int,
        resume_steps: Sequence[Step],
    ) -> Trajectory:
        """Create the kind of trajectory that the router and the pair's tokenizers require."""
        if isinstance(router, SpeculativeRouter):
            self.shared_bridge("Speculative decoding")
        return create_trajectory(
            TrajectoryConfig(
                prompt=prompt,
                bridge=self.bridge,
                router=router,
                sampler=sampler,
                max_tokens=max_tokens,
                capacity={role: self.contexts[role].n_ctx for role in Role},
                resume_steps=resume_steps,
            )
        )

    def require_fit(self, router: LearnedRouter) -> None:
        """Refuse a learned router whose policy was trained on the hidden states of another SLM.

        Raises:
            ModelError: it was, or its file or the SLM's cannot be read.
        """
        own = router.load().facts.slm_sha256
        if own in self._fitting:
            return
        path = self.weights[Role.SLM].path
        try:
            router.require_slm(sha256_of(path))
        except OSError as error:
            raise ModelError("No such model file", f"{path} cannot be read: {error.strerror}.") from error
        self._fitting.add(own)

    def run_all(
        self, runs: Iterable[Run], *, should_stop: Callable[[], bool] | None = None
    ) -> Iterator[tuple[Run, Step | None]]:
        """Write many answers at once, as many as the pair was loaded with sequences for.

        Args:
            runs: made by `chat` of this pair; the next one is asked for when there is room for it, so a
                generator may make them as they are needed.
            should_stop: looked at between evaluations; True ends all that are open as `interrupted`. Their own is not.

        Yields:
            Every kept token with the run it belongs to, and None for a run that ended without one. A run has ended
            when its trace says why; one that ended by its own fault has an `error`.

        Raises:
            EngineError: llama.cpp failed, or the pair is closed or busy.
        """
        self.require_open()
        by_sequence: dict[int, Run] = {}

        def sequences() -> Iterator[ActiveSequence]:
            for run in runs:
                by_sequence[id(run.sequence)] = run
                yield run.sequence

        for sequence, step in self.driver.steps(sequences(), should_stop=should_stop):
            yield by_sequence[id(sequence)], step
            if sequence.trace.stop is not None:
                del by_sequence[id(sequence)]

    @property
    def status(self) -> Status:
        """How busy the pair is; may be asked from another thread."""
        return self.driver.status()

    def describe(self) -> dict[str, Any]:
        """What was loaded and how, ready for JSON (for the header of a run)."""
        build = library.build()
        models = {}
        for role in Role:
            weights, context = self.weights[role], self.contexts[role]
            models[role.value] = {
                "file": weights.path.name,
                "description": weights.description,
                "bytes": weights.path.stat().st_size,
                "gpu_layers": weights.gpu_layers,
                "context": context.n_ctx,
                "sequences": context.n_seq_max,
                "cells": context.kv_cells,
                "threads": context.threads,
                "kv_type": context.kv_type,
            }
        return {"pair": self.name, **models, "binding": build.binding, "llama_cpp": build.llama_cpp}
