"""A pair of the catalog in words: its row in the list and the text beside it.

Knows what is said of a pair and how it is laid out; nothing of keys, clicks or downloads at work.
"""

from __future__ import annotations

from dataclasses import dataclass

from textual.content import Content

from rstitch_local.catalog import store
from rstitch_local.catalog.schema import PairEntry
from rstitch_local.catalog.store import FileState, FileStatus, PairState
from rstitch_local.errors import RStitchError
from rstitch_local.sanitize import human_bytes, one_line, safe_text
from rstitch_tui.download_state import DownloadState, Stage
from rstitch_tui.machine_fit import Fit
from rstitch_tui.widgets.reflowed_text import ReflowedText

_FIT_STYLES = {
    Fit.FITS: "$text-success",
    Fit.TIGHT: "$text-warning",
    Fit.TOO_LARGE: "$text-error",
    Fit.UNKNOWN: "dim",
}
_ROOM_FOR_COLUMNS = 44
"""From this width on what is here stands in a column of its own."""


@dataclass(frozen=True)
class PairView:
    """All that is shown of a pair at one moment.

    Attributes:
        found: what of it is on this disk; download: what is being done about the rest.
        needed: memory it takes, in bytes; needs is the same in a sentence.
        checking: whether its files are being looked at before it is loaded.
        problem: why it could not be loaded.
    """

    entry: PairEntry
    found: PairState
    download: DownloadState | None
    loaded: bool
    needed: int | None
    fit: Fit
    needs: str
    checking: bool = False
    problem: RStitchError | None = None

    @property
    def files(self) -> tuple[FileState, FileState]:
        """SLM first, LLM second."""
        return (self.found.slm, self.found.llm)

    @property
    def ships(self) -> bool:
        """Whether it comes with the program."""
        return all(file.file.builtin for file in self.files)

    @property
    def at_work(self) -> bool:
        """Whether a download runs or waits."""
        return self.download is not None and self.download.active

    @property
    def can_download(self) -> bool:
        """Whether something is missing that can be had."""
        missing = [file.file for file in self.files if file.status is not FileStatus.ON_DISK]
        return bool(missing) and not self.at_work and all(store.fetchable(file) for file in missing)

    @property
    def here(self) -> int:
        """Bytes on this disk."""
        return self.download.done if self.download is not None else sum(file.size for file in self.files)

    @property
    def total(self) -> int | None:
        """Bytes in all; None while a size is not known."""
        if self.download is not None and self.download.total is not None:
            return self.download.total
        sizes = [file.expected_size or (file.size if file.status is FileStatus.ON_DISK else 0) for file in self.files]
        return sum(sizes) if all(sizes) else None

    @property
    def size(self) -> str:
        """The size for people; `+` where one of the files comes on top."""
        known = self.total or sum(file.expected_size or 0 for file in self.files)
        return f"{human_bytes(known)}{'' if self.total else '+'}" if known else "?"

    @property
    def status(self) -> tuple[str, str]:
        """What there is of it in a word or two, and the style of that."""
        share = f" {self.here / self.total:.0%}" if self.total else ""
        if self.checking:
            return "checking", "$text-accent"
        if self.loaded:
            return "loaded", "bold $text-success"
        if self.found.ready and not self.at_work:
            return ("built in" if self.ships else "on disk"), "$text-success"
        match self.download.state if self.download is not None else None:
            case Stage.RUNNING:
                return f"↓{share or f' {human_bytes(self.here)}'}", "bold $text-accent"
            case Stage.CHECKING:
                return "checking", "$text-accent"
            case Stage.WAITING:
                return "waiting", "$text-accent"
            case Stage.PAUSED:
                return f"paused{share}", "$text-warning"
            case Stage.FAILED:
                return "failed", "$text-error"
        states = {file.status for file in self.files}
        if FileStatus.WRONG_SIZE in states:
            return "damaged", "$text-error"
        if self.here:
            return f"partial{share}", "$text-warning"
        return "not here", "dim"


