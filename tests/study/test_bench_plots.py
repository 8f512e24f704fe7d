from __future__ import annotations

import itertools
import sys
from pathlib import Path
from typing import Any

import pytest
from bench_fakes import results_of, some_rows

from rstitch_local.errors import StorageError, UsageError
from rstitch_local.study import bench_plots
from rstitch_local.study.router_metrics import RouterMetrics


def crowded() -> list[RouterMetrics]:
    """Return eight routers, most of them close together, and the two models alone."""
    near = {f"entropy_0.0{n}": some_rows("r" * (20 + n % 3) + "w" * (10 - n % 3), 100 + 3 * n) for n in range(1, 7)}
    others = {"window_8:0.003": some_rows("r" * 21 + "w" * 9, 104), "margin_0.2": some_rows("r" * 21 + "w" * 9, 104)}
    llm = some_rows("r" * 27 + "w" * 3, 900, tokens={"slm": 0, "llm": 9})
    results, _ = results_of(llm=llm, slm=some_rows("w" * 30, 40, tokens={"slm": 9, "llm": 0}), **near, **others)
    return results


def test_without_matplotlib_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UsageError, match=r"rstitch-local\[study\]"):
        bench_plots.draw(crowded(), tmp_path)


def test_three_plots_in_two_formats(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    files = bench_plots.draw(crowded(), tmp_path)
    assert [file.name for file in files] == [
        "accuracy-latency.png", "accuracy-latency.svg", "accuracy-share.png", "accuracy-share.svg",
        "latency-parts.png", "latency-parts.svg",
    ]  # fmt: skip
    for file in files:
        data = file.read_bytes()
        assert data.startswith(b"\x89PNG" if file.suffix == ".png" else b"<?xml")
    share = (tmp_path / "accuracy-share.svg").read_text(encoding="utf-8")
    for text in ("window:8:0.003", "Accuracy (%)", "LLM share of tokens (%)"):
        assert text in share
    assert "Mean time per problem (ms)" in (tmp_path / "latency-parts.svg").read_text(encoding="utf-8")
    # The same data give the same file.
    before = files[1].read_bytes()
    bench_plots.draw(crowded(), tmp_path)
    assert files[1].read_bytes() == before


def test_labels_cover_neither_each_other_nor_points() -> None:
    pytest.importorskip("matplotlib")
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure = bench_plots.accuracy_against_latency(crowded())
    renderer: Any = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call,unused-ignore]
    figure.draw(renderer)
    axes = figure.axes[0]
    boxes = [text.get_window_extent(renderer) for text in axes.texts]
    assert sorted(text.get_text() for text in axes.texts) == sorted(result.router for result in crowded())
    for one, other in itertools.combinations(boxes, 2):
        assert not one.overlaps(other)
    frame = axes.get_window_extent(renderer)
    for box in boxes:
        assert frame.x0 <= box.x0
        assert box.x1 <= frame.x1
    marks: list[Any] = [line for line in axes.lines if line.get_gid()]
    assert len(marks) == 10
    for line in marks:
        x, y = axes.transData.transform(line.get_xydata()[0])
        assert not any(box.contains(x, y) for box in boxes)


def test_the_dashed_line_is_the_pareto_front() -> None:
    pytest.importorskip("matplotlib")
    results = crowded()
    lines: list[Any] = list(bench_plots.accuracy_against_latency(results).axes[0].lines)
    dashed = next(line for line in lines if line.get_linestyle() == "--")
    drawn = [tuple(point) for point in dashed.get_xydata()]
    best = -1.0
    expected = []
    for result in sorted(results, key=lambda result: result.seconds or 0):
        if (result.accuracy or 0) > best:
            best = result.accuracy or 0
            expected.append((pytest.approx((result.seconds or 0) * 1e3), best))
    assert drawn == expected


@pytest.mark.parametrize("verdicts", ["r", "w", "rrrr", "wwww"])
def test_uniform_verdicts_can_be_drawn(verdicts: str, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    results, _ = results_of(llm=some_rows(verdicts, 100), slm=some_rows(verdicts, 100))
    assert len(bench_plots.draw(results, tmp_path)) == 6


def test_plots_without_data_are_left_out(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    ungraded, _ = results_of(llm=some_rows("--", 100))
    assert [file.name for file in bench_plots.draw(ungraded, tmp_path)] == ["latency-parts.png", "latency-parts.svg"]
    failed, _ = results_of(llm=some_rows("ee"))
    assert bench_plots.draw(failed, tmp_path) == []
    (tmp_path / "accuracy-share.png").mkdir()
    with pytest.raises(StorageError):
        bench_plots.draw(crowded(), tmp_path)
