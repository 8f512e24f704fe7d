"""Small parts of the chat: the estimate of the LLM alone, commands by name, pacing."""

from __future__ import annotations

import queue
from pathlib import Path

import pytest
from tiny_pair import TinyPair

from rstitch_local.costs.fitting import Formula
from rstitch_local.costs.latency import ModelLatency, PairLatency
from rstitch_local.costs.store import store_calibration
from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.step import Step
from rstitch_local.engine.choice import choose_pair
from rstitch_local.engine.loading import load_pair
from rstitch_local.errors import UsageError
from rstitch_local.llama.batch import Usage
from rstitch_local.trace.record import Trace
from rstitch_tui import slash
from rstitch_tui.answer import Answer, Request
from rstitch_tui.answer_display import working_status
from rstitch_tui.engine_events import AnswerEnded
from rstitch_tui.engine_thread import EngineThread
from rstitch_tui.estimate import LlmAloneEstimator
from rstitch_tui.keys import ACTIONS
from rstitch_tui.pacing import Pace
from rstitch_tui.slash_table import COMMANDS


def trace(tokens: int, llm: Usage, resumed_tokens: int = 0) -> Trace:
    steps = [Step(i, Role.LLM, i, "x", 0.0, 1.0, 1, 1.0) for i in range(tokens)]
    return Trace(
        0,
        steps=steps,
        resumed_tokens=resumed_tokens,
        usage={Role.SLM: Usage([40, 0, 9], [0, 0, 0]), Role.LLM: llm},
        tokens={Role.SLM: 1, Role.LLM: tokens - 1},
    )


def test_llm_alone_is_estimated_from_measured_times() -> None:
    estimator = LlmAloneEstimator()
    little = trace(20, Usage([10, 5, 7], [20_000_000, 9, 70_000_000]))
    estimator.record(little)
    assert estimator.estimate(little) is None
    estimator.record(trace(3, Usage([10, 0, 3], [40_000_000, 0, 30_000_000])))
    # 40 prompt tokens at 3 ms; 20 generated tokens, or 15 new ones, at 10 ms.
    assert estimator.estimate(little) == pytest.approx(40 * 3 + 20 * 10)
    assert estimator.estimate(trace(20, Usage(), resumed_tokens=5)) == pytest.approx(40 * 3 + 15 * 10)


def test_answer_of_the_llm_alone_is_not_compared_with_itself() -> None:
    model = ModelLatency(n_batch=64, formula=Formula(prefill=(0, 0, 1, 0), decode=(1, 0)), outside_ms=0.5)
    alone = trace(20, Usage())
    alone.tokens = {Role.SLM: 0, Role.LLM: 20}
    assert LlmAloneEstimator(PairLatency(slm=model, llm=model)).estimate(alone) is None


def test_calibration_takes_precedence_over_measured_times() -> None:
    model = ModelLatency(n_batch=64, formula=Formula(prefill=(0, 0, 1, 0), decode=(1, 0)), outside_ms=0.5)
    estimator = LlmAloneEstimator(PairLatency(slm=model, llm=model))
    # 40 prompt tokens at 1 ms; two decoded tokens at 1 ms per cached token; 0.5 ms overhead each.
    assert estimator.estimate(trace(3, Usage())) == pytest.approx(40 + 40 + 41 + 3 * 0.5)
    # The conversation has 140 tokens: all except the 40 prompt tokens and the new ones were cached.
    assert estimator.estimate(trace(5, Usage(), resumed_tokens=2), 140) == pytest.approx(40 + 137 + 138 + 3 * 0.5)
    assert estimator.estimate(trace(2, Usage(), resumed_tokens=2)) is None


