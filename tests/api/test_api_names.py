"""The public names of the package, and the signatures of methods."""

from __future__ import annotations

import ast
import importlib
import inspect
from pathlib import Path
from typing import get_type_hints

import pytest

import rstitch_local
from rstitch_local import (
    Pair,
)
from rstitch_local.engine.options import AnswerOptions


def test_every_public_name_can_be_imported() -> None:
    names = rstitch_local.__all__
    assert names == sorted(names)
    assert dir(rstitch_local) == names
    for name in names:
        assert getattr(rstitch_local, name) is not None
    assert {"__version__", *rstitch_local._MODULES} == set(names)


def test_type_checkers_see_every_public_name() -> None:
    tree = ast.parse(Path(str(rstitch_local.__file__)).read_text(encoding="utf-8"))
    typed = next(node for node in tree.body if isinstance(node, ast.If))
    found = {alias.name: node.module for node in typed.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert found == {name: f"rstitch_local.{module}" for name, module in rstitch_local._MODULES.items()}
    for name, module in found.items():
        assert getattr(importlib.import_module(str(module)), name) is getattr(rstitch_local, name)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = rstitch_local.nothing


def test_methods_that_forward_options_list_them_all() -> None:
    chat = inspect.signature(Pair.chat).parameters
    keywords = {name for name, parameter in chat.items() if parameter.kind is parameter.KEYWORD_ONLY}
    assert set(AnswerOptions.__annotations__) == keywords - {"resume_steps", "tag"}
    ask = inspect.signature(Pair.ask).parameters
    assert {name for name in ask if name not in ("self", "question")} == keywords | {"system"}
    for name in keywords:
        assert ask[name] == chat[name]
    hints, chat_hints = get_type_hints(AnswerOptions), get_type_hints(Pair.chat)
    assert {name: chat_hints[name] for name in hints} == hints
    for method in (Pair.generate, Pair.generate_many, Pair.astream):
        shown = inspect.signature(method).parameters
        assert set(AnswerOptions.__annotations__) <= set(shown)
        assert "options" not in shown
        assert all(shown[name] == chat[name] for name in AnswerOptions.__annotations__)
