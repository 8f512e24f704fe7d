"""A sandbox for chat templates with limits of time and memory.

A template is a program from an untrusted file. jinja2's sandbox keeps it from leaving its own data, but not from
looping, calling itself or building large values. Here a value that a template makes has a limited size, nested values
counted as often as they occur, so that no single operation takes long; and loops, calls and filters look at the clock.
"""

from __future__ import annotations

import contextlib
import functools
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from typing import Any

from jinja2 import nodes
from jinja2.filters import make_attrgetter
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace, pass_environment
from jinja2.visitor import NodeTransformer

TIME_LIMIT_S = 5.0
SIZE_LIMIT = 8_000_000
"""Characters of a text; an item of a list counts as some more."""

_ITEM_SIZE = 8
_BITS_LIMIT = 1 << 16
_LARGEST_ARGUMENT = 100_000
"""Largest width, number of columns and the like."""

_SLOW_FILTERS = ("pprint", "striptags", "urlize", "wordwrap")
"""Filters whose time is not proportional to the text, and that no prompt needs."""

_ENCODINGS = ("utf-8", "utf8", "ascii", "latin-1")
_LONG_NUMBER = re.compile(r"\d{6}")

_size_limit: ContextVar[int] = ContextVar("size_limit", default=SIZE_LIMIT)
_deadline: ContextVar[float | None] = ContextVar("deadline", default=None)


class TemplateLimitError(Exception):
    """A template exceeded a limit; the text completes "the template ..."."""


@contextlib.contextmanager
def template_limits(data: object) -> Iterator[None]:
    """Limit what is rendered in the block: its time, and its values to some times the size of `data`."""
    size = _size_limit.set(1 << 62)
    _size_limit.set(SIZE_LIMIT + 4 * size_of(data))
    deadline = _deadline.set(time.monotonic() + TIME_LIMIT_S)
    try:
        yield
    finally:
        _deadline.reset(deadline)
        _size_limit.reset(size)


def size_of(value: object) -> int:
    """Return the size of a value, nested values counted as often as they occur.

    Raises:
        TemplateLimitError: it exceeds the limit.
    """
    if isinstance(value, str):
        return _limited(len(value))
    total, waiting = 0, [(value, 1)]
    while waiting:
        item, depth = waiting.pop()
        if isinstance(item, str | bytes):
            total += len(item)
        elif isinstance(item, range):
            total += len(item) * _ITEM_SIZE
        elif isinstance(item, int):
            total += item.bit_length() // 8
            if item.bit_length() > _BITS_LIMIT:
                raise TemplateLimitError("computes with too large numbers")
        elif isinstance(item, Mapping):
            total = _limited(total + len(item) * (_ITEM_SIZE + depth))
            waiting += [(part, depth + 1) for pair in item.items() for part in pair]
        elif isinstance(item, list | tuple | set | frozenset):
            # The depth counts for JSON, which is indented by it.
            total = _limited(total + len(item) * (_ITEM_SIZE + depth))
            waiting += [(part, depth + 1) for part in item]
    return _limited(total)


def _limited(size: float) -> int:
    if size > _size_limit.get():
        raise TemplateLimitError("makes too large texts or lists")
    return int(size)


def _step() -> None:
    deadline = _deadline.get()
    if deadline is not None and time.monotonic() > deadline:
        raise TemplateLimitError(f"was not rendered within {TIME_LIMIT_S:g} seconds")


