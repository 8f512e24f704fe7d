"""Lists of options with a title and an explanation each, for use in dialogs."""

from __future__ import annotations

from collections.abc import Sequence

from textual import on
from textual.containers import VerticalScroll
from textual.content import Content
from textual.geometry import Region
from textual.widgets import OptionList

from rstitch_tui.widgets.reflowed_text import ReflowedText


class DialogOption(ReflowedText):
    """A title with an explanation below it; `mark` is drawn before both."""

    def __init__(self, title: str, explanation: str, mark: str = "", *, bold: bool = True) -> None:
        self.title, self.explanation = title, explanation
        self._mark, self._bold = mark, bold

    def content(self, width: int) -> Content:
        indent = len(self._mark)
        title = Content.styled(self.title, "bold" if self._bold else "").wrap(max(1, width - indent))
        explanation = Content.styled(self.explanation, "dim").wrap(max(1, width - indent)) if self.explanation else []
        lines = [Content.assemble(" " * indent, line) for line in [*title[1:], *explanation]]
        return Content("\n").join([Content.assemble(self._mark, title[0]), *lines])


class DialogOptions(OptionList):
    """A list of DialogOptions at full height; a scrolling form around it follows the highlighted option."""

    DEFAULT_CSS = """
    DialogOptions {
        height: auto; max-height: 1000; overflow: hidden; border: none; padding: 0; background: $surface;
        &:focus { border: none; background-tint: transparent; }
        & > .option-list--option { padding: 0 1; }
    }
    """

    @on(OptionList.OptionHighlighted)
    def _scroll_form(self, event: OptionList.OptionHighlighted) -> None:
        form = self.parent
        if isinstance(form, VerticalScroll) and self.has_focus:
            prompts = [option.prompt for option in self.options if isinstance(option.prompt, DialogOption)]
            heights = [prompt.get_height({}, self.size.width - 2) for prompt in prompts]
            top = self.virtual_region.y + sum(heights[: event.option_index])
            form.scroll_to_region(Region(0, top, self.size.width, heights[event.option_index]), animate=False)


class Choice(DialogOptions):
    """A list in which the highlighted option is the chosen one.

    Args:
        options: title and explanation of each option.
        chosen: index of the option chosen at first.
    """

    DEFAULT_CSS = """
    Choice {
        & > .option-list--option-highlighted { background: $boost; }
    }
    """

    def __init__(self, options: Sequence[tuple[str, str]], chosen: int, *, id: str) -> None:
        super().__init__(*(_marked(*option, index == chosen) for index, option in enumerate(options)), id=id)
        self.chosen = chosen

    def on_mount(self) -> None:
        self.highlighted = self.chosen

    @on(OptionList.OptionHighlighted)
    def _choose(self, event: OptionList.OptionHighlighted) -> None:
        old, self.chosen = self.chosen, event.option_index
        for index in {old, self.chosen}:
            prompt = self.get_option_at_index(index).prompt
            assert isinstance(prompt, DialogOption)
            self.replace_option_prompt_at_index(index, _marked(prompt.title, prompt.explanation, index == self.chosen))


def _marked(title: str, explanation: str, chosen: bool) -> DialogOption:
    return DialogOption(title, explanation, "● " if chosen else "○ ", bold=chosen)
