"""llama.cpp as a library: its log goes to `logging` only, its build and devices are described."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_pair import TinyPair

from rstitch_local.llama import library
from rstitch_local.llama.context import Context
from rstitch_local.llama.weights import Weights

USE = """
import sys
from rstitch_local.llama.context import Context
from rstitch_local.llama.evaluation import TokenSpan, evaluate
from rstitch_local.llama.weights import Weights
from rstitch_local.llama.library import devices
weights = Weights(__import__("pathlib").Path(sys.argv[1]))
context = Context(weights, n_ctx=64)
print(len(list(evaluate(context, [TokenSpan(0, [1, 2, 3])]))), len(devices()) > 0)
"""

REFUSE = """
import pathlib, sys
from rstitch_local.errors import ModelError
from rstitch_local.llama.weights import Weights
try:
    Weights(pathlib.Path(sys.argv[1]))
except ModelError as error:
    print(error.title)
"""


def run_script(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, timeout=60, check=False
    )


def test_log_goes_to_logging_only(
    tiny_pair: TinyPair, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.DEBUG, logger="rstitch.llama"):
        weights = Weights(tiny_pair.slm)
        Context(weights, n_ctx=64).close()
        weights.close()
    assert capfd.readouterr() == ("", "")
    assert any("print_info" in line or "llama_model_loader" in line for line in caplog.messages)
    assert not any(line.strip(".") == "" for line in caplog.messages)


def test_nothing_is_printed_when_the_process_exits_without_closing(tiny_pair: TinyPair) -> None:
    done = run_script(USE, str(tiny_pair.slm))
    assert (done.returncode, done.stdout, done.stderr) == (0, "1 True\n", "")


def test_errors_of_llama_cpp_are_raised_and_not_printed(tmp_path: Path, tiny_pair: TinyPair) -> None:
    unknown = tmp_path / "unknown.gguf"
    unknown.write_bytes(tiny_pair.slm.read_bytes().replace(b"llama", b"xlamx"))
    done = run_script(REFUSE, str(unknown))
    assert (done.returncode, done.stdout, done.stderr) == (0, "Cannot load model\n", "")


def test_log_levels_are_mapped(caplog: pytest.LogCaptureFixture) -> None:
    library.take_errors()
    with caplog.at_level(logging.DEBUG, logger="rstitch.llama"):
        for level, text in ((2, b"loaded\n"), (3, b"odd"), (4, b"broken \xff"), (5, b"...."), (2, None)):
            library._on_log(level, text, None)
    levels = [(record.levelno, record.message) for record in caplog.records]
    assert levels == [(logging.INFO, "loaded"), (logging.WARNING, "odd"), (logging.ERROR, "broken \ufffd")]
    assert library.take_errors() == "broken \ufffd"
    assert library.take_errors() == ""


def test_build_is_described() -> None:
    build = library.build()
    assert build.binding.startswith("llama-cpp-python ")
    assert build.llama_cpp
    assert all(feature and not feature.endswith("=0") for feature in build.features)
    assert build.broken_amx == ("AMX_INT8" in build.features)


def test_cpu_is_a_device() -> None:
    devices = library.devices()
    assert "cpu" in {device.kind for device in devices}
    assert all(0 <= device.free_bytes <= device.total_bytes for device in devices)
    assert all(device.name for device in devices)
