"""The view in a notebook, the page of an answer, and predictions on it."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import rstitch_local.trace.page
from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.step import Step
from rstitch_local.errors import UsageError
from rstitch_local.sanitize import safe_text, visible
from rstitch_local.trace.page.answer import answer_page
from rstitch_local.trace.page.document import document, notebook_view
from rstitch_local.trace.page.tokens import answer_html, prediction_rows
from rstitch_local.trace.prediction import Candidate, Prediction
from rstitch_local.trace.reading import LoadedAnswer
from rstitch_local.trace.record import Trace

NASTY = "</script></style><img src=x onerror=alert(2)> &amp; ' \" \x1b[31m\x9b\x07\u202e\u2066\u061c ]]> --> `"
CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
VOID = ("meta", "circle", "path")


class Reader(HTMLParser):
    """Parses tags, attributes and texts; asserts that every tag is closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open[-1:] != ["style"]:
            self.text += data


def trace_of(*texts: str, vocabulary: int | None = 1000) -> Trace:
    steps = [
        Step(
            position, Role.LLM if position % 3 == 1 else Role.SLM, position, text, 0.01 * position, 0.5, 2, 1.5,
            0.3 if position % 3 == 1 else None,
        )
        for position, text in enumerate(texts)
    ]  # fmt: skip
    sizes = {} if vocabulary is None else {"vocabulary": {"slm": vocabulary, "llm": vocabulary}}
    trace = Trace(1, {"pair": NASTY, "router": "entropy:0.02", **sizes}, steps, stop="eog")
    for step in steps:
        trace.tokens[step.role] += 1
    return trace


def test_the_notebook_view_has_every_token_and_no_script() -> None:
    html = notebook_view(trace_of("It", " is", " 4", NASTY))
    reader = Reader(html)
    assert reader.text.count(safe_text(NASTY)) == 2
    tags = {tag for tag, _ in reader.tags}
    assert not tags & {"script", "link", "img", "iframe", "html", "body"}
    # A notebook may show several answers.
    assert not any("id" in attributes for _, attributes in reader.tags)
    assert not re.search(r"url\(|@import|https?:", html)
    titles = [attributes["title"] or "" for tag, attributes in reader.tags if tag == "span" and "title" in attributes]
    assert len(titles) == 4
    assert titles[1].split("\n") == [
        "LLM, token 1",
        "entropy 0.0100 (0.069 nats)",
        "top-1 probability 50.0 %",
        "swap to the LLM: SLM entropy 0.3000 (2.072 nats)",
        "2 tokens evaluated in 1.5 ms",
    ]


def test_the_style_affects_nothing_else_in_a_notebook() -> None:
    css = (Path(rstitch_local.trace.page.__file__).parent / "page.css").read_text(encoding="utf-8")
    css = re.sub(r"/\*.*?\*/", "", css, flags=re.S)
    selectors = [
        selector.strip()
        for head in re.findall(r"([^{};]+)\{", css)
        if not head.strip().startswith("@media")
        for selector in head.split(",")
    ]
    assert len(selectors) > 50
    assert {s for s in selectors if not s.startswith((".rstitch", "div.rstitch", "html:has(> .rstitch.page)"))} == set()


@given(st.lists(st.text(max_size=5) | st.just(NASTY), max_size=3), st.text(max_size=5) | st.just(NASTY))
def test_untrusted_text_is_escaped(texts: list[str], candidate: str) -> None:
    trace = trace_of(*texts)
    predictions = [
        {Role.SLM: Prediction(0.1, [Candidate(-1, candidate, 0.25)]), Role.LLM: Prediction(0.2, [])} for _ in texts
    ]
    html = document(candidate, [answer_html(trace, prefix=candidate, predictions=predictions)])
    harmless = answer_html(trace_of(*("x" for _ in texts)), prefix="x" if candidate else "", predictions=predictions)
    plain = document("x", [harmless])

    def shape(text: str) -> list[str]:
        # The reasoning has its own section, so that there may be one or two.
        tags = [tag for tag, _ in Reader(text).tags]
        return sorted(tag for tag in tags if tag not in ("section", "details", "summary", "h2", "div"))

    assert shape(html) == shape(plain)
    assert not CONTROLS.search(html)
    for _, attributes in Reader(html).tags:
        if "data-predictions" in attributes:
            first, second = json.loads(attributes["data-predictions"] or "")
            name, entropy, ((text, share, _),) = first
            assert (name, entropy, text, share) == ("SLM", "0.1000 (0.691 nats)", visible(candidate), 0.25)
            assert second == ["LLM", "0.2000 (1.382 nats)", []]


def test_a_page_has_the_verdict_and_the_question() -> None:
    answer = LoadedAnswer("id " + NASTY, trace_of("a", "b"), NASTY, False, "wrong: answered 4, gold answer " + NASTY)
    html = answer_page(answer)
    assert '<p class="verdict wrong"><b>✗</b> wrong: answered 4, gold answer &lt;/script&gt;' in html
    # Title of the document, heading, question, verdict, and the name of the pair.
    assert Reader(html).text.count(safe_text(NASTY)) == 5
    assert not CONTROLS.search(html)
    assert html.count("<script>") == html.count("</script>") == 1
    plain = answer_page(LoadedAnswer("", trace_of("a", "b")))
    assert "Question" not in plain
    assert "verdict" not in plain[plain.index("<body") :]
    assert "An answer, token by token" in plain


def test_the_token_of_the_answer_is_marked_in_both_predictions() -> None:
    trace = trace_of("a", "b", "c", vocabulary=None)
    predictions = {
        Role.SLM: Prediction(0.5, [Candidate(99, "x", 0.6), Candidate(98, "b", 0.4)]),
        # In the model that generated it the token is found by its id.
        Role.LLM: Prediction(0.25, [Candidate(1, "b", 0.9), Candidate(98, "b", 0.1)]),
    }
    assert prediction_rows(trace, 1, predictions) == [
        ("SLM", "0.5000", [("x", 0.6, 0), ("b", 0.4, 1)]),
        ("LLM", "0.2500", [("b", 0.9, 1), ("b", 0.1, 0)]),
    ]


def test_a_trace_is_a_page_with_its_question_and_alternatives() -> None:
    trace = trace_of("a", "b", "c")
    page = trace.to_html("Is <b> safe?")
    assert page == answer_page(LoadedAnswer("", trace, "Is <b> safe?"))
    assert "Is <b> safe?" in Reader(page).text
    view = {role: Prediction(0.25, [Candidate(7, "another", 0.5)]) for role in Role}
    assert "another" not in page
    assert "another" in trace.to_html(predictions=[view] * 3)
    with pytest.raises(UsageError, match="There are 2 predictions for 3 tokens"):
        trace.to_html(predictions=[view] * 2)
