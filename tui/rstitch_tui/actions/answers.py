"""Actions on questions and answers: send, regenerate, continue, edit, inspect, copy."""

from __future__ import annotations

import re

from rstitch_local.decoding.thinking import split_thinking
from rstitch_local.errors import InputError
from rstitch_local.routing.spec import one_spelling, with_tau
from rstitch_local.sanitize import one_line
from rstitch_local.trace.record import Trace
from rstitch_tui.chat_host import Branch, ChatHost
from rstitch_tui.comparison import tau_of
from rstitch_tui.store.records import Message

_CODE = re.compile(r"^```[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
_DEFAULT_TAU = 0.02
_MOSTLY_LLM = 0.2
"""From this share of LLM tokens on, an answer is compared with a larger tau, else with a smaller one."""


async def send(host: ChatHost, text: str) -> bool:
    """Ask a question; returns whether its answer was requested."""
    if host.models.ready:
        return await host.request_answer(lambda: host.session.ask(text))
    host.notice("The models are still loading." if host.models.loading else "No models loaded. Choose a pair: /models")
    return False


def require_answer(host: ChatHost) -> Message:
    """Return the answer with the focus, or else the last one; raises InputError if there is none."""
    answer = host.selected_answer()
    if answer is None:
        raise InputError("No answer yet", "This chat has no answer yet.")
    return answer


async def regenerate(host: ChatHost) -> None:
    """Generate another answer, as a branch."""
    answer = require_answer(host)
    if host.session.settings.sampling(host.session.defaults.sampling).temperature == 0:
        host.notice("At temperature 0 the answer will be the same; try /temperature 0.7.")
    await host.request_answer(lambda: host.session.regenerate(answer))


async def regenerate_at(host: ChatHost, tau: float | None = None) -> None:
    """Generate another answer at another tau, and show both side by side."""
    answer = require_answer(host)
    host.session.require_idle()
    trace = recorded_trace(host, answer)
    if tau is None:
        tau = _tau_of_answer(host, trace) or host.session.tau or _DEFAULT_TAU
        tau = float(f"{tau * (4 if trace.llm_share > _MOSTLY_LLM else 0.25):.2g}")
    router = with_tau(host.session.router, tau)
    one_spelling(router)
    # Opened first: a tiny pair can finish before a screen is drawn.
    close = await host.dialogs.open_comparison(trace, router)
    if not await host.request_answer(lambda: host.session.regenerate(answer, router=router)):
        close()


def _tau_of_answer(host: ChatHost, trace: Trace) -> float | None:
    """Return the tau an answer was generated at; None if its router is another rule than that of the chat."""
    router = str(trace.settings.get("router", ""))
    tau = tau_of(router)
    return tau if tau is not None and with_tau(host.session.router, tau) == one_spelling(router) else None


async def continue_answer(host: ChatHost) -> None:
    """Resume an answer that was stopped or cut off."""
    answer = require_answer(host)
    await host.request_answer(lambda: host.session.continue_answer(answer))


def edit(host: ChatHost) -> None:
    """Edit the message with the focus, else an answer that was cut short, else the last question."""
    message, path = host.focused_message(), host.session.path
    if message is None and path and path[-1].stop in ("interrupted", "length"):
        message = path[-1]
    if message is None:
        message = next((message for message in reversed(path) if message.role == "user"), None)
    if message is not None:
        _edit_message(host, message)


def edit_last_question(host: ChatHost) -> None:
    """Edit the user's last message."""
    message = next((message for message in reversed(host.session.path) if message.role == "user"), None)
    if message is None:
        raise InputError("Empty chat", "This chat has no message to edit.")
    _edit_message(host, message)


def _edit_message(host: ChatHost, message: Message) -> None:
    session = host.session
    # Checked before editing: afterwards the edited text would be lost.
    session.require_idle()

    async def done(text: str | None) -> None:
        if text is None or not text.strip():
            return
        if message.role == "user":
            await host.request_answer(lambda: session.edit_question(message, text))
        elif text == message.text:
            await host.request_answer(lambda: session.continue_answer(message))
        else:
            await host.request_answer(lambda: session.edit_answer(message, text))

    heading = "Edit your message" if message.role == "user" else "Edit the answer; the models continue it"
    host.dialogs.open_editor(heading, message.text, done)


async def switch_branch(host: ChatHost, by: int) -> None:
    """Show the next (1) or previous (-1) branch at the message with the focus."""
    message = host.focused_message() or require_answer(host)
    if host.session.switch_branch(message, by):
        await host.show_chat()
        await host.focus_message(next(each for each in host.session.path if each.parent == message.parent).id)


def inspect(host: ChatHost) -> None:
    """Inspect an answer token by token."""
    answer, session = require_answer(host), host.session
    trace = recorded_trace(host, answer)
    if not trace.steps:
        raise InputError("No tokens", "This answer has no tokens to inspect.")
    session.require_idle()
    pair = trace.settings.get("pair")
    if pair not in (None, host.models.pair_name):
        raise InputError(
            "Generated by another pair",
            f"This answer was generated by {one_line(pair)}; the loaded models use other token ids.",
            "Load that pair with /models.",
        )

    async def done(branch: Branch | None) -> None:
        if branch is not None:
            await host.request_answer(lambda: session.branch(answer, *branch))

    host.dialogs.open_inspector(session.request_of(answer), trace, done)


def copy(host: ChatHost) -> None:
    """Copy the message with the focus or the last answer, without its thinking."""
    message = host.focused_message() or require_answer(host)
    _, answer = split_thinking(message.text, message.opens_thinking)
    host.copy(message.text if message.role == "user" else answer)
    host.notice("Copied (if the terminal supports OSC 52).")


def copy_code(host: ChatHost) -> None:
    """Copy the last code block of the answer."""
    blocks = _CODE.findall(require_answer(host).text)
    if not blocks:
        raise InputError("No code block", "This answer has no code block.")
    host.copy(blocks[-1])
    host.notice("Copied the last code block (if the terminal supports OSC 52).")


def recorded_trace(host: ChatHost, answer: Message) -> Trace:
    """Return the token record of an answer; raises InputError if there is none."""
    trace = host.session.store.trace(answer.id)
    if trace is None:
        raise InputError("No token record", "The tokens of this answer were not recorded.")
    return trace
