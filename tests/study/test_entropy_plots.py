from __future__ import annotations

import struct
from importlib.util import find_spec
from pathlib import Path

import pytest

from rstitch_local.errors import StorageError
from rstitch_local.study import entropy_plots
from rstitch_local.study.entropy_metrics import EntropyMetrics, entropy_metrics
from rstitch_local.study.entropy_study import StudyRun
from rstitch_local.study.harmful_token import HarmSearch

MISSING_LIBRARY = None in (find_spec("matplotlib"), find_spec("scipy"))
pytestmark = pytest.mark.skipif(MISSING_LIBRARY, reason="needs matplotlib and scipy: install '.[study]'")


def metrics_of(*entropies: list[float], harms: dict[str, HarmSearch] | None = None) -> EntropyMetrics:
    rows = [
        {
            "id": str(index),
            "correct": index % 2 == 0,
            "stop": "eog",
            "entropies": values,
            "answer_tokens": values,
            "pieces": ["x"] * len(values),
            "agrees": [False] * len(values),
        }
        for index, values in enumerate(entropies)
    ]
    return entropy_metrics(StudyRun(rows, harms or {}, {}, {}, (0, 0), 6.0, 0.02))


@pytest.mark.parametrize(
    ("entropies", "harms", "expected"),
    [
        (([0.0],), {}, {"histogram", "right_and_wrong", "prediction"}),
        (
            ([0.1, 1.0], [1.0, 0.0]),
            {"1": HarmSearch("found", 0, 1)},
            {"histogram", "right_and_wrong", "before_harm", "prediction"},
        ),
    ],
    ids=["one token of zero entropy", "one harmful token with nothing before it"],
)
def test_minimal_data_can_be_drawn(
    tmp_path: Path, entropies: tuple[list[float], ...], harms: dict[str, HarmSearch], expected: set[str]
) -> None:
    metrics = metrics_of(*entropies, harms=harms)
    for name in ("histogram", "right_and_wrong", "before_harm", "prediction"):
        getattr(entropy_plots, f"draw_{name}")(metrics, tmp_path / name)
    assert {path.stem for path in tmp_path.iterdir()} == expected
    for name in expected:
        data = (tmp_path / f"{name}.png").read_bytes()
        width, height = struct.unpack(">II", data[16:24])
        assert data.startswith(b"\x89PNG")
        assert width >= 1000
        assert height >= 700
        # Axis labels are searchable text and include the unit.
        assert "(nats" in (tmp_path / f"{name}.svg").read_text(encoding="utf-8")


def test_the_same_data_give_the_same_files(tmp_path: Path) -> None:
    for name in "ab":
        entropy_plots.draw_right_and_wrong(metrics_of([0.1], [0.2], [0.3]), tmp_path / name)
    for suffix in (".png", ".svg"):
        assert (tmp_path / "a").with_suffix(suffix).read_bytes() == (tmp_path / "b").with_suffix(suffix).read_bytes()


def test_a_missing_folder_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        entropy_plots.draw_histogram(metrics_of([0.1]), tmp_path / "none" / "x")
