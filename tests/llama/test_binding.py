"""An unsupported llama-cpp-python is named in one sentence, before anything is loaded."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from types import ModuleType

import llama_cpp
import pytest

from rstitch_local.errors import EngineError
from rstitch_local.llama import binding

ROOT = Path(__file__).resolve().parents[2]
# Used where the binding declares them.
OPTIONAL = {"llama_version", "LLAMA_LOAD_MODE_NONE"}


def test_the_list_names_what_the_package_uses() -> None:
    used: set[str] = set()
    for path in (ROOT / "rstitch_local" / "llama").glob("*.py"):
        used |= set(re.findall(r"llama_cpp\.((?:llama|LLAMA|GGML)_\w+)", path.read_text(encoding="utf-8")))
    assert used - OPTIONAL == set(binding.REQUIRED)


def test_the_installed_binding_is_complete() -> None:
    binding.require_complete(llama_cpp)


def test_missing_names_are_reported() -> None:
    old = ModuleType("llama_cpp")
    for name in binding.REQUIRED[2:]:
        setattr(old, name, None)
    old.__version__ = "0.2.90"  # type: ignore[attr-defined]
    with pytest.raises(EngineError) as caught:
        binding.require_complete(old)
    assert caught.value.message == f"llama-cpp-python 0.2.90 lacks {binding.REQUIRED[0]}, {binding.REQUIRED[1]}."
    assert binding.OLDEST_BINDING in caught.value.hint


def test_the_lower_bound_is_that_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert f"llama-cpp-python>={binding.OLDEST_BINDING},<0.4" in project["dependencies"]
