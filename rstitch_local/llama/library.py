"""llama.cpp as a library: started once, its log routed to `logging`, its build and devices described.

Knows no model. Everything else in this folder calls `start()` before its first call into llama.cpp.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import logging
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import llama_cpp
from llama_cpp._ggml import libggml

log = logging.getLogger("rstitch.llama")
# Without a handler Python would print warnings on stderr, into the middle of a chat.
log.addHandler(logging.NullHandler())

_LEVELS = {2: logging.INFO, 3: logging.WARNING, 4: logging.ERROR}
_LEVEL_ERROR = 4
_recent_errors: deque[str] = deque(maxlen=8)


def _on_log(level: int, text: bytes | None, _user_data: object) -> None:
    line = (text or b"").decode("utf-8", "replace").strip()
    # A row of dots is llama.cpp's progress bar; the progress callback says the same better.
    if not line.strip("."):
        return
    if level == _LEVEL_ERROR:
        _recent_errors.append(line)
    log.log(_LEVELS.get(level, logging.DEBUG), "%s", line)


# llama.cpp keeps the pointer for good: a collected callback would crash the process, so it lives here.
_log_callback = llama_cpp.llama_log_callback(_on_log)


@functools.cache
def start() -> None:
    """Start llama.cpp's backends and take over its log. Free after the first call."""
    llama_cpp.llama_log_set(_log_callback, ctypes.c_void_p(0))
    llama_cpp.llama_backend_init()


def take_errors() -> str:
    """What llama.cpp complained about since the last call, in one line (its own reason for a failure)."""
    text = "; ".join(_recent_errors)
    _recent_errors.clear()
    return text


@contextlib.contextmanager
def held_interrupts() -> Iterator[Callable[[], bool]]:
    """Hold Ctrl-C back during a call into llama.cpp that calls Python back, and let it act right after.

    An exception cannot cross C code: raised inside a callback it would be printed and forgotten. Yields a
    function that says whether Ctrl-C came, so that a callback can end the call early.
    """
    previous = signal.getsignal(signal.SIGINT)
    # Only the main thread runs Python's signal handlers; a handler of C code (None) is none of ours.
    if threading.current_thread() is not threading.main_thread() or previous is None:
        yield lambda: False
        return
    came = False

    def remember(_number: int, _frame: object) -> None:
        nonlocal came
        came = True

    signal.signal(signal.SIGINT, remember)
    try:
        yield lambda: came
    finally:
        signal.signal(signal.SIGINT, previous)
        if came:
            signal.raise_signal(signal.SIGINT)


@dataclass(frozen=True, slots=True)
class Device:
    """One device llama.cpp can compute on: `kind` is cpu, gpu, igpu or accel; memory in bytes."""

    name: str
    description: str
    kind: str
    free_bytes: int
    total_bytes: int


_DEVICE_KINDS = {0: "cpu", 1: "gpu", 2: "igpu", 3: "accel"}


def _ggml(name: str, restype: Any, *argtypes: Any) -> Any:
    """A function of ggml itself, which llama-cpp-python loads but does not declare."""
    # Indexing, unlike attribute access, gives a fresh object: no prototype of somebody else's is changed.
    function = libggml[name]
    function.restype = restype
    function.argtypes = list(argtypes)
    return function


def devices() -> list[Device]:
    """The devices this build of llama.cpp sees, in its own order, with the memory free right now."""
    start()
    get = _ggml("ggml_backend_dev_get", ctypes.c_void_p, ctypes.c_size_t)
    name = _ggml("ggml_backend_dev_name", ctypes.c_char_p, ctypes.c_void_p)
    description = _ggml("ggml_backend_dev_description", ctypes.c_char_p, ctypes.c_void_p)
    kind = _ggml("ggml_backend_dev_type", ctypes.c_int, ctypes.c_void_p)
    size = ctypes.POINTER(ctypes.c_size_t)
    memory = _ggml("ggml_backend_dev_memory", None, ctypes.c_void_p, size, size)
    found = []
    for index in range(_ggml("ggml_backend_dev_count", ctypes.c_size_t)()):
        device = get(index)
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        memory(device, ctypes.byref(free), ctypes.byref(total))
        found.append(
            Device(
                name=(name(device) or b"").decode("utf-8", "replace"),
                description=(description(device) or b"").decode("utf-8", "replace"),
                kind=_DEVICE_KINDS.get(kind(device), "accel"),
                free_bytes=free.value,
                total_bytes=total.value,
            )
        )
    return found


@dataclass(frozen=True, slots=True)
class Build:
    """What this llama.cpp can do: its versions and the CPU features it was compiled with."""

    binding: str
    llama_cpp: str
    features: tuple[str, ...]
    gpu_offload: bool
    mmap: bool

    @property
    def broken_amx(self) -> bool:
        """Whether this build has the AMX kernels that crash.

        GCC drops the tile configuration of their first batch as dead stores, and the process ends with a
        segmentation fault (llama.cpp issue 20824; pull request 26954 mends it). No version with the mend is
        known, so every build with AMX is taken for broken.
        """
        return "AMX_INT8" in self.features


@functools.cache
def build() -> Build:
    """Describe the llama.cpp that is installed here."""
    start()
    features = []
    for part in llama_cpp.llama_print_system_info().decode("utf-8", "replace").split("|"):
        key, _, value = part.rpartition(":")[-1].strip().partition(" = ")
        if value.strip() not in ("", "0"):
            features.append(key if value.strip() == "1" else f"{key}={value.strip()}")
    return Build(
        binding=f"llama-cpp-python {llama_cpp.__version__}",
        llama_cpp=llama_cpp.llama_version().decode("utf-8", "replace"),
        features=tuple(features),
        gpu_offload=bool(llama_cpp.llama_supports_gpu_offload()),
        mmap=bool(llama_cpp.llama_supports_mmap()),
    )
