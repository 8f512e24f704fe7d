"""The kinds of stories; each adds its sentences and its steps to a draft.

The things of one person forwards and backwards (inventory_stories), comparisons of people, work at a rate, shopping,
and seats in rows. The label of a step depends on the kind of event only, not on random choices.
"""

from __future__ import annotations

from collections.abc import Callable

from rstitch_local.builtin import wording
from rstitch_local.builtin.draft import Draft, UnsuitableError
from rstitch_local.builtin.inventory_stories import backwards, running

WORKS = (
    ("reads", "pages", "day", "days"), ("bakes", "rolls", "hour", "hours"), ("picks", "berries", "minute", "minutes"),
    ("earns", "dollars", "hour", "hours"), ("saves", "dollars", "week", "weeks"), ("folds", "boxes", "hour", "hours"),
    ("paints", "tiles", "day", "days"), ("walks", "miles", "week", "weeks"), ("writes", "lines", "day", "days"),
)  # fmt: skip
HALLS = (
    ("hall", "row", "rows", "seats"), ("garden", "row", "rows", "trees"), ("school", "class", "classes", "pupils"),
    ("train", "car", "cars", "places"), ("hotel", "floor", "floors", "rooms"), ("shop", "shelf", "shelves", "bottles"),
)  # fmt: skip
GOODS = ("pen", "book", "lamp", "shirt", "ball", "cup", "hat", "bag", "toy", "cake", "plant", "chair")


def tell(draft: Draft) -> None:
    """Add a story of a random kind."""
    kinds: list[tuple[Callable[[Draft], None], int]] = [
        (running, 40), (backwards, 8), (comparison, 20), (rate, 14), (shopping, 10), (hall, 8),
    ]  # fmt: skip
    kind = draft.rng.choices([k for k, _ in kinds], [w for _, w in kinds])[0]
    kind(draft)


