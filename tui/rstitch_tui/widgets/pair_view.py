"""What the chat shows about a pair of the catalog: its entry in the list, and the texts of its details.

Independent of keys and clicks, and of running downloads: the owner passes the current state.
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
_MIN_WIDTH_FOR_WIDE_STATUS = 44


@dataclass(frozen=True)
class PairView:
    """The state of a pair at one moment.

    Attributes:
        entry: the pair's entry in the catalog.
        disk: its files on this disk.
        download: its download, if there is one.
        loaded: whether it is loaded.
        needed_bytes: memory it needs; None if unknown.
        fit: whether it fits into memory.
        memory_text: a sentence about the memory it needs or uses.
        checking: whether its files are being checked before loading.
        error: why it could not be loaded.
    """

    entry: PairEntry
    disk: PairState
    download: DownloadState | None
    loaded: bool
    needed_bytes: int | None
    fit: Fit
    memory_text: str
    checking: bool = False
    error: RStitchError | None = None

    @property
    def files(self) -> tuple[FileState, FileState]:
        """The files of SLM and LLM."""
        return (self.disk.slm, self.disk.llm)

    @property
    def built_in(self) -> bool:
        """Whether it is part of the package."""
        return all(file.file.builtin for file in self.files)

    @property
    def downloading(self) -> bool:
        """Whether a download is running or queued."""
        return self.download is not None and self.download.active

    @property
    def can_download(self) -> bool:
        """Whether files are missing that can be downloaded."""
        missing = [file.file for file in self.files if file.status is not FileStatus.ON_DISK]
        return bool(missing) and not self.downloading and all(store.fetchable(file) for file in missing)

    @property
    def bytes_on_disk(self) -> int:
        """Bytes of both files on this disk."""
        return self.download.done if self.download is not None else sum(file.size for file in self.files)

    @property
    def total_bytes(self) -> int | None:
        """Bytes of both complete files; None while a size is unknown."""
        if self.download is not None and self.download.total is not None:
            return self.download.total
        sizes = [_size_of(file) for file in self.files]
        return sum(sizes) if all(sizes) else None

    @property
    def size(self) -> str:
        """The size in readable units, with a `+` while the size of one file is unknown."""
        known = self.total_bytes or sum(file.expected_size or 0 for file in self.files)
        return f"{human_bytes(known)}{'' if self.total_bytes else '+'}" if known else "?"

    @property
    def status(self) -> tuple[str, str]:
        """A short status and its style."""
        if self.checking:
            return "checking", "$text-accent"
        if self.loaded:
            return "loaded", "bold $text-success"
        if self.disk.ready and not self.downloading:
            return ("built in" if self.built_in else "on disk"), "$text-success"
        share = f" {self.bytes_on_disk / self.total_bytes:.0%}" if self.total_bytes else ""
        match self.download.state if self.download is not None else None:
            case Stage.RUNNING:
                return f"↓{share or f' {human_bytes(self.bytes_on_disk)}'}", "bold $text-accent"
            case Stage.CHECKING:
                return "checking", "$text-accent"
            case Stage.WAITING:
                return "waiting", "$text-accent"
            case Stage.PAUSED:
                return f"paused{share}", "$text-warning"
            case Stage.FAILED:
                return "failed", "$text-error"
        if any(file.status is FileStatus.WRONG_SIZE for file in self.files):
            return "damaged", "$text-error"
        if self.bytes_on_disk:
            return f"partial{share}", "$text-warning"
        return "missing", "dim"


class PairRow(ReflowedText):
    """A pair in the list: name, size and status; below them title and fit, unless it is `short`."""

    def __init__(self, view: PairView, *, short: bool) -> None:
        self._view, self._short = view, short

    def content(self, width: int) -> Content:
        view = self._view
        status, style = view.status
        mark = ("● ", "$text-success") if view.loaded else "  "
        name = Content.assemble(mark, (view.entry.name, "bold"))
        column = 12 if width >= _MIN_WIDTH_FOR_WIDE_STATUS else 8
        first = _justified(name, Content.assemble((view.size, "dim"), "  ", (f"{status:>{column}}", style)), width)
        if self._short:
            return first
        title = Content.styled(f"  {one_line(view.entry.title, 200)}", "dim")
        fit = Content.styled(str(view.fit), _FIT_STYLES[view.fit])
        if view.needed_bytes is not None:
            long_fit = Content.styled(f"needs {human_bytes(view.needed_bytes)}  ", "dim") + fit
            fit = long_fit if title.cell_length + long_fit.cell_length < width else fit
        return Content("\n").join([first, _justified(title, fit, width)])


def headline(view: PairView) -> Content:
    """Return the title of a pair and a sentence about its state."""
    title = one_line(view.entry.title, 200) or view.entry.name
    return Content("\n").join([Content.styled(title, "bold $text-primary"), Content(_state_sentence(view))])


def _state_sentence(view: PairView) -> str:
    download = view.download
    if view.checking:
        return "Checking the files before loading."
    if view.loaded:
        return "Loaded: you can chat with it."
    cancelled = download is not None and download.state is Stage.CANCELLED
    sentence = "" if download is None or (cancelled and view.disk.ready) else _download_sentence(view, download)
    if sentence:
        return sentence
    if view.disk.ready:
        return "Included in rstitch." if view.built_in else f"On this disk, {view.size}."
    if view.can_download:
        return f"{_progress(view)} on disk." if view.bytes_on_disk else f"Not on disk: {_total(view)} to download."
    return "Not on disk, and the catalog has no source to download it from."


def _download_sentence(view: PairView, download: DownloadState) -> str:
    """Return a sentence about a download; "" for a complete one."""
    match download.state:
        case Stage.RUNNING:
            return progress_text(download)
        case Stage.CHECKING:
            share = f": {download.checked:.0%}" if download.checked else ""
            return f"Checking the downloaded data{share}"
        case Stage.WAITING:
            return "Waiting for another download."
        case Stage.PAUSED:
            return f"Paused at {_progress(view)}." if view.bytes_on_disk else "Paused before the first byte."
        case Stage.FAILED:
            return f"Stopped at {_progress(view)}." if view.bytes_on_disk else "Stopped before the first byte."
        case Stage.CANCELLED:
            return f"Cancelled. {human_bytes(view.bytes_on_disk)} are kept; the next download resumes there."
    return ""


def _progress(view: PairView) -> str:
    return f"{human_bytes(view.bytes_on_disk)} of {_total(view)}"


def _total(view: PairView) -> str:
    if view.size == "?":
        return "an unknown size"
    return view.size if view.total_bytes else f"more than {view.size.rstrip('+')}"


def progress_text(download: DownloadState) -> str:
    """Return size, speed and remaining time of a running download."""
    parts = [human_bytes(download.done) + (f" of {human_bytes(download.total)}" if download.total else "")]
    if download.bytes_per_second:
        parts.append(f"{human_bytes(int(download.bytes_per_second))}/s")
    if download.seconds_left is not None:
        parts.append(f"{duration(download.seconds_left)} left")
    return " · ".join(parts)


def duration(seconds: float) -> str:
    """Return a time as 40 s, 3 min 20 s or 2 h 05 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def error_text(error: RStitchError) -> Content:
    """Return title, message and hint of an error."""
    hint = safe_text(error.hint)
    return Content.assemble(
        (f"{safe_text(error.title)}\n", "bold $text-error"),
        safe_text(error.message),
        (f"\n{hint}" if hint else "", "dim"),
    )


