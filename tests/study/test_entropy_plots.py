from __future__ import annotations

import struct
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from rstitch_local.errors import StorageError
from rstitch_local.study import entropy_plots
from rstitch_local.study.entropy_metrics import figures_of
from rstitch_local.study.entropy_study import StudyRun
from rstitch_local.study.harmful_token import Harm

pytestmark = pytest.mark.skipif(find_spec("matplotlib") is None, reason="draws figures: install '.[study]'")


def run_of(*entropies: list[float], harms: dict[str, Harm] | None = None) -> Any:
    rows = [
        {
            "id": str(place),
            "correct": place % 2 == 0,
            "stop": "eog",
            "entropies": values,
            "answer_tokens": values,
            "pieces": ["x"] * len(values),
            "agrees": [False] * len(values),
        }
        for place, values in enumerate(entropies)
    ]
    return figures_of(StudyRun(rows, harms or {}, {}, {}, (0, 0), 6.0, 0.02))


@pytest.mark.parametrize(
    ("figures", "expected"),
    [
        (run_of([0.0]), {"histogram", "right_and_wrong", "prediction"}),
        (run_of([0.1, 1.0], [1.0, 0.0], harms={"1": Harm("found", 0, 1)}), None),
    ],
    ids=["one token that is certain", "one harmful token, nothing before it"],
)
def test_little_is_drawn_as_well(tmp_path: Path, figures: Any, expected: set[str] | None) -> None:
    names = {"histogram", "right_and_wrong", "before_harm", "prediction"}
    for name in names:
        getattr(entropy_plots, f"draw_{name}")(figures, tmp_path / name)
    found = {path.stem for path in tmp_path.iterdir()}
    assert found == (expected or names)
    for name in found:
        data = (tmp_path / f"{name}.png").read_bytes()
        width, height = struct.unpack(">II", data[16:24])
        assert data.startswith(b"\x89PNG")
        assert width >= 1000
        assert height >= 700
        svg = (tmp_path / f"{name}.svg").read_text(encoding="utf-8")
        # Every axis has its unit, as text that can be searched.
        assert "(nats" in svg


def test_the_same_numbers_make_the_same_files(tmp_path: Path) -> None:
    for name in "ab":
        entropy_plots.draw_right_and_wrong(run_of([0.1], [0.2], [0.3]), tmp_path / name)
    for suffix in (".png", ".svg"):
        assert (tmp_path / "a").with_suffix(suffix).read_bytes() == (tmp_path / "b").with_suffix(suffix).read_bytes()


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        entropy_plots.draw_histogram(run_of([0.1]), tmp_path / "none" / "x")
