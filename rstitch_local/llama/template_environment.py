"""The jinja environment of chat templates: what transformers offers them, in a sandbox.

A template comes from an untrusted file. It can read the conversation and compute text, and change nothing but lists
and namespaces that it made itself.
"""

from __future__ import annotations

import datetime
import json
import re
from typing import Any, NoReturn

import jinja2
from jinja2.ext import Extension
from jinja2.nodes import Node
from jinja2.parser import Parser

from rstitch_local.llama.template_limits import LimitedEnvironment

STAND_INS = range(0xD800, 0xE000)
"""Code points that text in UTF-8 cannot contain (surrogates). Filters pass them on like letters."""

_NOT_ASCII = re.compile(f"[^\x00-\x7f{chr(STAND_INS[0])}-{chr(STAND_INS[-1])}]")


class GivenList(list[Any]):
    """A list of the conversation, which a template may read but not change."""


def template_environment() -> jinja2.Environment:
    """Return an environment that compiles chat templates."""
    environment = _Sandbox(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols", _GenerationBlock]
    )
    environment.filters["tojson"] = to_json
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = _strftime_now
    return environment


class _Sandbox(LimitedEnvironment):
    """The sandbox with limits, in which a template may use a list that it made itself as a queue."""

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        # Kimi K2 numbers tool calls with such a queue.
        return (type(obj) is list and attr in ("append", "pop")) or super().is_safe_attribute(obj, attr, value)


class _GenerationBlock(Extension):
    """`{% generation %}` marks the text to train on; when a prompt is rendered, its body is rendered as it is."""

    tags = {"generation"}  # noqa: RUF012 (jinja2 declares it so)

    def parse(self, parser: Parser) -> list[Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Return a value as JSON, as transformers does: without the HTML escapes of jinja's own filter."""
    text = json.dumps(value, ensure_ascii=False, indent=indent, separators=separators, sort_keys=sort_keys)
    # Stand-ins stay: the letters that they stand for are ASCII.
    return _NOT_ASCII.sub(lambda match: json.dumps(match[0])[1:-1], text) if ensure_ascii else text


def _raise_exception(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


def _strftime_now(pattern: str) -> str:
    return datetime.datetime.now().strftime(pattern)
