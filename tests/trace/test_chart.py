"""The chart of the entropies: bars, dots, axes, the band of the LLM, tau; and the scale behind it."""

from __future__ import annotations

import math
import re
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.step import Step
from rstitch_local.trace.page.chart import chart
from rstitch_local.trace.record import Trace
from rstitch_local.trace.scale import level, tau_at, tau_at_start


def trace_of(count: int, *, vocabulary: int | None = None, llm_every: int = 3) -> Trace:
    """A trace in which every third token is from the LLM, after a swap."""
    steps = [
        Step(
            position=position,
            role=Role.LLM if position % llm_every == 1 else Role.SLM,
            token=position,
            text="x",
            entropy=0.001 * (position % 50 + 1) / 3,
            top1=0.5,
            evaluated_tokens=2,
            ms=1.5,
            swap_entropy=0.3 if position % llm_every == 1 else None,
        )
        for position in range(count)
    ]
    sizes = {} if vocabulary is None else {"vocabulary": {"slm": vocabulary, "llm": vocabulary}}
    return Trace(1, {"router": "entropy:0.02", **sizes}, steps, stop="eog")


def svg_of(trace: Trace) -> ElementTree.Element:
    return ElementTree.fromstring(re.findall(r"<svg.*</svg>", chart(trace))[0])


def path_data(svg: ElementTree.Element, name: str) -> str:
    return "".join(path.get("d", "") for path in svg.iter("path") if path.get("class") == name)


def test_one_bar_per_token_and_one_dot_per_swap() -> None:
    svg = svg_of(trace_of(60))
    assert (path_data(svg, "slm").count("M"), path_data(svg, "llm").count("M")) == (40, 20)
    assert len(list(svg.iter("circle"))) == 20
    assert svg.get("data-tokens") == "60"


def test_in_a_long_answer_several_tokens_share_the_bar_of_the_highest() -> None:
    trace = trace_of(20_000)
    trace.steps[777].entropy, trace.steps[777].role = 1.0, Role.LLM
    svg = svg_of(trace)
    bars = [path_data(svg, role.value) for role in Role]
    assert 200 < sum(bar.count("M") for bar in bars) < 500
    # An entropy of 1 is at the top of the chart.
    assert re.search(r"V22\.0(M|$)", bars[1])
    assert not re.search(r"V22\.0(M|$)", bars[0])
    assert len(chart(trace)) < 50_000


def test_an_answer_without_tokens_has_no_chart() -> None:
    assert chart(Trace(1)) == ""


def test_an_axis_in_nats_needs_equal_vocabularies() -> None:
    with_nats, without = chart(trace_of(3, vocabulary=1000)), chart(trace_of(3))
    assert ">nats<" in with_nats
    assert "nats" not in without
    # With V = 1000, 1 nat is a normalized entropy of 0.145: a little above the tick of 0.1.
    heights = {text: float(y) for y, text in re.findall(r'y="([\d.]+)">([\d.]+)</text>', with_nats)}
    assert re.search(r'<text class="start" x="964" y="[\d.]+">1</text>', with_nats)
    one_nat = float(re.findall(r'x="964" y="([\d.]+)">1</text>', with_nats)[0])
    assert heights["0.01"] > one_nat
    trace = trace_of(3)
    trace.settings = {"vocabulary": {"slm": 1000, "llm": 100_000}}
    assert "nats" not in chart(trace)


def test_the_band_covers_the_tokens_of_the_llm() -> None:
    (band,) = re.findall(r'class="band" d="([^"]*)"', chart(trace_of(4)))
    starts = [float(x) for x in re.findall(r"M([\d.]+)", band)]
    assert starts == pytest.approx([44 + 952 / 4], abs=0.1)
    assert 'class="band"' not in chart(trace_of(1))


def test_tau_is_drawn_with_its_changes() -> None:
    trace = trace_of(10)
    trace.taus = [(5, 0.5), (7, math.inf)]
    svg = svg_of(trace)
    start, *changes = re.findall(r"[MHV][\d. ]+", path_data(svg, "tau"))
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
        ({"router": "learned:missing.safetensors"}, None),
        ({}, None),
    ],
)
def test_tau_needs_a_router_with_a_threshold(settings: dict[str, object], tau: float | None) -> None:
    trace = trace_of(3)
    trace.settings = settings
    assert tau_at_start(trace) == tau
    assert ("tau" in chart(trace)) == (tau is not None)


def test_the_router_of_a_trace_imports_no_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "router_from_a_file.py").write_text("def make():\n    raise AssertionError\n")
    monkeypatch.syspath_prepend(tmp_path)
    for spec in ("python:router_from_a_file:make", " python:router_from_a_file:make"):
        assert tau_at_start(Trace(1, {"router": spec})) is None
    assert "router_from_a_file" not in sys.modules


def test_tau_at_a_token_is_the_last_one_set() -> None:
    trace = trace_of(4)
    trace.taus = [(1, 0.5), (3, 0.1)]
    assert [tau_at(trace, index) for index in range(4)] == [0.02, 0.5, 0.5, 0.1]
    trace.settings, trace.taus = {"router": "slm"}, []
    assert tau_at(trace, 0) is None


def test_the_level_increases_with_the_entropy() -> None:
    levels = [level(entropy) for entropy in (0.0, 0.0005, 0.001, 0.02, 0.3, 1.0, 1.1)]
    assert levels == sorted(levels)
    assert (levels[0], levels[1], levels[-2], levels[-1]) == (0.0, 0.0, 1.0, 1.0)
    assert 0.4 < level(0.02) < 0.6
    assert level(math.nan) == 0.0