class LimitedEnvironment(ImmutableSandboxedEnvironment):
    """jinja2's immutable sandbox with limits, which hold inside of `template_limits`."""

    intercepted_binops = frozenset(("+", "*", "**", "%"))

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.filters["sum"] = _sum
        for name, function in self.filters.items():
            self.filters[name] = _limited_filter(name, function)
        for name in _SLOW_FILTERS:
            del self.filters[name]
        del self.globals["lipsum"]
        self.globals["namespace"] = _Namespace

    def _generate(self, source: nodes.Template, *arguments: Any, **options: Any) -> str:
        """Compile a template; jinja2's hook for changing it before."""
        return super()._generate(_Limiter().visit(source).set_environment(self), *arguments, **options)

    def concat(self, parts: Iterable[str]) -> str:
        """Join the texts of a template, a macro or a block."""
        size, texts = 0, []
        for part in parts:
            _step()
            size = _limited(size + len(part))
            texts.append(part)
        return "".join(texts)

    def concatenated(self, *values: object) -> str:
        """Return the result of the operator ~."""
        _limited(sum(map(size_of, values)))
        return "".join(map(str, values))

    def checked(self, value: Any) -> Any:
        """Return a value after checking its size."""
        size_of(value)
        return value

    def step(self) -> None:
        """Look at the clock; called in every loop."""
        _step()

    def call_binop(self, _context: Context | None, operator: str, left: Any, right: Any) -> Any:
        """Compute an operator whose result may be much larger than its operands."""
        _step()
        sizes = size_of(left), size_of(right)
        if operator == "+":
            _limited(sum(sizes))
        elif operator == "*":
            for factor, value in ((left, sizes[1]), (right, sizes[0])):
                if isinstance(factor, int) and factor > 0:
                    _limited(factor * value)
        elif operator == "**":
            if isinstance(left, int) and isinstance(right, int) and left.bit_length() * abs(right) > _BITS_LIMIT:
                raise TemplateLimitError("computes with too large numbers")
        elif isinstance(left, str | bytes):
            _check_format(str(left), right)
        return self.checked(self.binop_table[operator](left, right))

    def call(self, context: Context, function: Any, /, *arguments: Any, **options: Any) -> Any:
        """Call a function, a method or a macro."""
        _step()
        receiver = getattr(function, "__self__", None)
        if receiver is self:
            # jinja2 passes its variables as well.
            return function(*arguments)
        if isinstance(receiver, str | bytes | int):
            own = {name: value for name, value in options.items() if name not in ("_loop_vars", "_block_vars")}
            arguments = _checked_arguments(function.__name__, receiver, arguments, own)
        result = self.checked(super().call(context, function, *arguments, **options))
        if isinstance(receiver, list):
            size_of(receiver)
        return result

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """Return a replacement of `str.format` that checks the size of the text."""
        replacement = super().wrap_str_format(value)
        if replacement is None:
            return None

        def limited(*arguments: Any, **options: Any) -> str:
            _check_format(value.__self__, (*arguments, options))
            return str(self.checked(replacement(*arguments, **options)))

        return limited


class _Namespace(Namespace):
    def __repr__(self) -> str:
        # Namespaces that contain each other would be printed without end.
        return "<Namespace>"