def test_chat_uses_a_stored_calibration(tmp_path: Path, tiny_pair: TinyPair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RSTITCH_HOME", str(tmp_path))
    model = ModelLatency(n_batch=64, formula=Formula(prefill=(0, 0, 0, 500), decode=(0, 7)))
    with load_pair(slm=tiny_pair.slm, llm=tiny_pair.llm) as pair:
        store_calibration(pair, PairLatency(slm=model, llm=model))
    events: queue.SimpleQueue[object] = queue.SimpleQueue()
    engine = EngineThread(events.put)
    engine.load(choose_pair(None, tiny_pair.slm, tiny_pair.llm))
    answer = Answer(Request([{"role": "user", "content": "And?"}], router="slm", max_tokens=5))
    engine.generate(answer)
    while not isinstance(events.get(timeout=60), AnswerEnded):
        pass
    # The LLM generated nothing; the estimate is a prompt of one batch and four tokens.
    assert answer.llm_alone_ms == pytest.approx(500 + 4 * 7)
    assert engine.close(60)


def test_commands_are_found_by_name_and_prefix() -> None:
    assert slash.find("tau").name == "tau"
    assert slash.find("insp").name == "inspect"
    with pytest.raises(UsageError, match=r"/chat.*|There is no /c\b") as caught:
        slash.find("c")
    assert "/copy" in caught.value.hint
    with pytest.raises(UsageError) as caught:
        slash.find("tokenz")
    assert "/tokens" in caught.value.hint
    with pytest.raises(UsageError):
        slash.find("")


def test_every_command_has_usage_and_title() -> None:
    for name, command in COMMANDS.items():
        assert command.name == name
        assert command.usage.startswith(f"/{name}")
        assert command.title
        assert not (command.needs and command.takes)


def test_drawing_stays_within_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    now, used = 100.0, 7.0
    monkeypatch.setattr("rstitch_tui.pacing.time.monotonic", lambda: now)
    monkeypatch.setattr("rstitch_tui.pacing.time.thread_time", lambda: used)
    pace = Pace()
    now, used = 200.0, 9.0
    pace.begin()
    assert pace.allows()
    now, used = 200.1, 9.02
    assert not pace.allows()
    now = 200.6  # after half a second, drawing is always allowed
    assert pace.allows()
    pace.drawn()
    assert not pace.allows()
    now = 201.0
    assert pace.allows()


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("retry", "retry"),
        ("quit", "quit"),
        ("exit", "quit"),
        ("continue", "continue"),
        ("inspect", "inspect"),
        ("Regenerate", "retry"),
        ("html", "export"),
        ("clear", "new"),
        ("download", "models"),
        ("side by side", "again"),
        ("system", "system"),
        ("tau", "tau"),
    ],
)
def test_search_finds_the_command_first(words: str, name: str) -> None:
    assert slash.ranked(words)[0].name == name


def test_search_without_words_lists_all_and_nonsense_none() -> None:
    assert [command.name for command in slash.ranked("")] == list(COMMANDS)
    assert slash.ranked("xyzzy") == []


def test_names_and_aliases_are_unique_and_keys_exist() -> None:
    names = [name for command in COMMANDS.values() for name in command.names]
    assert len(set(names)) == len(names)
    ids = {action.id for action in ACTIONS}
    assert all(command.key in ids for command in COMMANDS.values() if command.key)


def test_status_says_what_the_models_do_while_no_token_appears(monkeypatch: pytest.MonkeyPatch) -> None:
    progress: list[tuple[Role, int, int] | None] = [(Role.SLM, 64, 122)]
    monkeypatch.setattr(Answer, "prompt_progress", property(lambda _: progress[0]))
    answer = Answer(Request([]))
    assert working_status(answer, 0.1) == ""
    assert working_status(answer, 6.2) == "SLM evaluating prompt 64/122 · 6 s · Esc stops"
    progress[0] = None
    assert working_status(answer, 2.0) == "Starting · 2 s · Esc stops"
    answer.trace = trace(3, Usage())
    assert working_status(answer, 3.0) == "Generating · 3 s · Esc stops"
