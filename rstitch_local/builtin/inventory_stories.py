"""Stories about the things of one person: events one after the other, forwards and backwards."""

from __future__ import annotations

from rstitch_local.builtin import wording
from rstitch_local.builtin.draft import Draft


def _maybe_distract(draft: Draft) -> None:
    if draft.chance(0.06):
        draft.say(wording.DISTRACT, n=draft.number(3, 40))


def running(draft: Draft) -> None:
    """Add events that change the number of things of one person."""
    things = draft.things
    draft.goal = f"the {things} in the end"
    if draft.chance(0.4):
        k, m = draft.small(), draft.number(3, 60)
        now = draft.compute(f"{k} groups of {m}", k, "*", m)
        draft.say(wording.START_BOXES, k=k, m=m)
    else:
        now = draft.amount()
        draft.say(wording.START, n=now)
    ending = draft.chance(0.35)
    while draft.missing > ending:
        _maybe_distract(draft)
        now = _event(draft, now, draft.missing - ending)
    if ending:
        _ending(draft, now)
    else:
        draft.say(wording.ASK_NOW)


def _event(draft: Draft, now: int, max_steps: int) -> int:
    """Add an event of at most `max_steps` steps and return the new number."""
    kinds = ["more", "fewer", "more", "fewer", "multiply", "double", "halve", "keep"]
    if max_steps >= 2:
        kinds += ["more boxes", "fewer boxes"] * 2
    kind = draft.rng.choice(kinds)
    if kind == "more":
        n = draft.amount()
        draft.say(wording.MORE, n=n)
        return draft.compute(f"{n} more", now, "+", n)
    if kind == "fewer":
        n = draft.amount(min(300, max(now - 1, 6)))
        draft.say(wording.FEWER, n=n)
        return draft.compute(f"{n} fewer", now, "-", n)
    if kind in ("more boxes", "fewer boxes"):
        k, m = draft.small(), draft.number(3, 40)
        draft.say(wording.MORE_BOXES if kind == "more boxes" else wording.FEWER_BOXES, k=k, m=m)
        part = draft.compute(f"{k} groups of {m}", k, "*", m)
        word, op = ("more", "+") if kind == "more boxes" else ("fewer", "-")
        return draft.compute(f"{part} {word}", now, op, part)
    if kind == "multiply":
        k = draft.number(3, 9)
        draft.say(wording.MULTIPLY, k=k)
        return draft.compute(f"{k} times as many", now, "*", k)
    if kind == "double":
        draft.say(wording.DOUBLE)
        return draft.compute("2 times as many", now, "*", 2)
    if kind == "halve":
        draft.say(wording.HALVE)
        return draft.compute("one of 2 parts", now, "/", 2)
    k = draft.divisor(now)
    draft.say(wording.KEEP_ONE, k=k)
    return draft.compute(f"one of {k} parts", now, "/", k)


def _ending(draft: Draft, now: int) -> None:
    """Add a final question that requires one more step."""
    kind = draft.rng.choice(("boxes", "share", "share", "money"))
    if kind == "money":
        k = draft.small()
        draft.goal = "the dollars"
        draft.say(wording.ASK_MONEY, k=k)
        draft.compute(f"{k} dollars each", now, "*", k)
        return
    k = draft.divisor(now)
    if kind == "boxes":
        draft.goal = f"the {draft.boxes}"
        draft.say(wording.ASK_BOXES, k=k)
        draft.compute(f"groups of {k}", now, "/", k)
    else:
        draft.goal = f"the {draft.things} of each friend"
        draft.say(wording.ASK_SHARE, k=k)
        draft.compute(f"one of {k} parts", now, "/", k)


def backwards(draft: Draft) -> None:
    """Add the events and the final number; ask for the initial one."""
    things = draft.things
    draft.goal = f"the {things} at first"
    events = [draft.rng.choice(("more", "fewer")) for _ in range(draft.step_count)]
    amounts = [draft.amount(200) for _ in events]
    draft.say(("{name} has some {things}.", "{name} has a number of {things}."))
    for kind, n in zip(events, amounts, strict=True):
        draft.say(wording.MORE if kind == "more" else wording.FEWER, n=n)
    last = draft.amount()
    now = last
    for kind, n in zip(reversed(events), reversed(amounts), strict=True):
        op, word = ("-", "more") if kind == "more" else ("+", "fewer")
        now = draft.compute(f"before the {n} {word}", now, op, n)
    draft.say(("Now {name} has {n} {things}.", "In the end there are {n} {things}."), n=last)
    draft.say(("How many {things} did {name} have at first?", "How many {things} were there at the beginning?"))