class _Limiter(NodeTransformer):
    """Adds calls of the environment's checks to a template."""

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802 (jinja2's name)
        self.generic_visit(node)
        node.body.insert(0, nodes.ExprStmt(_call("step"), lineno=node.lineno))
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _call("concatenated", *node.nodes, lineno=node.lineno)

    def visit_List(self, node: nodes.List) -> nodes.Node:  # noqa: N802
        return self._checked(node)

    def visit_Dict(self, node: nodes.Dict) -> nodes.Node:  # noqa: N802
        return self._checked(node)

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Node:  # noqa: N802
        return self._checked(node) if node.ctx == "load" else node

    def _checked(self, node: nodes.Expr) -> nodes.Node:
        self.generic_visit(node)
        return _call("checked", node, lineno=node.lineno)


def _call(name: str, *arguments: nodes.Expr, lineno: int = 1) -> nodes.Call:
    return nodes.Call(nodes.EnvironmentAttribute(name), list(arguments), [], None, None, lineno=lineno)


def _limited_filter(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a filter that checks its arguments and its result; it takes the same leading arguments from jinja2."""
    first = 0 if getattr(function, "jinja_pass_arg", None) is None else 1

    @functools.wraps(function)
    def limited(*arguments: Any, **options: Any) -> Any:
        _step()
        passed, own = arguments[:first], arguments[first:]
        own = _checked_filter(name, own, options)
        result = function(*passed, *own, **options)
        size_of(result)
        return result

    return limited


def _checked_filter(name: str, arguments: tuple[Any, ...], options: Mapping[str, Any]) -> tuple[Any, ...]:
    """Check the arguments of a filter; return them, iterators read."""
    value, *others = arguments
    if name in ("list", "join", "sum", "sort", "unique", "reverse", "batch", "slice", "groupby", "tojson", "length"):
        value = _read(value)
    size = size_of(value)
    for argument in (*others, *options.values()):
        size_of(argument)
        if name != "default" and isinstance(argument, int) and abs(argument) > _LARGEST_ARGUMENT:
            raise TemplateLimitError(f"passes {argument} to the filter {name}")
    texts = [argument for argument in (*others, *options.values()) if isinstance(argument, str)]
    longest = max(map(len, texts), default=0)
    if name == "join":
        _limited(size + len(value) * longest)
    elif name == "replace" and len(others) >= 2:
        _limited(size + (str(value).count(str(others[0])) + 1) * longest)
    elif name in ("indent", "tojson", "truncate", "xmlattr"):
        numbers = [argument for argument in (*others, *options.values()) if isinstance(argument, int)]
        lines = str(value).count("\n") + 1 if name == "indent" else 64
        _limited(size + lines * max(longest, *numbers, 0))
    elif name == "format":
        _check_format(str(value), (*others, dict(options)))
    elif name == "round" and any(isinstance(each, int) and abs(each) > 300 for each in (*others, *options.values())):
        raise TemplateLimitError("rounds to too many digits")
    return (value, *others)


def _read(value: Any) -> Any:
    """Return an iterator as a list; other values unchanged."""
    if not isinstance(value, Iterator):
        return value
    items, size = [], 0
    for item in value:
        _step()
        size = _limited(size + _ITEM_SIZE + size_of(item))
        items.append(item)
    return items


def _checked_arguments(
    name: str, receiver: str | bytes | int, arguments: tuple[Any, ...], options: Mapping[str, Any]
) -> tuple[Any, ...]:
    """Check the arguments of a method of a text or a number; return them, iterators read."""
    arguments = tuple(map(_read, arguments))
    size = size_of(receiver)
    every = [*arguments, *options.values()]
    for argument in every:
        size_of(argument)
        if isinstance(argument, int) and abs(argument) > _LARGEST_ARGUMENT:
            raise TemplateLimitError(f"passes {argument} to the method {name}")
    if name in ("encode", "decode") and any(str(each).lower() not in _ENCODINGS for each in every[:1]):
        raise TemplateLimitError(f"uses the encoding {every[0]}")
    if name in ("striptags", "join", "replace", "expandtabs", "translate"):
        _check_growth(name, receiver, size, every)
    return arguments


def _check_growth(name: str, receiver: Any, size: int, arguments: list[Any]) -> None:
    if name == "striptags":
        raise TemplateLimitError("strips tags")
    if name == "join" and arguments:
        _limited(size_of(arguments[0]) + size * len(arguments[0]))
    elif name == "replace" and len(arguments) >= 2:
        _limited(size + receiver.count(arguments[0]) * len(arguments[1]))
    elif name == "expandtabs":
        _limited(size * max([8, *arguments]))
    elif name == "translate" and arguments and isinstance(arguments[0], Mapping):
        longest = max((len(value) for value in arguments[0].values() if isinstance(value, str)), default=1)
        _limited(size * max(1, longest))


def _check_format(pattern: str, arguments: object) -> None:
    """Check a format string, whose fields may be wide and may repeat an argument."""
    if _LONG_NUMBER.search(pattern) or "*" in pattern or re.search(r"\{[^{}]*\{", pattern):
        raise TemplateLimitError("formats texts of a computed or large width")
    fields = pattern.count("%") + pattern.count("{") + 1
    _limited(len(pattern) + fields * max(size_of(arguments), _LARGEST_ARGUMENT // 10))


@pass_environment
def _sum(environment: LimitedEnvironment, iterable: Iterable[Any], attribute: Any = None, start: Any = 0) -> Any:
    """Add up items one by one; jinja2's own filter would copy a list for every item."""
    get: Callable[[Any], Any] = make_attrgetter(environment, attribute) if attribute is not None else lambda item: item
    for item in iterable:
        start = environment.call_binop(None, "+", start, get(item))
    return start
