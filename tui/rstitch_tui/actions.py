"""What the user can do to the chat, one function an action: keys, slash commands and the palette all come here.

Knows the session, the screens and how to bring them together; nothing of keys or of how a widget draws.
"""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

from rstitch_local import paths
from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.thinking import split_thinking
from rstitch_local.errors import InputError, RStitchError, StorageError, UsageError
from rstitch_local.routing.spec import one_spelling, tau_of_spec, with_tau
from rstitch_local.sanitize import one_line
from rstitch_tui.chat_settings import ChatSettings
from rstitch_tui.store import export as exports
from rstitch_tui.store.records import Message

if TYPE_CHECKING:
    from rstitch_tui.screens.chat import ChatScreen

_CODE = re.compile(r"^```[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)


# Chats


async def new_chat(screen: ChatScreen) -> None:
    """Begin an empty chat with the models that are loaded."""
    screen.session.new_chat()
    await screen.show_chat()
    screen.composer.focus()


def chats(screen: ChatScreen, words: str = "") -> None:
    """The list of chats, and back to the one that was chosen."""
    from rstitch_tui.screens.chats import ChatsScreen

    async def chosen(chat_id: int | None) -> None:
        session = screen.session
        with screen.chat_app.telling():
            if chat_id is not None:
                await open_chat(screen, chat_id)
            elif session.chat is not None:
                # It may have been renamed or deleted there.
                try:
                    session.chat = session.store.chat(session.chat.id)
                except RStitchError:
                    session.new_chat()
                await screen.show_chat()

    screen.app.push_screen(ChatsScreen(screen.session.store, words), chosen)


async def open_chat(screen: ChatScreen, chat_id: int) -> None:
    """Open a chat of the store, with its own pair if that is another one and on this disk."""
    screen.session.open(chat_id)
    await screen.show_chat()
    screen.log_view.follow()
    screen.composer.focus()
    wanted = screen.session.settings.pair
    if wanted is not None and wanted != screen.chat_app.pair_name:
        screen.chat_app.load_pair(wanted, quietly=True)


def rename(screen: ChatScreen, title: str) -> None:
    """Give the chat another title."""
    chat = _chat(screen)
    screen.session.store.rename(chat, one_line(title, 200))
    screen.session.chat = screen.session.store.chat(chat)
    screen.show_settings()


async def delete(screen: ChatScreen) -> None:
    """Delete the chat; /undo brings it back."""
    chat = _chat(screen)
    title = one_line(screen.session.title, 40)
    screen.session.store.delete(chat)
    screen.chat_app.deleted.append(chat)
    await new_chat(screen)
    screen.say(f"Deleted: {title}. /undo brings it back.")


async def undelete(screen: ChatScreen) -> None:
    """Bring back the chat that was deleted last."""
    if not screen.chat_app.deleted:
        raise InputError("Nothing to undo", "No chat was deleted since the program was started.")
    chat = screen.chat_app.deleted.pop()
    screen.session.store.restore(chat)
    await open_chat(screen, chat)


def export(screen: ChatScreen, words: str) -> None:
    """Write the chat (Markdown, JSON) or an answer (HTML) to a file, never over one that is there."""
    kind, _, place = words.partition(" ")
    kind = kind.lower() or "md"
    if kind not in ("md", "json", "html"):
        raise UsageError("No such format", f"There is no export to {one_line(kind, 20)!r}.", "Use md, json or html.")
    session = screen.session
    chat = session.store.chat(_chat(screen))
    if kind == "md":
        text = exports.to_markdown(chat, session.path)
    elif kind == "json":
        text = exports.to_json(chat, session.store)
    else:
        answer = _answer(screen)
        trace = session.store.trace(answer.id)
        question = next((m for m in session.path if m.id == answer.parent), None)
        if trace is None or question is None:
            raise InputError("Nothing to export", "This answer has no record of its tokens.")
        text = exports.to_html(chat, question, answer, trace)
    screen.say(f"Written to {_write_new(place, session.title, kind, text)}")


def _write_new(place: str, title: str, kind: str, text: str) -> Path:
    if place.strip():
        path = paths.expanded(place.strip()).absolute()
    else:
        stem = re.sub(r"[^\w-]+", "-", title.lower()).strip("-")[:40] or "chat"
        path = Path.cwd() / f"{stem}-{time.strftime('%Y%m%d-%H%M%S')}.{kind}"
    try:
        with path.open("x", encoding="utf-8", newline="\n", errors="replace") as file:
            file.write(text)
    except FileExistsError:
        raise StorageError("A file is there already", f"{path} exists.", "Give another name.") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise StorageError("Cannot write the export", f"{path}: {reason}.", "Give a path after the format.") from None
    return path


# Models


def models(screen: ChatScreen) -> None:
    """The models of this disk and those that can be downloaded."""
    screen.chat_app.open_models()


def context(screen: ChatScreen, words: str) -> None:
    """Load the pair again with caches of another size."""
    try:
        tokens = int(words.replace(",", "").replace("_", ""))
    except ValueError:
        raise UsageError(
            "Not a number", f"/context is followed by a number of tokens, not {one_line(words, 30)!r}."
        ) from None
    screen.chat_app.reload(context=tokens)


def drop_oldest(screen: ChatScreen) -> None:
    """Leave the older half of the turns out of what the models read."""
    dropped = screen.session.drop_oldest()
    screen.say(f"The models no longer read the first {dropped} turns; they stay in the chat.")


# Settings of the chat


def change(screen: ChatScreen, **fields: object) -> None:
    """Change settings of the chat, and show them."""
    screen.session.change(**fields)
    screen.show_settings()
    for name, value in fields.items():
        screen.say(f"{name}: {_said(value)}")


def show_or_change(screen: ChatScreen, field: str, words: str) -> None:
    """Change a setting that is a text; without words say what it is; `auto` sets it back."""
    if words:
        change(screen, **{field: words if words != "auto" else ChatSettings.model_fields[field].default})
    else:
        screen.say(f"{field}: {_said(getattr(screen.session.settings, field))}. /{field} auto sets it back.")


def _said(value: object) -> str:
    """A setting in words."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return "as the pair has it" if value is None else one_line(value, 60) or "none"


def chat_settings(screen: ChatScreen) -> None:
    """All settings of the chat in one form."""
    from rstitch_tui.screens.chat_settings import ChatSettingsScreen

    app = screen.chat_app

    def done(fields: dict[str, object] | None) -> None:
        if fields:
            with screen.chat_app.telling():
                screen.session.change(**fields)
            screen.show_settings()

    switch = app.facts is not None and app.facts.thinking_switch
    app.push_screen(ChatSettingsScreen(screen.session.settings, screen.session.defaults, switch), done)


def tau_by(screen: ChatScreen, factor: float) -> None:
    """Multiply tau."""
    tau = tau_of(screen)
    if tau is None:
        raise InputError("No tau", "This chat's router has no threshold on the entropy.", "/router entropy:0.02")
    screen.set_tau(float(f"{min(1.0, max(0.0005, tau * factor)):.2g}"))


def tau_of(screen: ChatScreen) -> float | None:
    """The threshold of the chat's router; None where it has none."""
    return tau_of_spec(screen.router)


# Answers


async def regenerate(screen: ChatScreen) -> None:
    """Answer once more, as a branch."""
    answer = _answer(screen)
    if screen.session.settings.sampling(screen.session.defaults.sampling).temperature == 0:
        screen.say("At temperature 0 the answer is the same again; /temperature 0.7 draws another one.")
    await screen.act(lambda: screen.session.regenerate(answer))


async def again(screen: ChatScreen, tau: float | None = None) -> None:
    """Answer once more at another tau, and show both side by side."""
    from rstitch_tui.screens.compare import CompareScreen

    answer = _answer(screen)
    screen.session.require_quiet()
    trace = screen.session.store.trace(answer.id)
    if trace is None:
        raise InputError("Nothing to compare with", "This answer has no record of its tokens.")
    if tau is None:
        # The other direction is the more telling one: a careful answer again quickly, a quick one carefully.
        tau = tau_of(screen) or 0.02
        tau = float(f"{tau * (4 if trace.llm_share > 0.2 else 0.25):.2g}")
    router = with_tau(screen.router, tau)
    one_spelling(router)
    compare = CompareScreen(trace, router)
    # It must be there before the answer begins: a tiny pair has finished before a screen is drawn.
    await screen.app.push_screen(compare)
    if not await screen.act(lambda: screen.session.regenerate(answer, router=router)):
        compare.dismiss(None)


async def go_on(screen: ChatScreen) -> None:
    """Let an answer that was stopped or cut off go on."""
    answer = _answer(screen)
    await screen.act(lambda: screen.session.go_on(answer))


def edit(screen: ChatScreen) -> None:
    """Edit the message with the focus; else an answer that was cut short; else the last question."""
    message = screen.focused_message()
    if message is None and screen.session.path and screen.session.path[-1].stop in ("interrupted", "length"):
        message = screen.session.path[-1]
    if message is None:
        message = next((m for m in reversed(screen.session.path) if m.role == "user"), None)
    if message is not None:
        edit_message(screen, message)


def edit_message(screen: ChatScreen, message: Message) -> None:
    """Let the user change a message; what follows from it is a branch of its own."""
    from rstitch_tui.screens.edit import EditScreen

    session = screen.session
    # Now and not when it is written: what the user writes would be lost.
    session.require_quiet()

    async def done(text: str | None) -> None:
        if text is None or not text.strip():
            return
        if message.role == "user":
            await screen.act(lambda: session.edit_question(message, text))
        elif text == message.text:
            await screen.act(lambda: session.go_on(message))
        else:
            await screen.act(lambda: session.edit_answer(message, text))

    heading = "Your message" if message.role == "user" else "The answer goes on from the end of this"
    screen.app.push_screen(EditScreen(heading, message.text), done)


async def walk_branches(screen: ChatScreen, by: int) -> None:
    """Show the branch before or after, at the message with the focus."""
    message = screen.focused_message() or _answer(screen)
    if screen.session.walk(message, by):
        await screen.show_chat()
        here = next(m for m in screen.session.path if m.parent == message.parent)
        view = screen.log_view.view(here.id)
        if view is not None:
            view.focus()


def inspect(screen: ChatScreen) -> None:
    """Walk through the tokens of an answer."""
    from rstitch_tui.screens.inspector import InspectorScreen

    answer = _answer(screen)
    session = screen.session
    trace = session.store.trace(answer.id)
    if trace is None or not trace.steps:
        raise InputError("Nothing to inspect", "This answer has no record of its tokens.")
    if session.answer is not None:
        raise InputError("An answer is being written", "Wait for its end, or stop it with Esc.")
    wrote = trace.settings.get("pair")
    if wrote not in (None, screen.chat_app.pair_name):
        raise InputError(
            "Another pair wrote this",
            f"{one_line(wrote)} wrote this answer, and its tokens mean nothing to the models that are loaded.",
            "Load that pair with /models.",
        )

    async def done(choice: tuple[int, Role, int] | None) -> None:
        if choice is not None:
            await screen.act(lambda: session.branch(answer, *choice))

    screen.app.push_screen(InspectorScreen(screen.chat_app.engine, session.request_of(answer), trace), done)


# How it is shown, and taking it elsewhere


async def toggle_tokens(screen: ChatScreen) -> None:
    """Answers token by token, or as Markdown."""
    await screen.log_view.show_tokens(not screen.log_view.as_tokens)


async def toggle_thinking(screen: ChatScreen) -> None:
    """The thinking unfolded, or folded to a line."""
    await screen.log_view.show_thinking(not screen.log_view.unfolded)


def copy(screen: ChatScreen) -> None:
    """Copy the message with the focus, or the last answer, without its thinking."""
    message = screen.focused_message() or _answer(screen)
    _, said = split_thinking(message.text, message.opens_thinking)
    screen.app.copy_to_clipboard(message.text if message.role == "user" else said)
    screen.say("Copied, if this terminal lets programs copy (OSC 52).")


def copy_code(screen: ChatScreen) -> None:
    """Copy the last block of code of the answer."""
    blocks = _CODE.findall(_answer(screen).text)
    if not blocks:
        raise InputError("No code", "There is no block of code in this answer.")
    screen.app.copy_to_clipboard(blocks[-1])
    screen.say("The last block of code is copied, if this terminal lets programs copy (OSC 52).")


def help_screen(screen: ChatScreen) -> None:
    """Keys and commands."""
    from rstitch_tui.screens.help import HelpScreen

    screen.app.push_screen(HelpScreen())


def _answer(screen: ChatScreen) -> Message:
    answer = screen.last_answer()
    if answer is None:
        raise InputError("No answer yet", "This chat has no answer so far.")
    return answer


def _chat(screen: ChatScreen) -> int:
    if screen.session.chat is None:
        raise InputError("An empty chat", "Nothing was said in this chat so far.")
    return screen.session.chat.id