def about(view: PairView) -> Content:
    """Return memory, description, files, context, router and folders of a pair."""
    entry = view.entry
    parts = [Content.assemble((view.memory_text, _FIT_STYLES[view.fit]))]
    if entry.description:
        parts.append(Content(safe_text(entry.description)))
    parts += [_file_text("Small model (SLM)", view.disk.slm), _file_text("Large model (LLM)", view.disk.llm)]
    router = one_line(entry.router) if entry.router else f"tau {entry.tau:g}"
    parts.append(Content.styled(f"Context of {entry.context:,} tokens · {router}", "dim"))
    folders = dict.fromkeys(str(file.path.parent) for file in view.files)
    parts.append(Content.styled("\n".join(safe_text(folder) for folder in folders), "dim"))
    return Content("\n\n").join(parts)


def _file_text(role: str, file: FileState) -> Content:
    size = _size_of(file)
    properties = [
        human_bytes(size) if size else "unknown size",
        str(file.status),
        file.file.licence or "unknown licence",
    ]
    return Content("\n").join(
        [
            Content.styled(role, "bold"),
            Content(file.file.file),
            Content.styled(safe_text(" · ".join(properties)), "dim"),
        ]
    )


def _size_of(file: FileState) -> int:
    """Return the size of the complete file; 0 if it is unknown."""
    return file.expected_size or (file.size if file.status is FileStatus.ON_DISK else 0)


def _justified(left: Content, right: Content, width: int) -> Content:
    """Return two texts at the ends of a line; the left one is truncated if needed."""
    space = max(1, width - right.cell_length - 1)
    return left.truncate(space, ellipsis=True, pad=True) + " " + right
