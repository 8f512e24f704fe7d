"""Pairs: the methods that generate answers with two loaded models.

Loading is in loading.py, the loaded models in models.py, the evaluation loop in driver.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import asdict
from typing import Any, Unpack, cast

from rstitch_local.decoding.config import TrajectoryConfig
from rstitch_local.decoding.create import create_trajectory
from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.sampling import Sampler, Sampling
from rstitch_local.decoding.step import Step
from rstitch_local.engine import batch, run
from rstitch_local.engine.arguments import are_messages, integer, require_questions, require_steps, stop_strings
from rstitch_local.engine.models import LoadedModels
from rstitch_local.engine.options import AnswerOptions, Conversation, merged_sampling, shows_options
from rstitch_local.engine.run import Run
from rstitch_local.engine.slots import ActiveSequence
from rstitch_local.errors import UsageError
from rstitch_local.routing.learned import LearnedRouter
from rstitch_local.routing.resolve import RouterLike, claim_router, resolve_router
from rstitch_local.trace.record import Trace


class Pair(LoadedModels):
    """Two models that generate answers together. Created by `load_pair`; a context manager that frees the models.

    One answer, or one call of `generate_many` or `run_all`, at a time; a second one raises EngineError.

    Attributes:
        name: the catalog's name of the pair, or the names of the two files.
        defaults: `router` (a spec), `sampling`, `tau`, `prompt_suffix` and `context` for answers that set none.
        options: the LoadOptions; `sequences` changes when `generate_many` adds some.

    Example:
        with load_pair("demo") as pair:
            for step in pair.ask("What is 17 * 23?", temperature=0.7):
                print(step.text, end="", flush=True)
    """

    def ask(
        self,
        question: str,
        *,
        system: str | None = None,
        router: RouterLike | None = None,
        sampling: Sampling | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
        top_k: int | None = None,
        min_p: float | None = None,
        seed: int = 0,
        max_tokens: int | None = None,
        stop: str | Sequence[str] = (),
        should_stop: Callable[[], bool] | None = None,
        thinking: bool | None = None,
        prefix: str = "",
        resume_steps: Sequence[Step] = (),
        reuse: bool = False,
        tag: object = None,
    ) -> Run:
        """Start an answer to a single question. Nothing is evaluated before the run is iterated.

        Args:
            question: the user's message; the pair's prompt suffix, if it has one, is appended.
            system: the system message.
            router: decides which model generates the next token: a spec such as "entropy:0.02", a Router, a Router
                class or factory (called once per answer), or a function of an Observation that returns a Role or a
                bool (True for the LLM). Default: the pair's router.
            sampling: how tokens are drawn. Default: the pair's sampling.
            temperature: replaces the value in `sampling`; 0 for greedy.
            top_p: replaces the value in `sampling`.
            top_k: replaces the value in `sampling`.
            min_p: replaces the value in `sampling`.
            seed: seed of the sampling noise and of the random router.
            max_tokens: maximum number of tokens, `resume_steps` included. Default: what the context holds.
            stop: a string or several that end the answer where they first appear; the text is cut before them.
            should_stop: polled between evaluations; True ends the answer as `interrupted`.
            thinking: the thinking switch of chat templates that have one. Default: the template's.
            prefix: text that the answer starts with; it is evaluated as if generated, and not part of the trace.
            resume_steps: steps of an earlier answer to the same question, to resume from: `trace.steps`, or its
                beginning. With the same arguments the resumed answer equals the uninterrupted one.
            reuse: keep what the KV caches already hold of this conversation. If False, the answer does not depend on
                earlier ones, not even by rounding.
            tag: any object; it becomes `Run.tag`.

        Raises:
            UsageError: an argument is invalid, or the router instance keeps state and is in use by another unfinished
                answer.
            InputError: the prompt exceeds a context (PromptTooLongError), or a chat template rejects it.
            ModelError: a learned router's file is missing, damaged or of another SLM; or speculative decoding with
                different tokenizers.
            EngineError: the pair is closed.
        """
        return self.chat(
            self.conversation(question, system), router=router, sampling=sampling, temperature=temperature,
            top_p=top_p, top_k=top_k, min_p=min_p, seed=seed, max_tokens=max_tokens, stop=stop,
            should_stop=should_stop, thinking=thinking, prefix=prefix, resume_steps=resume_steps, reuse=reuse, tag=tag,
        )  # fmt: skip

    def chat(
        self,
        messages: Conversation,
        *,
        router: RouterLike | None = None,
        sampling: Sampling | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
        top_k: int | None = None,
        min_p: float | None = None,
        seed: int = 0,
        max_tokens: int | None = None,
        stop: str | Sequence[str] = (),
        should_stop: Callable[[], bool] | None = None,
        thinking: bool | None = None,
        prefix: str = "",
        resume_steps: Sequence[Step] = (),
        reuse: bool = False,
        tag: object = None,
    ) -> Run:
        """Start an answer to a conversation. Nothing is evaluated before the run is iterated.

        `messages` are the turns, ending with the user's: mappings with `role` and `content`. The pair's prompt suffix
        is not appended. The other arguments, and the errors, are those of `ask`.
        """
        self.require_open()
        seed = integer("seed", seed)
        require_steps("resume_steps", resume_steps)
        used = merged_sampling(
            self.defaults.sampling, sampling, temperature=temperature, top_p=top_p, top_k=top_k, min_p=min_p
        )
        resolved = resolve_router(self.defaults.router if router is None else router, seed=seed)
        if isinstance(resolved.router, LearnedRouter):
            self.require_compatible(resolved.router)
        config = TrajectoryConfig(
            prompt=self.prompts(messages, thinking=thinking, prefix=prefix),
            bridge=self.bridge,
            router=resolved.router,
            sampler=Sampler(used, seed),
            max_tokens=self._token_limit(max_tokens),
            capacity={role: self.contexts[role].n_ctx for role in Role},
            resume_steps=resume_steps,
            stop=stop_strings(stop),
        )
        trajectory = create_trajectory(config)
        claim_router(resolved.router, trajectory)
        trace = Trace(
            seed,
            self._settings(resolved.name, used, config),
            steps=list(trajectory.resumed),
            resumed_tokens=len(resume_steps),
            stop=trajectory.stop_reason,
        )
        return Run(self.driver, ActiveSequence(trajectory, trace, reuse=reuse), should_stop, tag)

    def _token_limit(self, max_tokens: int | None) -> int:
        if max_tokens is None:
            return max(context.n_ctx for context in self.contexts.values())
        return integer("max_tokens", max_tokens, at_least=1)

    def _settings(self, router: str, sampling: Sampling, config: TrajectoryConfig) -> dict[str, Any]:
        """Return what a trace records about how its answer was generated."""
        settings: dict[str, Any] = {
            "pair": self.name,
            "router": router,
            "sampling": asdict(sampling),
            "max_tokens": config.max_tokens,
            "vocabulary": {role.value: len(self.bridge.vocabularies[role].texts) for role in Role},
        }
        if config.stop:
            settings["stop"] = list(config.stop)
        return settings

    @shows_options(chat)
    def generate(
        self,
        question: str | Conversation,
        *,
        system: str | None = None,
        resume_steps: Sequence[Step] = (),
        **options: Unpack[AnswerOptions],
    ) -> Trace:
        """Generate an answer and return its trace.

        Args:
            question: a question, as in `ask`, or messages, as in `chat`.
            system: the system message; only with a question.
            resume_steps: steps of an earlier answer, to resume from.
            options: the other keyword arguments of `ask`.

        Raises:
            RStitchError: as in `ask`.
            EngineError: another answer is being generated, llama.cpp failed, the logits are broken, or the router
                failed.
        """
        return self._start(question, system, options, resume_steps).finish()

    @shows_options(chat)
    def generate_many(
        self,
        questions: Iterable[str | Conversation],
        *,
        system: str | None = None,
        progress: bool = False,
        **options: Unpack[AnswerOptions],
    ) -> list[Trace]:
        """Generate answers to many questions concurrently.

        As many answers are generated at the same time as the pair has sequences (`LoadOptions.sequences`). A pair that
        was loaded with one is given more if memory allows, and keeps them. Answers that are generated concurrently
        share batches, which changes logits by rounding: an answer can differ from the one `generate` returns.

        Args:
            questions: questions, as in `ask`, or messages, as in `chat`.
            system: the system message of questions.
            progress: show a progress bar on stderr.
            options: the other keyword arguments of `ask`, with two differences: question i is generated with
                `seed + i`, so that a repeated question gets another sample, and `reuse` is on by default, so that a
                common beginning is evaluated once. `should_stop` ends all answers.

        Returns:
            One trace per question, in their order. A question that fails (its prompt is too long, say) does not affect
            the others: its trace has the stop reason `error`, and the error in `Trace.error`. When `should_stop` ends
            the generation, unfinished traces have the stop reason `interrupted`.

        Raises:
            RStitchError: as in `ask`; also if every question failed.
            EngineError: another answer is being generated, or llama.cpp failed.
        """
        require_questions(questions)
        asked = list(questions)
        self.require_open()
        self.add_sequences(len(asked))
        should_stop = options.pop("should_stop", None)
        seed = integer("seed", options.pop("seed", 0))
        options.setdefault("reuse", self.status.slots > 1)

        def start(index: int, question: str | Conversation) -> Run:
            return self._start(question, system, {**options, "seed": seed + index})

        with batch.progress_bar(len(asked), shown=progress) as finished:
            return batch.generate_all(asked, start, lambda runs: self.run_all(runs, should_stop=should_stop), finished)

    @shows_options(chat)
    async def astream(
        self,
        question: str | Conversation,
        *,
        system: str | None = None,
        resume_steps: Sequence[Step] = (),
        **options: Unpack[AnswerOptions],
    ) -> AsyncGenerator[Step, None]:
        """Generate an answer in a worker thread, for `async for step in pair.astream(...)`.

        Cancelling the task, or closing the iterator, ends the answer after the current evaluation. To keep the trace,
        or to leave the loop early, iterate over a run instead, and close it:

            with closing(pair.ask(question)) as run:
                async for step in run:
                    if step.position == 20:
                        break
            print(run.trace)

        One answer of a pair at a time: stream a second question afterwards, or share an `asyncio.Lock`. For several
        answers at the same time use `await asyncio.to_thread(pair.generate_many, questions)`.

        Args:
            question: a question, as in `ask`, or messages, as in `chat`.
            system: the system message; only with a question.
            resume_steps: steps of an earlier answer, to resume from.
            options: the other keyword arguments of `ask`.

        Yields:
            One Step per kept token.

        Raises:
            RStitchError: as in `generate`.
        """
        started = await asyncio.to_thread(self._start, question, system, options, resume_steps)
        async with aclosing(aiter(started)) as steps:
            async for step in steps:
                yield step

    def run_all(
        self, runs: Iterable[Run], *, should_stop: Callable[[], bool] | None = None
    ) -> Iterator[tuple[Run, Step | None]]:
        """Generate many answers concurrently, as many at the same time as the pair has sequences.

        Args:
            runs: new runs of this pair. The next one is taken when a sequence is free, so a generator may create
                them one by one.
            should_stop: polled between evaluations; True ends all answers as `interrupted`. The runs' own `should_stop`
                is ignored.

        Yields:
            Every kept token with its run, and None for a run that ended without one. A run has ended when its trace
            has a stop reason; one that failed while the others continued has an `error`.

        Raises:
            EngineError: llama.cpp failed, a run was iterated before, the pair is closed, or another answer is being
                generated.
        """
        self.require_open()
        yield from run.run_all(self.driver, runs, should_stop=should_stop)

    def _start(
        self,
        question: str | Conversation,
        system: str | None,
        options: AnswerOptions,
        resume_steps: Sequence[Step] = (),
    ) -> Run:
        """Start an answer to a question or a conversation."""
        if not are_messages(question):
            return self.ask(cast(str, question), system=system, resume_steps=resume_steps, **options)
        if system:
            raise UsageError("Invalid arguments", "system is given with messages.", "Add it to the messages.")
        return self.chat(cast(Conversation, question), resume_steps=resume_steps, **options)