class Row(ReflowedText):
    """A pair in the list: name, size and what is here; under it what it is and whether it fits."""

    def __init__(self, view: PairView, *, short: bool) -> None:
        self._view, self._short = view, short

    def content(self, width: int) -> Content:
        """One line or two at a width."""
        view = self._view
        status, style = view.status
        mark = ("● ", "$text-success") if view.loaded else "  "
        name = Content.assemble(mark, (view.entry.name, "bold"))
        column = 12 if width >= _ROOM_FOR_COLUMNS else 8
        first = _apart(name, Content.assemble((view.size, "dim"), "  ", (f"{status:>{column}}", style)), width)
        if self._short:
            return first
        title = Content.styled(f"  {one_line(view.entry.title, 200)}", "dim")
        fit = Content.styled(str(view.fit), _FIT_STYLES[view.fit])
        needs = Content.styled(f"needs {human_bytes(view.needed or 0)}  ", "dim") + fit
        roomy = view.needed is not None and title.cell_length + needs.cell_length < width
        return Content("\n").join([first, _apart(title, needs if roomy else fit, width)])


def headline(view: PairView) -> Content:
    """What it is called, and where it stands."""
    title = one_line(view.entry.title, 200) or view.entry.name
    return Content("\n").join([Content.styled(title, "bold $text-primary"), Content(_standing(view))])


def _standing(view: PairView) -> str:
    download = view.download
    if view.checking:
        return "Checking its files before they are loaded."
    if view.loaded:
        return "Loaded: you can chat with it."
    if download is not None and not (download.state is Stage.CANCELLED and view.found.ready):
        match download.state:
            case Stage.RUNNING:
                return flow(download)
            case Stage.CHECKING:
                share = f": {download.checked:.0%}" if download.checked else ""
                return f"Checking what is here{share}"
            case Stage.WAITING:
                return "Waits for the download before it."
            case Stage.PAUSED:
                return f"Paused at {_of(view)}." if view.here else "Paused before anything came."
            case Stage.FAILED:
                return f"Stopped at {_of(view)}." if view.here else "Stopped before anything came."
            case Stage.CANCELLED:
                return f"Cancelled. {human_bytes(view.here)} stay here, and a download goes on from there."
    if view.found.ready:
        return "Ships with the program." if view.ships else f"On this disk, {view.size}."
    if view.can_download:
        return f"{_of(view)} here." if view.here else f"Not here: {_total(view)} to download."
    return "Not here, and it names no place to download it from."


def _of(view: PairView) -> str:
    return f"{human_bytes(view.here)} of {_total(view)}"


def _total(view: PairView) -> str:
    if view.size == "?":
        return "a size not known yet"
    return view.size if view.total else f"more than {view.size.rstrip('+')}"


def flow(download: DownloadState) -> str:
    """A download at work in figures."""
    words = [human_bytes(download.done) + (f" of {human_bytes(download.total)}" if download.total else "")]
    if download.bytes_per_second:
        words.append(f"{human_bytes(int(download.bytes_per_second))}/s")
    if download.seconds_left is not None:
        words.append(f"{duration(download.seconds_left)} left")
    return " · ".join(words)


def duration(seconds: float) -> str:
    """A time to wait: 40 s, 3 min 20 s, 2 h 05 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def trouble(error: RStitchError) -> Content:
    """An error: what, where and why, what to do."""
    hint = safe_text(error.hint)
    return Content.assemble(
        (f"{safe_text(error.title)}\n", "bold $text-error"),
        safe_text(error.message),
        (f"\n{hint}" if hint else "", "dim"),
    )


def about(view: PairView) -> Content:
    """The rest that is worth knowing."""
    entry = view.entry
    parts = [Content.assemble((view.needs, _FIT_STYLES[view.fit]))]
    if entry.description:
        parts.append(Content(safe_text(entry.description)))
    parts += [_file("Small model (SLM)", view.found.slm), _file("Large model (LLM)", view.found.llm)]
    router = one_line(entry.router) if entry.router else f"tau {entry.tau:g}"
    parts.append(Content.styled(f"Context of {entry.context:,} tokens · {router}", "dim"))
    folders = dict.fromkeys(str(file.path.parent) for file in view.files)
    parts.append(Content.styled("\n".join(safe_text(folder) for folder in folders), "dim"))
    return Content("\n\n").join(parts)


def _file(role: str, file: FileState) -> Content:
    size = file.expected_size or (file.size if file.status is FileStatus.ON_DISK else 0)
    facts = [
        human_bytes(size) if size else "size not known yet",
        str(file.status),
        file.file.licence or "licence unknown",
    ]
    return Content("\n").join(
        [
            Content.styled(role, "bold"),
            Content(file.file.file),
            Content.styled(safe_text(" · ".join(facts)), "dim"),
        ]
    )


def _apart(left: Content, right: Content, width: int) -> Content:
    """Two texts at the two ends of a line; the left one gives way."""
    room = max(1, width - right.cell_length - 1)
    return left.truncate(room, ellipsis=True, pad=True) + " " + right
