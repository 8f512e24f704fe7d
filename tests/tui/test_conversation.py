"""The messages of a chat that are sent to the models."""

from __future__ import annotations

from dataclasses import replace

from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.sampling import Sampling
from rstitch_local.decoding.step import Step
from rstitch_local.engine.choice import PairDefaults
from rstitch_tui.chat_settings import ChatSettings
from rstitch_tui.conversation import branched, request, turns
from rstitch_tui.store.records import Message, Speaker

PAIR = PairDefaults(sampling=Sampling(temperature=0.7, top_k=20))


def message(number: int, role: Speaker, text: str, **settings: object) -> Message:
    return Message(number, 1, number - 1 or None, role, "", text, None, "", 0.0, settings=settings)


PATH = [
    message(1, "user", "First?"),
    message(2, "assistant", "<think>\nhm\n</think>\nOne."),
    message(3, "user", "Second?"),
    message(4, "assistant", "still hm</think>\n\nTwo.", opens_thinking=True),
    message(5, "user", "Third?"),
]


def contents(settings: ChatSettings, defaults: PairDefaults = PAIR) -> list[str]:
    return [turn["content"] for turn in turns(PATH, settings, defaults)]


def test_thinking_is_not_sent_back() -> None:
    assert contents(ChatSettings()) == ["First?", "One.", "Second?", "Two.", "Third?"]


def test_system_prompt_suffix_and_dropped_turns() -> None:
    assert contents(ChatSettings(system="Be brief."))[:2] == ["Be brief.", "First?"]
    assert contents(ChatSettings(system=" \n"))[0] == "First?"
    assert contents(ChatSettings(system="Be brief.", first=3)) == ["Be brief.", "Second?", "Two.", "Third?"]
    with_suffix = replace(PAIR, prompt_suffix="Think briefly.")
    assert contents(ChatSettings(first=5), with_suffix) == ["Third?\nThink briefly."]
    assert contents(ChatSettings(), with_suffix)[0] == "First?\nThink briefly."


def test_single_turn_pair_gets_only_the_last_question() -> None:
    assert contents(ChatSettings(system="S"), replace(PAIR, single_turn=True)) == ["S", "Third?"]


def test_chat_settings_override_the_pairs_defaults() -> None:
    result = request(PATH, ChatSettings(top_k=5, seed=3, router="llm"), PAIR)
    assert result.sampling == Sampling(temperature=0.7, top_k=5)
    assert (result.seed, result.router, result.max_tokens) == (3, "llm", None)
    assert request(PATH, ChatSettings(router="llm"), PAIR, router="slm", seed=9).router == "slm"


def test_resumed_steps_do_not_use_up_max_tokens() -> None:
    steps = [Step(0, Role.SLM, 7, "a", 0.0, 1.0, 0, 0.0)] * 3
    assert request(PATH, ChatSettings(max_tokens=10), PAIR, resume_steps=steps).max_tokens == 13


def test_stop_strings_are_part_of_the_request() -> None:
    assert request(PATH, ChatSettings(stop=("Q:", "\n\n")), PAIR).stop == ("Q:", "\n\n")
    assert request(PATH, ChatSettings(), PAIR).stop == ()


def test_branched_steps() -> None:
    steps = [Step(i, Role.LLM, i, str(i), 0.5, 0.5, 1, 1.0, 0.3) for i in range(4)]
    other = branched(steps, 2, Role.SLM, 99)
    assert other[:2] == steps[:2]
    assert (other[2].role, other[2].token, other[2].position, other[2].swap_entropy) == (Role.SLM, 99, 2, None)
    assert len(other) == 3
    assert branched(steps, 2, Role.LLM, 99)[2].swap_entropy == 0.3
    assert steps[2].token == 2