def bare(draft: Draft) -> None:
    """Add a single operation in words or symbols."""
    op = draft.rng.choice("+-*/")
    if op in "+-":
        left, right = draft.number(2, 900), draft.number(1, 500)
    else:
        right = draft.small()
        left = draft.number(2, 999 // right)
        left = left * right if op == "/" else left
    draft.compute("the result", left, op, right)
    spoken = {"+": "plus", "-": "minus", "*": "times", "/": "divided by"}[op]
    sign = draft.rng.choice((op, f" {op} ", f" {spoken} "))
    draft.sentences.append(
        draft.rng.choice(("What is {}?", "How much is {}?", "Compute {}.")).format(f"{left}{sign}{right}")
    )
    draft.goal = "the result"


def _relation(draft: Draft, who: str, of: str, base: int, swap: bool) -> tuple[str, int]:
    """Return a sentence that relates the number of `who` to that of `of`, and the new number; `swap` inverts it."""
    things = draft.things
    kind = draft.rng.choice(("more", "fewer", "times", "half"))
    if kind == "more":
        n = draft.amount(200)
        text = f"{of} has {n} fewer {things} than {who}." if swap else f"{who} has {n} more {things} than {of}."
        return text, draft.compute(f"{who} has {n} more than {of}", base, "+", n)
    if kind == "fewer":
        n = draft.amount(max(min(200, base - 1), 6))
        text = f"{of} has {n} more {things} than {who}." if swap else f"{who} has {n} fewer {things} than {of}."
        return text, draft.compute(f"{who} has {n} fewer than {of}", base, "-", n)
    if kind == "times":
        k = draft.number(2, 6)
        text = f"{who} has {wording.TIMES_WORDS[k]} as many {things} as {of}."
        return text, draft.compute(f"{who} has {k} times as many as {of}", base, "*", k)
    text = f"{who} has half as many {things} as {of}."
    return text, draft.compute(f"{who} has half as many as {of}", base, "/", 2)


def comparison(draft: Draft) -> None:
    """Compare two or three people in a chain; ask for their sum or difference, sometimes divided."""
    names = [draft.name, draft.friend, draft.third]
    things = draft.things
    share = draft.step_count >= 3 and draft.chance(0.3)
    inner = draft.step_count - share
    # A sum of p people takes p-1 relations and p-1 additions; a difference of the last two takes one step.
    people = 3 if inner >= 3 and draft.chance(0.8) else 2
    difference = not share and draft.chance(0.5)
    if (people - 1) + (1 if difference else people - 1) > inner:
        raise UnsuitableError
    first = draft.amount(200)
    amounts, sentences = [first], [f"{names[0]} has {first} {things}."]
    for i in range(1, people):
        text, amount = _relation(draft, names[i], names[i - 1], amounts[-1], draft.chance(0.3))
        sentences.append(text)
        amounts.append(amount)
    while draft.missing > share + (1 if difference else people - 1):
        # Fill up with events of the last person.
        gains = draft.chance(0.5)
        n = draft.amount(100)
        sentences.append(f"Then {names[people - 1]} {'finds' if gains else 'loses'} {n} {things}.")
        word, op = ("more", "+") if gains else ("fewer", "-")
        amounts[-1] = draft.compute(f"{n} {word} for {names[people - 1]}", amounts[-1], op, n)
    if people - 1 == len(sentences) - 1 and draft.chance(0.3):
        sentences.reverse()
    draft.sentences += sentences
    if difference:
        _ask_difference(draft, names[people - 2 : people], amounts[-2:])
        return
    total = amounts[0]
    for i in range(1, people):
        total = draft.compute("together" if i == people - 1 else f"{names[0]} and {names[1]}", total, "+", amounts[i])
    crowd = "both" if people == 2 else "all three"
    if share:
        k = draft.divisor(total)
        draft.goal = f"the {things} of each child"
        draft.sentences.append(
            f"They put {'theirs' if people == 2 else 'everything'} together and share equally among {k} children. "
            f"How many {things} does each child get?"
        )
        draft.compute(f"one of {k} parts", total, "/", k)
    else:
        draft.goal = f"the {things} together"
        draft.sentences.append(f"How many {things} do {crowd} have together?")


def _ask_difference(draft: Draft, names: list[str], amounts: list[int]) -> None:
    (small, large) = sorted(zip(amounts, names, strict=True))
    draft.goal = "the difference"
    draft.compute("the difference", large[0], "-", small[0])
    draft.sentences.append(
        draft.rng.choice(
            (
                f"How many more {draft.things} does {large[1]} have than {small[1]}?",
                f"How many fewer {draft.things} does {small[1]} have than {large[1]}?",
            )
        )
    )


def rate(draft: Draft) -> None:
    """Add work at a constant rate by one or two people; ask for the rest of a goal or a part of the result."""
    verb, units, period, periods = draft.rng.choice(WORKS)
    name, friend = draft.name, draft.friend
    r, t = draft.number(3, 99), draft.small()
    draft.goal = f"the {units}"
    each = "an hour" if period == "hour" else f"a {period}"
    text = (
        f"{name} {verb} {r} {units} {each}.",
        f"Every {period} {name} {verb} {r} {units}.",
    )[draft.rng.randrange(2)]
    draft.sentences.append(text)
    total = 0
    second = draft.step_count >= 3 and draft.chance(0.6)
    if second:
        r2, t2 = draft.number(3, 99), draft.small()
        same = draft.chance(0.4)
        t2 = t if same else t2
        if same:
            draft.sentences.append(f"{friend} {verb} {r2} {units} {each}. They do this for {draft.spell(t)} {periods}.")
        else:
            draft.sentences.append(
                f"{name} does this for {draft.spell(t)} {periods}. {friend} {verb} {r2} {units} {each} "
                f"for {draft.spell(t2)} {periods}."
            )
        a = draft.compute(f"{name} in {t} {periods}", r, "*", t)
        b = draft.compute(f"{friend} in {t2} {periods}", r2, "*", t2)
        if draft.missing == 1 and draft.chance(0.4):
            draft.goal = "the difference"
            more, less = (name, friend) if a > b else (friend, name)
            draft.compute("the difference", max(a, b), "-", min(a, b))
            draft.sentences.append(f"How many more {units} does {more} have than {less}?")
            return
        total = draft.compute("together", a, "+", b)
    else:
        draft.sentences.append(f"{name} does this for {draft.spell(t)} {periods}.")
        total = draft.compute(f"{name} in {t} {periods}", r, "*", t)
    while draft.missing > 1:
        n = draft.amount(200)
        if draft.chance(0.5):
            draft.sentences.append(f"Then {n} {units} more are added.")
            total = draft.compute(f"{n} more", total, "+", n)
        else:
            draft.sentences.append(f"Then {n} {units} do not count.")
            total = draft.compute(f"{n} fewer", total, "-", n)
    if draft.missing == 0:
        draft.sentences.append(f"How many {units} is that in all?")
        return
    kind = draft.rng.choice(("goal", "goal", "share"))
    if kind == "goal":
        target = total + draft.amount(200)
        draft.goal = f"the {units} missing"
        draft.sentences.append(f"The goal is {target} {units}. How many {units} are missing?")
        draft.compute("missing to the goal", target, "-", total)
    else:
        k = draft.divisor(total)
        draft.goal = f"the {units} of each part"
        draft.sentences.append(f"The {units} are divided into {k} equal parts. How many {units} are in each part?")
        draft.compute(f"one of {k} parts", total, "/", k)


def shopping(draft: Draft) -> None:
    """Add a bill of one to three goods; ask for the bill, the change or a share."""
    name = draft.name
    goods = draft.rng.sample(GOODS, 3)
    kinds = 1 if draft.step_count == 2 else (2 if draft.step_count <= 4 else 3)
    total, parts = 0, []
    for i in range(kinds):
        k, price = draft.small(), draft.number(3, 60)
        parts.append(f"{draft.spell(k)} {goods[i]}s for {price} dollars each")
        cost = draft.compute(f"{k} {goods[i]}s at {price}", k, "*", price)
        total = draft.compute("the bill so far", total, "+", cost) if i else cost
    listed = parts[0] if kinds == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]
    draft.sentences.append(f"{name} buys {listed}.")
    draft.goal = "the bill"
    if draft.missing == 0:
        draft.sentences.append(draft.rng.choice(("How many dollars is that?", f"How many dollars does {name} pay?")))
        return
    while draft.missing > 1:
        n = draft.number(2, 60)
        if draft.chance(0.5):
            draft.sentences.append(f"The shop takes {n} dollars off the bill.")
            total = draft.compute(f"{n} off", total, "-", n)
        else:
            draft.sentences.append(f"Sending it costs {n} dollars more.")
            total = draft.compute(f"{n} for sending", total, "+", n)
    if draft.chance(0.6):
        paid = total + draft.amount(150)
        draft.goal = "the change"
        draft.sentences.append(f"{name} pays with {paid} dollars. How many dollars does {name} get back?")
        draft.compute("the change", paid, "-", total)
    else:
        k = draft.divisor(total)
        draft.goal = "the share of each friend"
        draft.sentences.append(
            f"{draft.spell(k)} friends share the cost equally. How many dollars does each pay?".capitalize()
        )
        draft.compute(f"one of {k} parts", total, "/", k)


