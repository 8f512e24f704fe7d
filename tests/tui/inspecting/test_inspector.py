"""The inspector with the tiny pair: navigation, candidates, branching and errors."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from inspecting_shell import Shell, ShellPilot, answer, engine_blocked, load, request_for, run, until
from textual.geometry import Region
from tiny_pair import END, TinyPair, write_pair

from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.sampling import Sampling
from rstitch_local.decoding.step import Step
from rstitch_local.sanitize import visible
from rstitch_local.trace.prediction import Candidate, Prediction
from rstitch_local.trace.record import Trace
from rstitch_tui.answer import Request
from rstitch_tui.conversation import branched
from rstitch_tui.inspecting import row_of, swaps
from rstitch_tui.screens.inspector import InspectorScreen
from rstitch_tui.widgets.candidates import Candidates, probability_bar
from rstitch_tui.widgets.routing_reason import routing_reason, tau_at
from rstitch_tui.widgets.token_details import TokenDetails
from rstitch_tui.widgets.token_view import TokenView

SIZES = [(140, 45), (80, 24), (40, 10)]


class Inspected:
    """An open inspector and its results."""

    def __init__(self, shell: Shell, pilot: ShellPilot, request: Request, trace: Trace) -> None:
        self.shell, self.pilot, self.trace = shell, pilot, trace
        self.results: list[Any] = []
        self.evaluated: list[int] = []
        ask = shell.engine.inspect

        def noted(request: Request, steps: list[Step], done: Callable[[Any], object]) -> None:
            self.evaluated.append(len(steps))
            ask(request, steps, done)

        shell.engine.inspect = noted  # type: ignore[method-assign, assignment]
        self.screen = InspectorScreen(shell.engine, request, trace)

    async def open(self) -> Inspected:
        self.shell.push_screen(self.screen, self.results.append)
        await until(self.pilot, lambda: self.screen.is_mounted)
        await self.settle()
        return self

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)
        await self.settle()

    async def settle(self) -> None:
        """Wait until the candidates of the selected position or an error are shown."""
        problem = self.screen.query_one("#problem")
        await until(self.pilot, lambda: self.table(Role.SLM).prediction is not None or problem.display)
        await self.pilot.pause()

    def table(self, role: Role) -> Candidates:
        return self.screen.query_one(f"#{role.value}", Candidates)

    @property
    def step(self) -> Step:
        return self.trace.steps[self.screen.index]

    def facts(self) -> str:
        return str(self.screen.query_one(TokenDetails).content)


async def inspected(shell: Shell, pilot: ShellPilot, **options: Any) -> Inspected:
    return await Inspected(shell, pilot, *await answer(shell, pilot, **options)).open()


@pytest.mark.parametrize("size", SIZES)
def test_move_by_tokens_and_swaps(tiny_pair: TinyPair, size: tuple[int, int]) -> None:
    async def body(shell: Shell, pilot: ShellPilot) -> None:
        at = await inspected(shell, pilot)
        last = len(at.trace.steps) - 1
        swap_indices = swaps(at.trace)
        assert len(swap_indices) > 5
        assert at.screen.index == swap_indices[-1]
        await at.press("p", "p")
        assert at.screen.index == swap_indices[-3]
        await at.press("n")
        assert at.screen.index == swap_indices[-2]
        await at.press("home")
        assert at.screen.index == 0
        await at.press("left")
        assert at.screen.index == 0
        await at.press("right", "right", "left")
        assert at.screen.index == 1
        await at.press("end", "right")
        assert at.screen.index == last
        await at.press("n")
        assert at.screen.index == last
        assert at.screen.query_one(TokenView).cursor == last

    run(body, tiny_pair, size)


def test_moving_by_rows_keeps_the_column(tiny_pair: TinyPair) -> None:
    async def body(shell: Shell, pilot: ShellPilot) -> None:
        request, trace = await answer(shell, pilot)
        texts = ["abcdef", "ghijkl\n", "mn\n", "o" * 90, "\n", "pq", "rstuvw", "xyz"]
        trace.steps = [replace(trace.steps[0], position=i, text=text) for i, text in enumerate(texts)]
        at = await Inspected(shell, pilot, request, trace).open()
        await at.press("home", "right")
        assert at.step.text == "ghijkl\n"
        # The second row is shorter, but the column is kept; a token of three rows is one step.
        for key, text in [("down", "mn\n"), ("down", "o" * 90), ("down", "rstuvw"), ("down", "rstuvw")]:
            await at.press(key)
            assert at.step.text == text
        for text in ["o" * 90, "mn\n", "ghijkl\n", "ghijkl\n"]:
            await at.press("up")
            assert at.step.text == text
        await at.press("pagedown")
        assert at.step.text == "rstuvw"
        await at.press("pageup")
        assert at.step.text == "ghijkl\n"

    run(body, tiny_pair, (40, 30))


def test_click_selects_a_token(tiny_pair: TinyPair) -> None:
    async def body(shell: Shell, pilot: ShellPilot) -> None:
        at = await inspected(shell, pilot)
        view = at.screen.query_one(TokenView)
        await at.press("home")
        token = view.token_at(12, 0)
        assert token
        assert await pilot.click(TokenView, offset=(12, 0))
        await until(pilot, lambda: at.screen.index == token)

    run(body, tiny_pair)


def test_candidates_match_the_recorded_step(tiny_pair: TinyPair) -> None:
    async def body(shell: Shell, pilot: ShellPilot) -> None:
        at = await inspected(shell, pilot, max_tokens=25)
        await at.press("home")
        for index, step in enumerate(at.trace.steps):
            assert at.screen.index == index
            writer = at.table(step.role).prediction
            other = at.table(Role.LLM if step.role is Role.SLM else Role.SLM)
            assert writer is not None
            assert writer.candidates[0].token == step.token
            assert writer.candidates[0].probability == pytest.approx(step.top1, abs=1e-3)
            assert writer.entropy == pytest.approx(step.entropy, abs=1e-3)
            assert "generated, rank 1" in str(at.table(step.role).render())
            drawn = str(other.render())
            assert other.prediction is not None
            ids = [candidate.token for candidate in other.prediction.candidates]
            ranked = f"rank {ids.index(step.token) + 1}" if step.token in ids else "not in its top ten"
            assert ranked in drawn
            assert drawn.count("●") == (step.token in ids)
            assert f"token {index + 1}, generated by the {step.role.name}" in at.facts()
            await at.press("right")

    run(body, tiny_pair)


def test_positions_are_evaluated_once(tiny_pair: TinyPair) -> None:
    async def body(shell: Shell, pilot: ShellPilot) -> None:
        at = await inspected(shell, pilot)
        await at.press("home")
        await at.press("right")
        at.evaluated.clear()
        await at.press("left")
        await at.press("right")
        assert at.evaluated == []
        await at.press("right")
        assert at.evaluated == [2]

    run(body, tiny_pair)


def test_fast_moves_evaluate_only_the_latest_position(tiny_pair: TinyPair) -> None:
    async def body(shell: Shell, pilot: ShellPilot) -> None:
        at = await inspected(shell, pilot)
        await at.press("home")
        at.evaluated.clear()
        with engine_blocked(shell):
            await pilot.press(*["right"] * 12)
            assert at.screen.index == 12
            assert at.evaluated == [1]
            # The candidates belong to another position and cannot be chosen.
            assert at.table(Role.SLM).prediction is None
            await pilot.press("enter", "enter")
            assert at.results == []
        await at.settle()
        await until(pilot, lambda: at.evaluated == [1, 12])
        await at.settle()
        assert at.table(at.step.role).prediction.candidates[0].token == at.step.token  # type: ignore[union-attr]

    run(body, tiny_pair)


def test_late_evaluation_is_ignored(tiny_pair: TinyPair) -> None:
    async def body(shell: Shell, pilot: ShellPilot) -> None:
        at = await inspected(shell, pilot)
        await at.press("home")
        with engine_blocked(shell):
            await pilot.press("right", "left", "enter", "down", "down")
            await until(pilot, lambda: at.table(at.step.role).cursor == 2)
        await until(pilot, lambda: len(at.screen._predictions) == 3)
        assert at.table(at.step.role).cursor == 2
        with engine_blocked(shell):
            await pilot.press("end", "escape")
            await until(pilot, lambda: at.results == [None])
        # The engine still works.
        _, again = await answer(shell, pilot)
        assert [step.token for step in again.steps] == [step.token for step in at.trace.steps]

    run(body, tiny_pair)


def test_engine_survives_an_app_that_ends_during_evaluation(tiny_pair: TinyPair) -> None:
    shells: list[Shell] = []
    done: list[bool] = []

    async def whole() -> None:
        shell = Shell()
        shells.append(shell)
        async with shell.run_test() as pilot:
            await load(shell, pilot, tiny_pair)
            at = await inspected(shell, pilot)
            gate.enter_context(engine_blocked(shell))
            await pilot.press("home")
            assert at.evaluated[-1] == 0

    with ExitStack() as gate:
        asyncio.run(whole())
    (shell,) = shells
    shell.engine._jobs.put(lambda: done.append(True))
    # Its last message, Unloaded, has no receiver either, as when the program ends.
    shell.engine._post = lambda _: None
    assert shell.engine.close(10)
    assert done == [True]


def test_engine_thread_survives_a_screen_without_an_app(tiny_pair: TinyPair) -> None:
    async def body(shell: Shell, pilot: ShellPilot) -> None:
        at = Inspected(shell, pilot, *await answer(shell, pilot, max_tokens=3))
        # The screen was never mounted: posting to it raises NoActiveAppError.
        shell.engine.inspect(request_for(), [], lambda views: at.screen._post_safely(at.screen.Evaluated(0, views)))
        _, trace = await answer(shell, pilot, max_tokens=3)
        assert len(trace.steps) == 3

    run(body, tiny_pair)


@pytest.mark.parametrize(
    ("keys", "row", "size"),
    [
        (["enter", "enter"], 0, (140, 45)),
        (["enter", "down", "down", "up", "enter"], 1, (80, 24)),
        (["4", "enter"], 3, (140, 45)),
        (["0", "down", "enter"], 9, (40, 10)),
        (["tab", "2", "enter"], 1, (80, 24)),
        (["tab", "tab", "7", "enter"], 6, (40, 10)),
    ],
)
def test_branch(tiny_pair: TinyPair, keys: list[str], row: int, size: tuple[int, int]) -> None:
    async def body(shell: Shell, pilot: ShellPilot) -> None:
        at = await inspected(shell, pilot)
        await at.press("p")
        index = at.screen.index
        # Without Tab: the table of the model that generated the token.
        tabs = keys.count("tab")
        role = list(Role)[tabs - 1] if tabs else at.step.role
        view = at.table(role).prediction
        assert view is not None
        for key in keys:
            await pilot.press(key)
            await pilot.pause()
        await until(pilot, lambda: at.results)
        assert at.results == [(index, role, view.candidates[row].token)]

    run(body, tiny_pair, size)


def test_click_selects_a_candidate_and_double_click_chooses_it(tiny_pair: TinyPair) -> None:
    async def body(shell: Shell, pilot: ShellPilot) -> None:
        at = await inspected(shell, pilot)
        table = at.table(Role.LLM)
        view = table.prediction
        assert view is not None
        await pilot.click("#llm", offset=(3, 6))
        await until(pilot, lambda: table.cursor == 5)
        assert at.results == []
        await pilot.click("#llm", offset=(3, 4), times=2)
        await until(pilot, lambda: at.results)
        assert at.results == [(at.screen.index, Role.LLM, view.candidates[3].token)]

    run(body, tiny_pair)


@pytest.mark.parametrize("key", ["escape", "q"])
def test_leave_without_branching(tiny_pair: TinyPair, key: str) -> None:
    async def body(shell: Shell, pilot: ShellPilot) -> None:
        at = await inspected(shell, pilot)
        await pilot.press("enter", key)
        await until(pilot, lambda: at.results)
        assert at.results == [None]

    run(body, tiny_pair)


def test_selected_candidate_is_visible_on_small_terminals(tiny_pair: TinyPair) -> None:
    async def body(shell: Shell, pilot: ShellPilot) -> None:
        at = await inspected(shell, pilot)
        details = at.screen.query_one("#details")
        for table, key in ((Role.SLM, "tab"), (Role.LLM, "tab")):
            await at.press(key)
            assert at.screen.focused is at.table(table)
            for digit, row in (("0", 9), ("1", 0), ("6", 5)):
                await at.press(digit)
                for _ in range(5):
                    await pilot.pause()
                region = at.table(table).content_region
                assert details.content_region.contains_region(Region(region.x, region.y + 1 + row, 1, 1))
        # With the focus on the answer, the reason is visible again.
        await at.press("shift+tab", "shift+tab", "left")
        for _ in range(5):
            await pilot.pause()
        assert at.screen.query_one(TokenDetails).region.y == details.content_region.y

    run(body, tiny_pair, (40, 10))


@pytest.mark.parametrize(("width", "beside"), [(140, True), (60, True), (59, False), (40, False)])
def test_candidate_tables_by_terminal_width(tiny_pair: TinyPair, width: int, beside: bool) -> None:
    async def body(shell: Shell, pilot: ShellPilot) -> None:
        at = await inspected(shell, pilot)
        slm, llm = at.table(Role.SLM).virtual_region, at.table(Role.LLM).virtual_region
        assert (slm.y == llm.y) is beside
        assert not slm.overlaps(llm)
        assert ("─" in at.facts()) is (width >= 80)
        await pilot.resize_terminal(100, 30)
        await until(pilot, lambda: at.table(Role.SLM).region.y == at.table(Role.LLM).region.y)
        assert "─" in at.facts()

    run(body, tiny_pair, (width, 24))


def test_unloaded_models_are_reported_in_the_panel(tiny_pair: TinyPair) -> None:
    async def body(shell: Shell, pilot: ShellPilot) -> None:
        at = await inspected(shell, pilot)
        index = at.screen.index
        shell.engine.unload()
        await at.press("home")
        problem = at.screen.query_one("#problem")
        await until(pilot, lambda: problem.display)
        assert "No pair of models is loaded" in str(problem.render())
        assert not at.screen.query_one("#candidates").display
        # Candidates evaluated before and the recorded facts are still shown.
        await at.press("end", "p") if index != len(at.trace.steps) - 1 else await at.press("end")
        await until(pilot, lambda: at.screen.index == index)
        await until(pilot, lambda: not problem.display)
        assert at.table(at.step.role).prediction is not None
        assert at.screen.query_one("#candidates").display
        await pilot.press("enter", "enter")
        await until(pilot, lambda: at.results)
        assert at.results[0][0] == index

    run(body, tiny_pair)


def test_position_beyond_the_context_is_reported_in_the_panel(tiny_pair: TinyPair) -> None:
    async def body(shell: Shell, pilot: ShellPilot) -> None:
        request, trace = await answer(shell, pilot, max_tokens=100)
        await load(shell, pilot, tiny_pair, context=96)
        at = await Inspected(shell, pilot, request, trace).open()
        problem = at.screen.query_one("#problem")
        await until(pilot, lambda: problem.display)
        assert "holds 96" in str(problem.render())
        await at.press("home")
        await until(pilot, lambda: not problem.display)
        assert at.table(Role.SLM).prediction is not None

    run(body, tiny_pair)


def test_end_token_has_a_name(tmp_path: Path) -> None:
    async def body(shell: Shell, pilot: ShellPilot) -> None:
        at = await inspected(shell, pilot)
        assert at.trace.stop == "eog"
        await at.press("end")
        assert at.facts().startswith(END)
        assert at.table(at.step.role).prediction.candidates[0].text == END  # type: ignore[union-attr]
        await at.press("left")
        assert at.facts().startswith("k ")
        # Moving by rows works from a token without text.
        await at.press("end", "up", "down")
        assert at.screen.index == len(at.trace.steps) - 1

    run(body, write_pair(tmp_path, {"answer": "ok"}, {"answer": "ok"}))


def test_model_output_is_drawn_as_plain_text(tiny_pair: TinyPair) -> None:
    async def body(shell: Shell, pilot: ShellPilot) -> None:
        request, trace = await answer(shell, pilot, max_tokens=8)
        texts = ["[bold]", "[/]", "\x1b[2J", "\u202e", "$primary", "[@click=app.quit]x", "", "\r\n"]
        trace.steps = [replace(step, token=9999, text=text) for step, text in zip(trace.steps, texts, strict=True)]
        trace.steps[0].role = trace.steps[1].role = Role.SLM
        at = Inspected(shell, pilot, request, trace)
        views = {role: Prediction(0.5, [Candidate(i, text, 0.1) for i, text in enumerate(texts)]) for role in Role}
        at.screen._predictions = dict.fromkeys(range(8), views)
        await at.open()
        await at.press("home")
        for text in texts:
            assert at.facts().startswith(visible(text))
            rows = str(at.table(Role.SLM).render()).split("\n")[1:]
            for row, other in zip(rows, texts, strict=False):
                assert row[3:].startswith(visible(other))
            assert "not in its top ten" in str(at.table(at.step.role).render())
            await at.press("right")

    run(body, tiny_pair)


def test_branch_shows_the_chosen_token(tiny_pair: TinyPair) -> None:
    async def body(shell: Shell, pilot: ShellPilot) -> None:
        at = await inspected(shell, pilot)
        await at.press("p", "p", "tab", "tab", "3")
        await pilot.press("enter")
        await until(pilot, lambda: at.results)
        index, role, token = at.results[0]
        assert role is Role.LLM
        branch = await inspected(shell, pilot, resume_steps=branched(at.trace.steps, index, role, token))
        assert branch.trace.steps[index].token == token
        await branch.press("home", *["right"] * index)
        assert f"token {index + 1}, a candidate of the LLM" in branch.facts()
        assert "chosen by hand" in branch.facts()
        assert "generated, rank 3" in str(branch.table(Role.LLM).render())
        await branch.press("left")
        assert "generated by" in branch.facts()
        # The tau of resumed steps is not recorded.
        assert "tau" not in branch.facts()

    run(body, tiny_pair)


def test_model_with_few_candidates(tiny_pair: TinyPair) -> None:
    async def body(shell: Shell, pilot: ShellPilot) -> None:
        at = Inspected(shell, pilot, *await answer(shell, pilot, max_tokens=3))
        few = {role: Prediction(0.0, [Candidate(5, "a", 1.0)]) for role in Role}
        at.screen._predictions = dict.fromkeys(range(3), few)
        await at.open()
        await at.press("enter", "down", "9")
        assert at.table(at.step.role).cursor == 0
        assert str(at.table(Role.SLM).render()).count("\n") == 10

    run(body, tiny_pair)


@pytest.mark.parametrize(
    ("token", "text", "row"),
    [
        (5, "a", 0),
        # A special token has another id in the other model, where its own id may be another token.
        (7, "<end>", 2),
        (5, "<end>", 2),
        # Incomplete characters all have the same text.
        (9, "\ufffd", 3),
        (8, "\ufffd", None),
        # Only the added text is known of a token outside the top ten of its model.
        (9, "", 3),
        (5, "", None),
        (1, "z", None),
    ],
)
def testrow_of_a_token_in_the_other_models_candidates(token: int, text: str, row: int | None) -> None:
    others = [(5, "a"), (7, "b"), (6, "<end>"), (9, "\ufffd"), (4, "")]
    assert row_of(token, text, [Candidate(other, name, 0.1) for other, name in others]) == row


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("The", "The"),
        (" The", "␣The"),
        ("\n\n", "↵↵"),
        ("\t", "⇥"),
        ("\r\n", "␍↵"),
        ("", "‹no text›"),
        ("\x1b", "‹1b›"),
        ("\u200d", "‹200d›"),
        ("\u00a0", "‹a0›"),
        ("\u0301a", "◌\u0301a"),
        ("<|im_end|>", "<|im_end|>"),
        ("日本", "日本"),
        ("\ufffd", "\ufffd"),
    ],
)
def test_visible_tokens(text: str, shown: str) -> None:
    assert visible(text) == shown


@pytest.mark.parametrize(
    ("share", "drawn"), [(0.0, ""), (1.0, "████"), (0.5, "██"), (0.53, "██▏"), (1.5, "████"), (-1.0, ""), (0.01, "")]
)
def test_bars(share: float, drawn: str) -> None:
    assert probability_bar(share, 4) == drawn


def step(role: Role, entropy: float, swap_entropy: float | None = None, *, evaluated_tokens: int = 1) -> Step:
    return Step(0, role, 7, "x", entropy, 0.9, evaluated_tokens, 1.0, swap_entropy)


def trace_of(*steps: Step, router: str = "entropy:0.02", **fields: Any) -> Trace:
    tau = float(router.partition(":")[2]) if router.startswith("entropy") else None
    return Trace(0, {"router": router, "tau": tau}, steps=list(steps), **fields)


SLM, LLM = Role.SLM, Role.LLM


def test_reason_with_the_entropy_router() -> None:
    trace = trace_of(
        step(SLM, 0.004), step(LLM, 0.3, 0.084), step(LLM, 0.003), step(LLM, 0.02, 0.5), step(SLM, 0.00001)
    )
    assert routing_reason(trace, 0) == "The SLM's entropy was 0.0040, not above tau 0.02: the SLM generated this token."
    assert routing_reason(trace, 1) == (
        "The SLM's entropy was 0.0840, above tau 0.02: swap to the LLM. "
        "The LLM's entropy was 0.3000, too high for a swap: it keeps control."
    )
    assert routing_reason(trace, 2) == (
        "The LLM kept control: its entropy at the token before was too high for a swap. "
        "The LLM's entropy was 0.0030: swap to the SLM."
    )
    assert routing_reason(trace, 3).endswith("The LLM's entropy was 0.0200: swap to the SLM.")
    assert "entropy was <0.0001, not above" in routing_reason(trace, 4)
    # The last token has no successor, so nothing is said about handing back.
    assert routing_reason(trace_of(step(LLM, 0.3, 0.084)), 0).endswith(": swap to the LLM.")


def test_reason_uses_the_tau_in_effect() -> None:
    steps = [step(SLM, 0.004) for _ in range(9)]
    trace = trace_of(*steps, resumed_tokens=2, taus=[(4, 0.5), (6, 0.1), (6, 0.2)])
    assert [tau_at(trace, index) for index in range(9)] == [None, None, 0.02, 0.02, 0.5, 0.5, 0.2, 0.2, 0.2]
    assert "not above tau 0.5:" in routing_reason(trace, 5)
    # The router of resumed steps is not recorded.
    assert "tau" not in routing_reason(trace, 1)
    assert tau_at(trace_of(*steps, router="confidence:0.8"), 3) is None


def test_reason_of_a_token_chosen_by_hand() -> None:
    trace = trace_of(step(SLM, 0.004), step(SLM, 0.004, evaluated_tokens=0), step(SLM, 0.004), resumed_tokens=2)
    assert "chosen by hand" in routing_reason(trace, 1)
    assert "chosen by hand" not in routing_reason(trace, 0)
    assert "chosen by hand" not in routing_reason(trace, 2)


@pytest.mark.parametrize("router", ["confidence:0.8", "random:0.3", "window:8:0.003"])
def test_reason_with_other_routers(router: str) -> None:
    trace = trace_of(step(SLM, 0.4), step(LLM, 0.3, 0.084), step(LLM, 0.003), step(SLM, 0.1), router=router)
    assert routing_reason(trace, 0) == f"The router {router} chose the SLM."
    assert routing_reason(trace, 1) == f"The router {router} chose the LLM; the SLM's entropy was 0.0840."
    assert routing_reason(trace, 2) == f"The router {router} stayed with the LLM. Then swap to the SLM."
    trace = trace_of(step(LLM, 0.4), router="llm")
    assert routing_reason(trace, 0) == "The router is llm: the LLM generates every token."


def test_reason_with_speculative_decoding() -> None:
    trace = trace_of(step(SLM, 0.01), step(LLM, 0.3, swap_entropy=0.084), step(LLM, 0.4), router="spec:4")
    assert routing_reason(trace, 0) == "The SLM drafted this token and the LLM accepted it."
    assert (
        routing_reason(trace, 1)
        == "The LLM rejected a drafted token and generated this one; the SLM's entropy was 0.0840."
    )
    assert routing_reason(trace, 2) == "The LLM accepted the whole draft and generated this token after it."


def test_swaps() -> None:
    trace = trace_of(step(SLM, 0.1), step(LLM, 0.1, 0.9), step(LLM, 0.1), step(LLM, 0.1, 0.9), step(SLM, 0.1))
    assert swaps(trace) == [1, 3, 4]
    assert swaps(trace_of(step(LLM, 0.1, 0.9))) == [0]
    assert swaps(trace_of(step(SLM, 0.1))) == []


@pytest.mark.parametrize(
    "options", [{"router": "slm"}, {"router": "llm"}, {"sampling": Sampling(2.0)}, {"prefix": "Well"}]
)
def test_any_answer_can_be_inspected(tiny_pair: TinyPair, options: dict[str, Any]) -> None:
    async def body(shell: Shell, pilot: ShellPilot) -> None:
        at = await inspected(shell, pilot, **options)
        for key in ("end", "home", "n", "p", "down", "up"):
            await at.press(key)
            view = at.table(at.step.role).prediction
            assert view is not None
            assert view.entropy == pytest.approx(at.step.entropy, abs=1e-3)

    run(body, tiny_pair)
