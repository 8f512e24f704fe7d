from __future__ import annotations

import base64
import hashlib
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from chat_samples import make_steps, make_trace
from hypothesis import given
from hypothesis import strategies as st

from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.step import Step
from rstitch_local.sanitize import safe_text
from rstitch_local.trace.page.chart import chart, level, tau_at_start
from rstitch_local.trace.record import Trace
from rstitch_tui.chat_settings import ChatSettings
from rstitch_tui.store import Chat, Message, export

NASTY = "</script><script>alert(1)</script><img src=x onerror=alert(2)> &amp; ' \" \x1b[31m\x07\u202e\ud83d ]]> --> `"


class _Page(HTMLParser):
    """What a browser would find in a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.inside: dict[str, str] = {}
        self._open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = dict(attributes)
        self.elements.append((tag, values))
        if tag not in ("meta", "circle", "path"):
            self._open.append(str(values.get("class") or f"{tag} element"))
        elif tag != "meta":
            self._open.append(tag)

    def handle_endtag(self, _tag: str) -> None:
        self._open.pop()

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))

    def handle_data(self, data: str) -> None:
        for name in set(self._open):
            self.inside[name] = self.inside.get(name, "") + data

    def tokens(self) -> list[dict[str, str | None]]:
        found = [values for tag, values in self.elements if tag == "span" and values.get("title")]
        return [values for values in found if str(values.get("class")).startswith("t ")]


def _page_of(texts: list[str], prefix: str = "", title: str = "title", **changes: Any) -> tuple[_Page, str]:
    trace = make_trace(make_steps(texts), **changes)
    chat = Chat(1, title, ChatSettings(), 2, 0.0, 0.0)
    question = Message(1, 1, None, "user", "", title, None, "", 0.0)
    written = Message(2, 1, 1, "assistant", prefix, prefix + trace.text, "eog", title, 0.0)
    html = export.to_html(chat, question, written, trace)
    return _Page(html), html


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def test_a_page_shows_each_token_in_its_models_colour_with_its_figures() -> None:
    page, _ = _page_of(["It", " is", " four", "\n", ""], taus=[(2, 0.5)])
    tokens = page.tokens()
    classes = [str(token["class"]).split() for token in tokens]
    assert [marks[1] for marks in classes] == ["s", "s", "l", "s", "s"]
    assert [marks[3:] for marks in classes] == [[], [], ["swap"], ["newline"], ["none"]]
    assert str(tokens[2]["title"]).split("\n") == [
        "LLM, token 2",
        "entropy 0.0010",
        "likeliest token 98.0 %",
        "the SLM was unsure: entropy 0.3000",
        "3 tokens evaluated in 0.3 ms",
    ]
    assert "control came back" in str(tokens[3]["title"])
    assert page.inside["text answer"] == "It is four\n"
    assert "20.0 %" in page.inside["figures"]
    assert "2.5 tok/s" in page.inside["figures"]
    assert "entropy:0.02" in page.inside["circumstances"]
    assert "ended by the model" in page.inside["header element"]


@given(st.lists(st.text() | st.just(NASTY), max_size=4), st.text() | st.just(NASTY), st.text() | st.just(NASTY))
def test_nothing_that_was_said_becomes_part_of_a_page(texts: list[str], prefix: str, title: str) -> None:
    page, html = _page_of(texts, prefix, title)
    plain, _ = _page_of(["x"] * len(texts), "x" if prefix else "", "x" if title else "")

    def shape(page: _Page) -> list[str]:
        # Thinking has a section of its own, so that there may be one or two.
        return sorted(tag for tag, _ in page.elements if tag not in ("section", "details", "summary", "h2", "div"))

    assert shape(page) == shape(plain)
    said = "".join(safe_text(text) for text in (prefix, *texts))
    assert page.inside.get("text answer", "") == said
    assert page.inside.get("text", "") == safe_text(title)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u202e\ud800-\udfff]", html)


def test_a_page_asks_the_network_for_nothing_and_runs_its_own_script_alone() -> None:
    page, html = _page_of([NASTY], NASTY, NASTY)
    (script,) = re.findall(r"<script>(.*?)</script>", html, re.S)
    (style,) = re.findall(r"<style>(.*?)</style>", html, re.S)
    policy = next(values["content"] for _, values in page.elements if "http-equiv" in values)
    assert policy == f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; base-uri 'none'"
    names = {name for _, values in page.elements for name in values}
    assert not names & {"src", "href", "style", "srcset", "action", "onerror"}
    assert not re.search(r"url\(|@import|fetch|https?:|innerHTML|\beval\(", html)


def test_a_page_parts_the_thinking_from_the_answer() -> None:
    page, _ = _page_of(["<th", "ink>", "hmm", "</think>", "It is", " 4"])
    assert page.inside["details element"] == "Thinking, 4 tokens<think>hmm</think>"
    assert page.inside["section element"] == "AnswerIt is 4"
    # The mark was given, and the answer goes on inside the thinking.
    page, _ = _page_of(["hmm", " so"], prefix="<think>")
    assert page.inside["details element"] == "Thinking, 2 tokens<think>hmm so"
    assert page.inside["section element"] == "Answer"
    assert page.inside["given"] == "<think>"


def test_a_page_of_an_answer_without_tokens_has_no_chart() -> None:
    page, html = _page_of([], prefix="given")
    assert page.tokens() == []
    assert "<svg" not in html
    assert page.inside["text answer"] == "given"


def _steps(count: int) -> list[Step]:
    return make_steps(["x"] * count)


def _svg(trace: Trace) -> ElementTree.Element:
    return ElementTree.fromstring(re.findall(r"<svg.*</svg>", chart(trace))[0])


def _marks(svg: ElementTree.Element, name: str) -> str:
    return "".join(path.get("d", "") for path in svg.iter("path") if path.get("class") == name)


def test_the_chart_has_a_bar_for_each_token_and_a_dot_where_the_llm_took_over() -> None:
    svg = _svg(make_trace(_steps(60)))
    assert (_marks(svg, "slm").count("M"), _marks(svg, "llm").count("M")) == (40, 20)
    assert len(list(svg.iter("circle"))) == 20
    assert svg.get("data-tokens") == "60"


def test_many_tokens_share_a_bar_which_is_that_of_the_least_sure() -> None:
    steps = _steps(20_000)
    steps[777].entropy, steps[777].role = 1.0, Role.LLM
    trace = make_trace(steps)
    svg = _svg(trace)
    bars = [_marks(svg, role.value) for role in Role]
    assert 200 < sum(bar.count("M") for bar in bars) < 500
    # Up to the very top.
    assert re.search(r"V22\.0(M|$)", bars[1])
    assert not re.search(r"V22\.0(M|$)", bars[0])
    assert len(chart(trace)) < 50_000


def test_tau_is_drawn_with_its_changes() -> None:
    svg = _svg(make_trace(_steps(10), taus=[(5, 0.5), (7, math.inf)]))
    line = _marks(svg, "tau")
    start, *changes = re.findall(r"[MHV][\d. ]+", line)
    heights = [float(start.split()[1]), *(float(change[1:]) for change in changes if change[0] == "V")]
    assert heights == sorted(heights, reverse=True)
    assert len(heights) == 3
    assert [float(change[1:]) for change in changes if change[0] == "H"] == [520.0, 710.4, 996.0]
    assert [text.text for text in svg.iter("text") if text.get("class") == "tau"] == ["tau inf"]


@pytest.mark.parametrize(
    ("settings", "tau"),
    [
        ({"router": "entropy:0.03"}, 0.03),
        ({"router": "entropy:0.03", "tau": 0.5}, 0.5),
        ({"router": "entropy"}, 0.02),
        ({"router": "slm", "tau": None}, None),
        ({"router": "of another version:3"}, None),
        ({}, None),
    ],
)
def test_tau_is_known_only_where_it_decides(settings: dict[str, object], tau: float | None) -> None:
    trace = make_trace(_steps(3))
    trace.settings = settings
    assert tau_at_start(trace) == tau
    assert ("tau" in chart(trace)) == (tau is not None)


def test_levels_rise_with_the_entropy_from_sure_to_at_a_loss() -> None:
    levels = [level(entropy) for entropy in (0.0, 0.0005, 0.001, 0.02, 0.3, 1.0, 1.1)]
    assert levels == sorted(levels)
    assert (levels[0], levels[1], levels[-2], levels[-1]) == (0.0, 0.0, 1.0, 1.0)
    assert 0.4 < level(0.02) < 0.6
    assert level(math.nan) == 0.0


def test_the_page_in_a_file_is_readable_utf_8(tmp_path: Path) -> None:
    _, html = _page_of(["naïve 🐔"])
    (tmp_path / "page.html").write_text(html, encoding="utf-8")
    assert html.startswith("<!DOCTYPE html>")
    assert '<meta charset="utf-8">' in html[:200]