def hall(draft: Draft) -> None:
    """Add rows of equal length and changes of their number; ask for the rest or a share."""
    place, row, rows, items = draft.rng.choice(HALLS)
    k, m = draft.small(), draft.number(8, 99)
    draft.goal = f"the {items}"
    draft.sentences.append(
        draft.rng.choice(
            (
                f"A {place} has {draft.spell(k)} {rows} with {m} {items} each.",
                f"Every {row} of a {place} has {m} {items}, and there are {draft.spell(k)} {rows}.",
            )
        )
    )
    total = draft.compute(f"{k} {rows} of {m}", k, "*", m)
    while draft.missing > 1:
        n = draft.amount(250)
        kind = draft.rng.choice(("more", "fewer", "other"))
        if kind == "more":
            draft.sentences.append(f"Then {n} {items} are added.")
            total = draft.compute(f"{n} more", total, "+", n)
        elif kind == "fewer":
            draft.sentences.append(f"Of these, {n} {items} are taken away.")
            total = draft.compute(f"{n} fewer", total, "-", n)
        else:
            draft.sentences.append(f"Another {place} has {n} {items} more than this one; take that one.")
            total = draft.compute(f"{n} more", total, "+", n)
    if draft.chance(0.4):
        n = draft.amount(max(min(250, total - 1), 6))
        draft.goal = f"the {items} left"
        draft.sentences.append(f"Today {n} of the {items} are not free. How many {items} are left?")
        draft.compute(f"{n} fewer", total, "-", n)
    elif draft.chance(0.5):
        n = draft.amount(250)
        draft.sentences.append(f"Next year there will be {n} {items} more. How many {items} will there be?")
        draft.compute(f"{n} more", total, "+", n)
    else:
        g = draft.divisor(total)
        draft.goal = f"the {items} of each group"
        draft.sentences.append(f"They are split into {g} equal groups. How many {items} are in each group?")
        draft.compute(f"one of {g} parts", total, "/", g)
