"""How routers are spelled: `entropy:0.02` and the like, read, written in one way, and put right where misspelled.

Knows the routers' names and numbers; nothing of what their rules do.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.router import Router
from rstitch_local.decoding.speculative import SpeculativeRouter
from rstitch_local.errors import UsageError
from rstitch_local.routing.learned import BUILT_IN, LearnedRouter, policy_path
from rstitch_local.routing.rules import (
    ConfidenceRouter,
    EntropyRouter,
    FixedRouter,
    HysteresisRouter,
    MarginRouter,
    MomentumRouter,
    OneTokenRouter,
    RandomRouter,
    StayRouter,
    WindowRouter,
)


class Number(NamedTuple):
    """A number of a spec: its name in help texts, its bounds (both allowed), and whether it is a whole one."""

    name: str
    low: float = -math.inf
    high: float = math.inf
    whole: bool = False

    @property
    def wanted(self) -> str:
        """What it has to be, in words."""
        kind = "a whole number" if self.whole else "a number"
        return kind if math.isinf(self.high) else f"{kind} from {self.low:g} to {self.high:,g}"

    def read(self, text: str) -> float | None:
        """The number a text spells; None where it is none or out of bounds."""
        try:
            value = int(text) if self.whole else float(text)
        except ValueError:
            return None
        # Zero has one spelling.
        return value + 0 if self.low <= value <= self.high else None


@dataclass(frozen=True, slots=True)
class Form:
    """How one kind of router is spelled: name and numbers; `make` takes the numbers and a seed.

    optional: a further number, which is as good as 0 where it is left out.
    """

    name: str
    numbers: tuple[Number, ...]
    usual: tuple[str, ...]
    make: Callable[[Sequence[float], int], Router]
    optional: Number | None = None

    @property
    def spelling(self) -> str:
        """Such as `window:K:TAU`."""
        needed = ":".join((self.name, *(number.name for number in self.numbers)))
        return f"{needed}[:{self.optional.name}]" if self.optional else needed

    def nearest(self, texts: Sequence[str]) -> str:
        """A valid spec with as many of the given numbers as can be read in their places, and usual ones elsewhere."""
        given = [*texts, *[""] * len(self.numbers)]
        kept = [
            text.strip() if number.read(text) is not None else usual
            for number, usual, text in zip(self.numbers, self.usual, given, strict=False)
        ]
        try:
            self.read(kept)
        except ValueError:
            # They are right one by one and not together.
            kept = list(self.usual)
        return ":".join((self.name, *kept))

    def read(self, texts: Sequence[str]) -> list[float]:
        """The numbers of a spec; raises ValueError with the end of a sentence that says what is wrong with them."""
        numbers = self.numbers
        if self.optional and len(texts) > len(numbers):
            numbers = (*numbers, self.optional)
        if len(texts) != len(numbers):
            takes = "one or two numbers" if self.optional else ("no number", "one number", "two numbers")[len(numbers)]
            raise ValueError(f"does not fit: {self.name} takes {takes}")
        values = []
        for number, text in zip(numbers, texts, strict=True):
            value = number.read(text)
            if value is None:
                raise ValueError(f"needs {number.wanted} for {number.name}")
            values.append(value)
        if self.name == "hysteresis" and values[1] > values[0]:
            raise ValueError("has a LOW above its HIGH")
        return values[: len(self.numbers)] if values and self.optional and values[-1] == 0 else values


_TAU = Number("TAU")
_TOKENS_HIGH = 10_000
# What a batch has room for on a CPU; llama.cpp's own programs draft 3 tokens unless told otherwise.
_DRAFT_HIGH = 32

_ALL = (
    Form("entropy", (_TAU,), ("0.02",), lambda n, _: EntropyRouter(n[0])),
    Form(
        "window",
        (Number("K", 1, _TOKENS_HIGH, whole=True), _TAU),
        ("8", "0.003"),
        lambda n, _: WindowRouter(int(n[0]), n[1]),
    ),
    Form("hysteresis", (Number("HIGH"), Number("LOW")), ("0.03", "0.01"), lambda n, _: HysteresisRouter(n[0], n[1])),
    Form(
        # At 1 the first entropy would decide for ever.
        "momentum",
        (Number("BETA", 0, 0.999), _TAU),
        ("0.7", "0.01"),
        lambda n, _: MomentumRouter(n[0], n[1]),
    ),
    Form(
        "stay",
        (Number("N", 1, _TOKENS_HIGH, whole=True), _TAU),
        ("4", "0.02"),
        lambda n, _: StayRouter(int(n[0]), n[1]),
    ),
    Form("one", (_TAU,), ("0.02",), lambda n, _: OneTokenRouter(n[0])),
    Form("margin", (Number("M", 0, 1),), ("0.3",), lambda n, _: MarginRouter(n[0])),
    Form("confidence", (Number("T", 0, 1),), ("0.6",), lambda n, _: ConfidenceRouter(n[0])),
    Form("random", (Number("P", 0, 1),), ("0.2",), lambda n, seed: RandomRouter(n[0], seed)),
    Form(
        "spec",
        (Number("N", 1, _DRAFT_HIGH, whole=True),),
        ("4",),
        lambda n, _: SpeculativeRouter(int(n[0]), *n[1:]),
        Number("P", 0, 1),
    ),
    Form("slm", (), (), lambda _, __: FixedRouter(Role.SLM)),
    Form("llm", (), (), lambda _, __: FixedRouter(Role.LLM)),
)
FORMS = {form.name: form for form in _ALL}
"""Every kind of router by its name."""
DEFAULT_SPEC = "entropy:0.02"
LEARNED = "learned"
"""The name of the one router that is spelled with the path of a file: `learned:PATH`, or `learned:demo`."""
_SPELLINGS = ", ".join([*(form.spelling for form in _ALL), f"{LEARNED}:PATH or {LEARNED}:{BUILT_IN}"])


def router_from_spec(spec: str, *, seed: int = 0) -> Router:
    """The router a short text names, such as `entropy:0.02`.

    Args:
        spec: a name and its numbers, as in `FORMS`; a bare `entropy` has tau 0.02.
        seed: for the random router.

    Raises:
        UsageError: no such router, or a number is missing, too many, or out of range; the hint has the nearest spec.
    """
    place = _learned(spec)
    if place is not None:
        return LearnedRouter(place)
    form, numbers = _parse(spec)
    return form.make(numbers, seed)


def one_spelling(spec: str) -> str:
    """The one way to write a router, so that `entropy:.020` can go on with what `entropy:0.02` began.

    Raises:
        UsageError: as `router_from_spec`.
    """
    place = _learned(spec)
    if place is not None:
        return f"{LEARNED}:{place}"
    form, numbers = _parse(spec)
    return ":".join((form.name, *(repr(number) for number in numbers)))


def usable_spec(spec: str) -> str:
    """The same, for a router that is about to be used: a learned one's file is read as well.

    Raises:
        UsageError: as `router_from_spec`.
        ModelError: the file is missing or broken.
    """
    router = router_from_spec(spec)
    if isinstance(router, LearnedRouter):
        router.load()
    return one_spelling(spec)


def absolute_spec(spec: str) -> str:
    """The same router, found from any folder: the path of a learned one in full.

    Raises:
        UsageError: as `router_from_spec`.
    """
    place = _learned(spec)
    return spec if place is None or place == BUILT_IN else f"{LEARNED}:{policy_path(place).resolve()}"


def with_tau(spec: str, tau: float) -> str:
    """The same rule at another tau; where the rule has none, the entropy rule at that tau.

    Raises:
        UsageError: as `router_from_spec`.
    """
    if _learned(spec) is not None:
        return f"entropy:{tau:g}"
    form, _ = _parse(spec)
    if _TAU not in form.numbers:
        return f"entropy:{tau:g}"
    # All but the last stay as they were written.
    return f"{one_spelling(spec).rpartition(':')[0]}:{tau:g}"


def _learned(spec: str) -> str | None:
    """What stands behind `learned:`, which may hold colons and is not read as numbers; None for other routers."""
    name, colon, place = spec.strip().partition(":")
    if name != LEARNED:
        return None
    if not (colon and place.strip()):
        raise UsageError(
            "No such router", f"'{spec}' names no file.", f"Use {LEARNED}:PATH, or {LEARNED}:{BUILT_IN} with that pair."
        )
    return place.strip()


def _parse(spec: str) -> tuple[Form, list[float]]:
    """The kind of a router and its numbers."""
    spec = spec.strip()
    name, *texts = (DEFAULT_SPEC if spec == "entropy" else spec).split(":")
    form = FORMS.get(name)
    if form is None:
        raise UsageError("No such router", f"'{spec}' names no router.", _correction(name, texts))
    try:
        return form, form.read(texts)
    except ValueError as error:
        example = f", for example {form.nearest(texts)}" if form.numbers else ""
        raise UsageError("No such router", f"'{spec}' {error}.", f"Use {form.spelling}{example}.") from None


def _correction(name: str, texts: Sequence[str]) -> str:
    """What may have been meant by a name that is none; all forms where nothing is near."""
    if _TAU.read(name) is not None:
        return f"Did you mean {FORMS['entropy'].nearest([name])}?"
    name = name.strip().lower()
    if difflib.get_close_matches(name, [LEARNED], n=1):
        return f"Did you mean {LEARNED}:{':'.join(texts) or BUILT_IN}?"
    near = difflib.get_close_matches(name, FORMS, n=1) or [each for each in FORMS if name and each.startswith(name)]
    return f"Did you mean {FORMS[near[0]].nearest(texts)}?" if near else f"Use {_SPELLINGS}."
