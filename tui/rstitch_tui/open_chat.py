"""The chat that is open: its settings and the current branch of its messages.

Uses the store, no widgets and no models. Called from the app's thread only.
"""

from __future__ import annotations

from collections.abc import Callable

from rstitch_local.engine.choice import PairChoice, PairDefaults
from rstitch_local.errors import InputError, UsageError
from rstitch_local.routing.spec import one_spelling, tau_of_spec, with_tau
from rstitch_tui.chat_settings import ChatSettings
from rstitch_tui.store.records import Chat, Message
from rstitch_tui.store.store import Store


class OpenChat:
    """One chat of the store.

    Attributes:
        chat: the open chat; None until its first message is stored.
        settings: its settings.
        path: the messages of the current branch.
        defaults: the defaults of the loaded pair.
        new_chat_settings: the settings a new chat starts with.
        deleted: ids of the chats deleted since the start, oldest first.
        on_opened: called with the id of a stored chat when it is opened or its first message is stored.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.chat: Chat | None = None
        self.settings = ChatSettings()
        self.path: list[Message] = []
        self.defaults = PairDefaults()
        self.new_chat_settings = ChatSettings()
        self.deleted: list[int] = []
        self.on_opened: Callable[[int], object] = lambda _: None

    @property
    def title(self) -> str:
        return self.chat.title if self.chat is not None else ""

    def new_chat(self) -> None:
        """Open an empty chat; it is stored with its first message."""
        self.chat = None
        self.settings = self.new_chat_settings
        self.path = []

    def open(self, chat_id: int) -> None:
        """Open a stored chat at the branch shown last."""
        self.chat = self.store.chat(chat_id)
        self.settings = self.chat.settings
        self.reload()
        self.on_opened(chat_id)

    def reload(self) -> None:
        """Read the branch from the store."""
        self.path = self.store.path(self.chat.id) if self.chat is not None else []

    def follow_other_app(self) -> Message | None:
        """Read again an answer that another app is generating at the end of the branch.

        Returns:
            The answer if it has changed.
        """
        if self.chat is None or not self.path or not self.path[-1].unfinished:
            return None
        # Reading the branch ends an answer whose app has crashed.
        self.store.path(self.chat.id)
        old, new = self.path[-1], self.store.message(self.path[-1].id)
        self.path[-1] = new
        return new if new != old else None

    # Settings

    def set_defaults(self, **fields: object) -> None:
        """Change the settings of new chats, and of the open one while it is empty."""
        self.new_chat_settings = ChatSettings.model_validate({**self.new_chat_settings.model_dump(), **fields})
        if self.chat is None:
            self.change(**fields)

    def change(self, **fields: object) -> None:
        """Change the settings of the chat; raises UsageError or ValueError for an invalid value."""
        self.settings = ChatSettings.model_validate({**self.settings.model_dump(), **fields})
        if self.chat is not None:
            self.store.set_settings(self.chat.id, self.settings)

    def use_pair(self, choice: PairChoice) -> None:
        """Use a loaded pair for this chat and for new ones."""
        self.defaults = choice.defaults
        self.set_defaults(pair=choice.name)
        if self.chat is not None:
            self.change(pair=choice.name)

    @property
    def router(self) -> str:
        """The router spec in effect: the chat's own or the pair's."""
        return self.settings.router or self.defaults.router

    @property
    def tau(self) -> float | None:
        """The threshold of the router; None if it has none."""
        return tau_of_spec(self.router)

    def router_with_tau(self, tau: float) -> str:
        """Return the router spec in effect with another threshold.

        Raises:
            UsageError: tau is not between 0 and 1.
        """
        if not 0 <= tau <= 1:
            raise UsageError("Tau out of range", f"tau is {tau:g}, must be between 0 (all LLM) and 1 (all SLM).")
        router = with_tau(self.router, tau)
        one_spelling(router)
        return router

    # The branch

    def last_answer(self) -> Message | None:
        return next((message for message in reversed(self.path) if message.role == "assistant"), None)

    def branch_positions(self) -> dict[int, tuple[int, int]]:
        """Return (position from 1, number of branches) for each message with alternatives, by message id."""
        positions = {}
        for message in self.path:
            siblings = self.store.siblings(message)
            if len(siblings) > 1:
                positions[message.id] = (siblings.index(message.id) + 1, len(siblings))
        return positions

    def switch_branch(self, message: Message, by: int) -> bool:
        """Switch to the next (1) or previous (-1) branch at a message; returns whether there is one."""
        siblings = self.store.siblings(message)
        index = siblings.index(message.id) + by if message.id in siblings else -1
        if not 0 <= index < len(siblings):
            return False
        self.store.select(siblings[index])
        self.reload()
        return True

    def questions_in_context(self) -> list[int]:
        """Ids of the questions on the branch that are still sent to the models."""
        first = self.settings.first or 0
        return [message.id for message in self.path if message.role == "user" and message.id >= first]

    def forget_older_half(self) -> int:
        """Stop sending the older half of the turns to the models; returns the number of turns.

        Raises:
            InputError: only one turn is left.
        """
        questions = self.questions_in_context()
        if len(questions) < 2:
            raise InputError("Nothing to forget", "The last question alone fills the context.", "Shorten the question.")
        forgotten = (len(questions) + 1) // 2
        self.change(first=questions[forgotten])
        return forgotten

    def path_before(self, message: Message) -> list[Message]:
        """Return the branch up to a message, without it; raises InputError if it is not on the branch."""
        index = next((index for index, old in enumerate(self.path) if old.id == message.id), None)
        if index is None:
            raise InputError("Message not found", "This message is not on the current branch.")
        return self.path[:index]
