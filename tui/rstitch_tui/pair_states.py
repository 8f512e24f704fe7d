"""The state of every pair of the catalog: files on this disk, download, fit into memory, errors."""

from __future__ import annotations

from rstitch_local.catalog import store
from rstitch_local.catalog.schema import PairEntry
from rstitch_local.errors import RStitchError
from rstitch_local.sanitize import human_bytes
from rstitch_tui import machine_fit
from rstitch_tui.downloads import Downloads
from rstitch_tui.machine_fit import Fit, Memory
from rstitch_tui.widgets.pair_view import PairView


class PairStates:
    """Collects the states for the list of pairs.

    Args:
        downloads: the downloads, with the catalog.
        loaded: name of the loaded pair.
        gpu_free: free GPU memory in bytes.

    Attributes:
        entries: the pairs in the order of the list.
        loaded: name of the loaded pair.
        checking: name of the pair whose files are being checked, "" if there is none.
    """

    def __init__(self, downloads: Downloads, loaded: str | None, gpu_free: int) -> None:
        # Built-in pairs first: they work without a download.
        self.entries = sorted(downloads.catalog, key=lambda entry: not all(file.builtin for file in entry.files))
        self.loaded = loaded
        self.checking = ""
        self._downloads = downloads
        self._gpu_free = gpu_free
        self._files = {entry.name: store.state(entry) for entry in self.entries}
        self._views: dict[str, PairView] = {}
        self._errors: dict[str, RStitchError] = {}

    def memory(self) -> Memory:
        """Return the current memory of the machine."""
        return machine_fit.memory_now(self._gpu_free)

    def views(self, memory: Memory) -> list[PairView]:
        """Return the current state of every pair."""
        loaded = next((entry for entry in self.entries if entry.name == self.loaded), None)
        freed = 0
        if loaded is not None:
            freed = machine_fit.needed_bytes(loaded, self._files[loaded.name]) or 0
        self._views = {entry.name: self._view(entry, memory, freed) for entry in self.entries}
        return list(self._views.values())

    def _view(self, entry: PairEntry, memory: Memory, freed: int) -> PairView:
        download = self._downloads.state(entry.name)
        old = self._views.get(entry.name)
        drawn = None if old is None else old.download
        if download is not None and (drawn is None or drawn.state is not download.state):
            self._files[entry.name] = store.state(entry)
        files = self._files[entry.name]
        needed = machine_fit.needed_bytes(entry, files)
        loaded = entry.name == self.loaded
        return PairView(
            entry=entry,
            disk=files,
            download=download,
            loaded=loaded,
            needed_bytes=needed,
            fit=Fit.FITS if loaded else machine_fit.fit(needed, memory, freed=freed),
            memory_text=_memory_used(needed) if loaded else machine_fit.describe_fit(needed, memory, freed=freed),
            checking=entry.name == self.checking,
            error=self._errors.get(entry.name),
        )

    def begin_check(self, name: str) -> None:
        """Record that the files of a pair are being checked."""
        self.checking = name
        self.clear_error(name)

    def end_check(self, name: str, error: RStitchError | None) -> None:
        """Record the result of a check."""
        self.checking = ""
        if error is not None:
            self._errors[name] = error
            self._files[name] = store.state(self._downloads.catalog.get(name))

    def clear_error(self, name: str) -> None:
        """Forget the error of a pair."""
        self._errors.pop(name, None)


def _memory_used(needed: int | None) -> str:
    return f"Uses {human_bytes(needed)} of memory." if needed else "Memory use unknown."
