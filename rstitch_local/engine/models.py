"""Two models in memory: their weights, contexts and vocabularies, and what they can do together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Self

from rstitch_local.catalog.checksums import sha256_of
from rstitch_local.decoding.foreign import ForeignBridge
from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.vocabulary import Bridge
from rstitch_local.engine.arguments import require_messages, require_question
from rstitch_local.engine.choice import PairDefaults
from rstitch_local.engine.contexts import open_contexts, plan_contexts
from rstitch_local.engine.driver import Driver, Status
from rstitch_local.engine.options import Conversation, LoadOptions
from rstitch_local.engine.prompting import PromptRenderer
from rstitch_local.engine.vocabularies import no_tokens, notice_of
from rstitch_local.errors import EngineError, ModelError, PromptTooLongError, UsageError
from rstitch_local.llama import library
from rstitch_local.llama.chat_template import ChatTemplate, Message
from rstitch_local.llama.context import Context
from rstitch_local.llama.weights import Weights
from rstitch_local.routing.learned import LearnedRouter


class LoadedModels:
    """Two loaded models. A context manager that frees them at the end.

    Attributes:
        name: the catalog's name of the pair, or the names of the two files.
        defaults: the pair's router, sampling and prompt suffix, for answers that do not set their own.
        options: how the pair was loaded.
        weights: both models.
        contexts: their contexts, with the KV caches.
        bridge: converts tokens, or text, between the two vocabularies.
        renderer: renders conversations for both models.
        driver: the evaluation loop.
    """

    def __init__(
        self,
        name: str,
        weights: Mapping[Role, Weights],
        contexts: Mapping[Role, Context],
        bridge: Bridge | ForeignBridge,
        templates: Mapping[Role, ChatTemplate],
        defaults: PairDefaults,
        options: LoadOptions | None = None,
    ) -> None:
        self.name = name
        self.defaults = defaults
        self.options = options or LoadOptions()
        self.weights = weights
        self.contexts = contexts
        self.bridge = bridge
        self.renderer = PromptRenderer(weights, templates, bridge.vocabularies)
        self.driver = Driver(contexts)
        self._closed = False
        self._compatible: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        state = ", closed" if self._closed else ""
        return f"{type(self).__name__}({self.name!r}, router={self.defaults.router!r}, options={self.options!r}{state})"

    def close(self) -> None:
        """Free the KV caches and weights. Runs that have not ended cannot continue."""
        self._closed = True
        for context in self.contexts.values():
            context.close()
        for weights in self.weights.values():
            weights.close()

    def require_open(self) -> None:
        """Raise EngineError if the pair is closed: llama.cpp would read freed memory and crash."""
        if self._closed:
            raise EngineError("Pair is closed", f"{self.name} was freed.", "Load it again.")

    @property
    def notice(self) -> str | None:
        """A warning about the combination of models, in one line; None for a pair that shares its tokens."""
        return notice_of(self.bridge, self.weights)

    @property
    def status(self) -> Status:
        """How busy the pair is: `active`, `slots`, `waiting` and `preempted`. Can be read from another thread."""
        return self.driver.status()

    def shared_bridge(self, feature: str) -> Bridge:
        """Return the bridge of a pair with one tokenizer.

        Args:
            feature: what requires it, for the error: "Speculative decoding".

        Raises:
            ModelError: the models have different tokenizers.
        """
        if isinstance(self.bridge, ForeignBridge):
            raise ModelError(
                "Different tokenizers",
                f"{feature} compares single tokens, and the models of {self.name} have different tokenizers.",
                "Use two models of the same family; `rstitch pairs` lists some. All routers that swap work.",
            )
        return self.bridge

    def render(
        self, messages: Conversation, role: Role, *, thinking: bool | None = None, prefix: str = ""
    ) -> list[int]:
        """Render a conversation as one model's token ids; see `PromptRenderer.tokens`.

        Raises:
            ModelError: the vocabulary has no tokens for the prompt.
        """
        ids = self.renderer.tokens(messages, role, thinking=thinking, prefix=prefix)
        if not ids:
            raise no_tokens(self.weights[role])
        return ids

    def conversation(self, question: str, system: str | None = None) -> list[Message]:
        """Return the messages that `ask` sends: the system message if there is one, and the question with the suffix.

        Args:
            question: the user's message.
            system: the system message.

        Raises:
            UsageError: the question is not a string.
        """
        require_question(question)
        messages: list[Message] = [{"role": "system", "content": system}] if system else []
        suffix = self.defaults.prompt_suffix
        messages.append({"role": "user", "content": f"{question}\n{suffix}" if suffix else question})
        return messages

    def tokenize(self, text: str, role: Role) -> list[int]:
        """Return the ids of a text in one model's vocabulary; control tokens in it are read as such."""
        self.require_open()
        return self.weights[role].tokenize(text, parse_special=True)

    def token_text(self, token: int, role: Role) -> str:
        """Return the text of one token of a model, control tokens spelled out; incomplete characters become `\ufffd`.

        Raises:
            UsageError: there is no such token.
        """
        self.require_open()
        if not 0 <= token < self.weights[role].n_vocab:
            raise UsageError("Unknown token", f"{token} is not a token of the {role.name}.")
        return self.weights[role].special_text(token)

    def prompts(
        self, messages: Conversation, *, thinking: bool | None = None, prefix: str = ""
    ) -> dict[Role, list[int]]:
        """Render a conversation for both models, and check that it fits.

        Raises:
            UsageError: there are no messages, one has no role or content, or the last one is the assistant's.
            InputError: it exceeds a context (PromptTooLongError), or a chat template rejects it.
        """
        require_messages(messages)
        prompts = {role: self.render(messages, role, thinking=thinking, prefix=prefix) for role in Role}
        used = {role: (len(ids), self.contexts[role].n_ctx) for role, ids in prompts.items()}
        for role, (length, capacity) in used.items():
            if length > capacity:
                raise PromptTooLongError(
                    "Prompt too long",
                    f"The prompt has {length} tokens; the {role.name}'s context holds {capacity}.",
                    "Shorten the prompt, or use a larger --context.",
                    {each.name: counts for each, counts in used.items()},
                )
        return prompts

    def describe(self) -> dict[str, Any]:
        """Return what was loaded and how, ready for JSON (the header of a run folder)."""
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

    def require_compatible(self, router: LearnedRouter) -> None:
        """Refuse a learned router that was trained on the hidden states of another SLM.

        Raises:
            ModelError: it was, or its file or the SLM's cannot be read.
        """
        expected = router.load().metadata.slm_sha256
        if expected in self._compatible:
            return
        path = self.weights[Role.SLM].path
        try:
            router.require_slm(sha256_of(path))
        except OSError as error:
            raise ModelError("Cannot read model file", f"{path}: {error.strerror}.") from error
        self._compatible.add(expected)

    def add_sequences(self, count: int) -> None:
        """Reopen the contexts of a pair with one sequence for up to `count` sequences, if memory allows.

        The KV caches are empty afterwards. A pair with several sequences is left as it is.

        Raises:
            EngineError: an answer is being generated.
            ModelError: llama.cpp could not open contexts of the old size again.
        """
        if count < 2 or self.status.slots > 1 or self.options.kv_cells is not None:
            return
        self.driver.require_idle()
        planned = plan_contexts(self.weights, self.defaults, replace(self.options, sequences=None)).sequences
        options = replace(self.options, sequences=min(count, planned))
        for context in self.contexts.values():
            # Before the new ones are opened: memory may not suffice for both.
            context.close()
        try:
            self.contexts = open_contexts(self.weights, self.defaults, options)
        except ModelError:
            self.contexts = open_contexts(self.weights, self.defaults, self.options)
        else:
            self.options = options
        self.driver.reopen(self.contexts)
