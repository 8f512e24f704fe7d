from __future__ import annotations

from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.vocabulary import Bridge, Vocabulary
from rstitch_local.decoding.vocabulary import compare as compare_vocabularies

BODY = [b"a", b"b", b"c", b" the"]


def vocabulary(specials: list[str], *, body: list[bytes] = BODY, eog: str = "") -> Vocabulary:
    texts = [*body, *(s.encode() for s in specials)]
    end = texts.index(eog.encode()) if eog else -1
    return Vocabulary(
        texts=texts,
        end_of_turn=end,
        is_special=lambda token: token >= len(body),
        is_eog=lambda token: token == end,
        piece=lambda token: texts[token],
        tokenize=lambda text: [ord(c) % len(body) for c in text],
    )


def compare(slm: Vocabulary, llm: Vocabulary) -> Bridge:
    bridge = compare_vocabularies(slm, llm)
    assert bridge is not None
    return bridge


def test_ids_of_equal_vocabularies_are_unchanged() -> None:
    bridge = compare(vocabulary(["<end>"]), vocabulary(["<end>"]))
    assert [bridge.convert(token, role) for role in Role for token in range(5)] == [(t,) for t in range(5)] * 2


def test_special_tokens_are_matched_by_text() -> None:
    # As between R1-Distill and QwQ: the same id is <think> in one and <|box_start|> in the other.
    slm = vocabulary(["<|end|>", "<think>", "</think>"], eog="<|end|>")
    llm = vocabulary(["<|im_end|>", "<|box_start|>", "<|pad|>", "<think>", "</think>"], eog="<|im_end|>")
    bridge = compare(slm, llm)
    assert bridge.convert(5, Role.SLM) == (7,)
    assert bridge.convert(6, Role.SLM) == (8,)
    assert bridge.convert(7, Role.LLM) == (5,)
    # By use: the end of a turn has another text.
    assert bridge.convert(4, Role.SLM) == (4,)
    assert bridge.exceptions[Role.SLM][4] == (4,)
    assert [(match.token, match.how) for match in bridge.matches if match.writer is Role.SLM] == [
        (4, "end of turn"),
        (5, "text"),
        (6, "text"),
    ]
    assert [match.how for match in bridge.matches if match.writer is Role.LLM] == [
        "end of turn", "letters", "letters", "text", "text",
    ]  # fmt: skip
    # Without a match: the other model reads the text.
    assert bridge.convert(5, Role.LLM) == tuple(slm.tokenize("<|box_start|>"))


def test_thinking_tags_are_matched_by_use() -> None:
    bridge = compare(vocabulary(["[THINK]", "[/THINK]"]), vocabulary(["<x>", "<y>", "<think>", "</think>"]))
    assert bridge.convert(4, Role.SLM) == (6,)
    assert bridge.convert(5, Role.SLM) == (7,)
    assert bridge.convert(6, Role.LLM) == (4,)


def test_padding_is_not_a_difference() -> None:
    bridge = compare(vocabulary(["<end>", "[PAD5]"]), vocabulary(["<end>", "[PAD5]", "[PAD6]", "[PAD7]"]))
    assert bridge.convert(5, Role.LLM) == (5,)
    assert all(bridge.convert(token, Role.LLM) for token in range(8)), "every token needs a counterpart"


def test_different_ordinary_tokens_are_different_tokenizers() -> None:
    for other in ([b"a", b"x", b"y", b" the"], [*BODY, b"d", b"e"]):
        assert compare_vocabularies(vocabulary([]), vocabulary([], body=other)) is None
    # An ordinary token where the other has a special one.
    assert compare_vocabularies(vocabulary(["<e>"]), vocabulary([], body=[*BODY, b"d"])) is None
