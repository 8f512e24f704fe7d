"""The part of a page that a notebook shows, and what is put on a page of both models' views."""

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
from rstitch_local.sanitize import safe_text, visible
from rstitch_local.trace.page.chart import chart, tau_at
from rstitch_local.trace.page.document import document
from rstitch_local.trace.page.tokens import View, answer_html
from rstitch_local.trace.record import Trace

NASTY = "</script></style><img src=x onerror=alert(2)> &amp; ' \" \x1b[31m\x9b\x07\u202e\u2066\u061c ]]> --> `"
UNWANTED = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
VOID = ("meta", "circle", "path")


class Reader(HTMLParser):
    """Tags, attributes and texts as a browser would find them; complains of a tag that is not closed."""

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


def test_a_notebook_gets_every_token_and_no_script() -> None:
    html = trace_of("It", " is", " 4", NASTY)._repr_html_()
    reader = Reader(html)
    assert reader.text.count(safe_text(NASTY)) == 2
    tags = {tag for tag, _ in reader.tags}
    assert not tags & {"script", "link", "img", "iframe", "html", "body"}
    # Several answers can stand in one notebook.
    assert not any("id" in attributes for _, attributes in reader.tags)
    assert not re.search(r"url\(|@import|https?:", html)
    shown = [attributes["title"] or "" for tag, attributes in reader.tags if tag == "span" and "title" in attributes]
    assert len(shown) == 4
    assert shown[1].split("\n") == [
        "LLM, token 1",
        "entropy 0.0100 (0.069 nats)",
        "likeliest token 50.0 %",
        "the SLM was unsure: entropy 0.3000 (2.072 nats)",
        "2 tokens evaluated in 1.5 ms",
    ]


def test_the_style_reaches_nothing_else_in_a_notebook() -> None:
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
def test_whatever_is_said_stays_text(texts: list[str], candidate: str) -> None:
    trace = trace_of(*texts)
    views: list[View] = [[("SLM", "0.1", [(candidate, 0.25, True)]), ("LLM", "0.2", [])] for _ in texts]
    html = document(candidate, [answer_html(trace, prefix=candidate, views=views)])
    plain = document("x", [answer_html(trace_of(*("x" for _ in texts)), prefix="x" if candidate else "", views=views)])

    def shape(text: str) -> list[str]:
        # Thinking has a section of its own, so that there may be one or two.
        tags = [tag for tag, _ in Reader(text).tags]
        return sorted(tag for tag in tags if tag not in ("section", "details", "summary", "h2", "div"))

    assert shape(html) == shape(plain)
    assert not UNWANTED.search(html)
    for _, attributes in Reader(html).tags:
        if "data-view" in attributes:
            first, second = json.loads(attributes["data-view"] or "")
            assert first == ["SLM", "0.1", [[visible(candidate), 0.25, 1]]]
            assert second == ["LLM", "0.2", []]


def test_the_chart_has_nats_where_they_are_known() -> None:
    with_nats, without = chart(trace_of("a", "b", "c")), chart(trace_of("a", "b", "c", vocabulary=None))
    assert ">nats<" in with_nats
    assert "nats" not in without
    # 1 nat of ln 1000 lies where 0.145 does: a little above the line of 0.1.
    heights = {text: float(y) for y, text in re.findall(r'y="([\d.]+)">([\d.]+)</text>', with_nats)}
    assert re.search(r'<text class="first" x="964" y="[\d.]+">1</text>', with_nats)
    one_nat = float(re.findall(r'x="964" y="([\d.]+)">1</text>', with_nats)[0])
    assert heights["0.01"] > one_nat
    trace = trace_of("a", "b", "c")
    trace.settings = {"vocabulary": {"slm": 1000, "llm": 100_000}}
    assert "nats" not in chart(trace)


def test_the_band_is_where_the_llm_wrote() -> None:
    (band,) = re.findall(r'class="band" d="([^"]*)"', chart(trace_of("a", "b", "c", "d", vocabulary=None)))
    starts = [float(x) for x in re.findall(r"M([\d.]+)", band)]
    assert starts == pytest.approx([44 + 952 / 4], abs=0.1)
    assert 'class="band"' not in chart(trace_of("a"))


def test_tau_at_a_token_is_the_last_that_was_set() -> None:
    trace = trace_of("a", "b", "c", "d")
    trace.taus = [(1, 0.5), (3, 0.1)]
    assert [tau_at(trace, index) for index in range(4)] == [0.02, 0.5, 0.5, 0.1]
    trace.settings, trace.taus = {"router": "slm"}, []
    assert tau_at(trace, 0) is None
