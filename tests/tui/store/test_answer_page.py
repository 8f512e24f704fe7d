from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from chat_samples import make_steps, make_trace
from hypothesis import given
from hypothesis import strategies as st

from rstitch_local.sanitize import safe_text
from rstitch_tui.chat_settings import ChatSettings
from rstitch_tui.store import Chat, Message, export

NASTY = "</script><script>alert(1)</script><img src=x onerror=alert(2)> &amp; ' \" \x1b[31m\x07\u202e\ud83d ]]> --> `"


class _Page(HTMLParser):
    """The elements and texts that a browser finds in a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, str] = {}
        self._open_elements: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = dict(attributes)
        self.elements.append((tag, values))
        if tag not in ("meta", "circle", "path"):
            self._open_elements.append(str(values.get("class") or f"{tag} element"))
        elif tag != "meta":
            self._open_elements.append(tag)

    def handle_endtag(self, _tag: str) -> None:
        self._open_elements.pop()

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))

    def handle_data(self, data: str) -> None:
        for name in set(self._open_elements):
            self.texts[name] = self.texts.get(name, "") + data

    def tokens(self) -> list[dict[str, str | None]]:
        spans = [values for tag, values in self.elements if tag == "span" and values.get("title")]
        return [values for values in spans if str(values.get("class")).startswith("t ")]


def _page_of(texts: list[str], prefix: str = "", title: str = "title", **changes: Any) -> tuple[_Page, str]:
    trace = make_trace(make_steps(texts), **changes)
    chat = Chat(1, title, ChatSettings(), 2, 0.0, 0.0)
    question = Message(1, 1, None, "user", "", title, None, "", 0.0)
    answer = Message(2, 1, 1, "assistant", prefix, prefix + trace.text, "eog", title, 0.0)
    html = export.to_html(chat, question, answer, trace)
    return _Page(html), html


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def test_a_page_shows_each_token_in_the_color_of_its_model_with_its_metrics() -> None:
    page, _ = _page_of(["It", " is", " four", "\n", ""], taus=[(2, 0.5)])
    tokens = page.tokens()
    classes = [str(token["class"]).split() for token in tokens]
    assert [marks[1] for marks in classes] == ["s", "s", "l", "s", "s"]
    assert [marks[3:] for marks in classes] == [[], [], ["swap"], ["newline"], ["empty"]]
    assert str(tokens[2]["title"]).split("\n") == [
        "LLM, token 2",
        "entropy 0.0010",
        "top-1 probability 98.0 %",
        "swap to the LLM: SLM entropy 0.3000",
        "3 tokens evaluated in 0.3 ms",
    ]
    assert "swap back to the SLM" in str(tokens[3]["title"])
    assert page.texts["text answer"] == "It is four\n"
    assert "20.0 %" in page.texts["metrics"]
    assert "2.5 tok/s" in page.texts["metrics"]
    assert "entropy:0.02" in page.texts["settings"]
    assert "finished" in page.texts["header element"]


@given(st.lists(st.text() | st.just(NASTY), max_size=4), st.text() | st.just(NASTY), st.text() | st.just(NASTY))
def test_no_text_becomes_markup_of_the_page(texts: list[str], prefix: str, title: str) -> None:
    page, html = _page_of(texts, prefix, title)
    plain, _ = _page_of(["x"] * len(texts), "x" if prefix else "", "x" if title else "")

    def shape(page: _Page) -> list[str]:
        # Thinking adds a section, so there may be one or two.
        return sorted(tag for tag, _ in page.elements if tag not in ("section", "details", "summary", "h2", "div"))

    assert shape(page) == shape(plain)
    text = "".join(safe_text(text) for text in (prefix, *texts))
    assert page.texts.get("text answer", "") == text
    assert page.texts.get("text", "") == safe_text(title)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u202e\ud800-\udfff]", html)


def test_a_page_loads_nothing_from_the_network_and_allows_only_its_own_script() -> None:
    page, html = _page_of([NASTY], NASTY, NASTY)
    (script,) = re.findall(r"<script>(.*?)</script>", html, re.S)
    (style,) = re.findall(r"<style>(.*?)</style>", html, re.S)
    policy = next(values["content"] for _, values in page.elements if "http-equiv" in values)
    assert policy == f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; base-uri 'none'"
    names = {name for _, values in page.elements for name in values}
    assert not names & {"src", "href", "style", "srcset", "action", "onerror"}
    assert not re.search(r"url\(|@import|fetch|https?:|innerHTML|\beval\(", html)


def test_a_page_separates_the_thinking_from_the_answer() -> None:
    page, _ = _page_of(["<th", "ink>", "hmm", "</think>", "It is", " 4"])
    assert page.texts["details element"] == "Thinking, 4 tokens<think>hmm</think>"
    assert page.texts["section element"] == "AnswerIt is 4"
    # The opening tag is in the prefix: the tokens are inside the thinking.
    page, _ = _page_of(["hmm", " so"], prefix="<think>")
    assert page.texts["details element"] == "Thinking, 2 tokens<think>hmm so"
    assert page.texts["section element"] == "Answer"
    assert page.texts["prefix"] == "<think>"


def test_a_page_of_an_answer_without_tokens_has_no_chart() -> None:
    page, html = _page_of([], prefix="given")
    assert page.tokens() == []
    assert "<svg" not in html
    assert page.texts["text answer"] == "given"


def test_a_page_is_utf_8(tmp_path: Path) -> None:
    _, html = _page_of(["naïve 🐔"])
    (tmp_path / "page.html").write_text(html, encoding="utf-8")
    assert html.startswith("<!DOCTYPE html>")
    assert '<meta charset="utf-8">' in html[:200]
