"""llama.cpp as a library: start it, route its log to `logging`, describe its build and devices.

Independent of models. Every other module of this package calls `start()` before its first call of llama.cpp.
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

from rstitch_local.llama.binding import require_complete

require_complete(llama_cpp)

log = logging.getLogger("rstitch.llama")
# Without a handler Python prints warnings to stderr, in the middle of a chat.
log.addHandler(logging.NullHandler())

_LEVELS = {2: logging.INFO, 3: logging.WARNING, 4: logging.ERROR}
_LEVEL_ERROR = 4
_recent_errors: deque[str] = deque(maxlen=8)


def _on_log(level: int, text: bytes | None, _user_data: object) -> None:
    line = (text or b"").decode("utf-8", "replace").strip()
    # A row of dots is llama.cpp's progress bar; the progress callback reports the same.
    if not line.strip("."):
        return
    if level == _LEVEL_ERROR:
        _recent_errors.append(line)
    log.log(_LEVELS.get(level, logging.DEBUG), "%s", line)


# llama.cpp keeps the pointer: a callback that was garbage-collected would crash the process.
_log_callback = llama_cpp.llama_log_callback(_on_log)


@functools.cache
def start() -> None:
    """Start llama.cpp's backends and redirect its log; later calls do nothing."""
    llama_cpp.llama_log_set(_log_callback, ctypes.c_void_p(0))
    llama_cpp.llama_backend_init()


def take_errors() -> str:
    """Return the errors llama.cpp logged since the last call, on one line: its reasons for a failure."""
    text = "; ".join(_recent_errors)
    _recent_errors.clear()
    return text


@contextlib.contextmanager
def held_interrupts() -> Iterator[Callable[[], bool]]:
    """Delay Ctrl-C during a call of llama.cpp that calls back into Python.

    An exception cannot pass through C code: raised in a callback it would be printed and lost.

    Yields:
        A function that returns whether Ctrl-C was pressed, so that a callback can end the call early.
    """
    previous = signal.getsignal(signal.SIGINT)
    # Only the main thread runs Python's signal handlers; None is a handler that was installed by C code.
    if threading.current_thread() is not threading.main_thread() or previous is None:
        yield lambda: False
        return
    pressed = False

    def remember(_number: int, _frame: object) -> None:
        nonlocal pressed
        pressed = True

    signal.signal(signal.SIGINT, remember)
    try:
        yield lambda: pressed
    finally:
        signal.signal(signal.SIGINT, previous)
        if pressed:
            signal.raise_signal(signal.SIGINT)


@dataclass(frozen=True, slots=True)
class Device:
    """A device llama.cpp can compute on; `kind` is cpu, gpu, igpu or accel."""

    name: str
    description: str
    kind: str
    free_bytes: int
    total_bytes: int


_DEVICE_KINDS = {0: "cpu", 1: "gpu", 2: "igpu", 3: "accel"}


def _ggml(name: str, restype: Any, *argtypes: Any) -> Any:
    """Return a function of ggml, which llama-cpp-python loads but does not declare."""
    # Indexing, unlike attribute access, returns a new object: prototypes declared elsewhere are not changed.
    function = libggml[name]
    function.restype = restype
    function.argtypes = list(argtypes)
    return function


def devices() -> list[Device]:
    """Return the devices of this build of llama.cpp, in its order, with their free memory."""
    start()
    get = _ggml("ggml_backend_dev_get", ctypes.c_void_p, ctypes.c_size_t)
    name = _ggml("ggml_backend_dev_name", ctypes.c_char_p, ctypes.c_void_p)
    description = _ggml("ggml_backend_dev_description", ctypes.c_char_p, ctypes.c_void_p)
    kind = _ggml("ggml_backend_dev_type", ctypes.c_int, ctypes.c_void_p)
    size = ctypes.POINTER(ctypes.c_size_t)
    memory = _ggml("ggml_backend_dev_memory", None, ctypes.c_void_p, size, size)
    result = []
    for index in range(_ggml("ggml_backend_dev_count", ctypes.c_size_t)()):
        device = get(index)
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        memory(device, ctypes.byref(free), ctypes.byref(total))
        result.append(
            Device(
                name=(name(device) or b"").decode("utf-8", "replace"),
                description=(description(device) or b"").decode("utf-8", "replace"),
                kind=_DEVICE_KINDS.get(kind(device), "accel"),
                free_bytes=free.value,
                total_bytes=total.value,
            )
        )
    return result


@dataclass(frozen=True, slots=True)
class Build:
    """The versions of the installed llama.cpp, its compiled-in CPU features and its capabilities."""

    binding: str
    llama_cpp: str
    features: tuple[str, ...]
    gpu_offload: bool
    mmap: bool

    @property
    def broken_amx(self) -> bool:
        """Whether this build has the AMX kernels that crash.

        GCC removes the tile configuration of their first batch as dead stores, which causes a segmentation fault
        (llama.cpp issue 20824, fixed by pull request 26954). No release with the fix is known, so every build with
        AMX counts as broken.
        """
        return "AMX_INT8" in self.features


@functools.cache
def build() -> Build:
    """Describe the installed llama.cpp."""
    start()
    features = []
    for part in llama_cpp.llama_print_system_info().decode("utf-8", "replace").split("|"):
        key, _, value = part.rpartition(":")[-1].strip().partition(" = ")
        if value.strip() not in ("", "0"):
            features.append(key if value.strip() == "1" else f"{key}={value.strip()}")
    return Build(
        binding=f"llama-cpp-python {llama_cpp.__version__}",
        # Bindings before 0.3.35 do not declare it.
        llama_cpp=llama_cpp.llama_version().decode("utf-8", "replace")
        if hasattr(llama_cpp, "llama_version")
        else "unknown",
        features=tuple(features),
        gpu_offload=bool(llama_cpp.llama_supports_gpu_offload()),
        mmap=bool(llama_cpp.llama_supports_mmap()),
    )
