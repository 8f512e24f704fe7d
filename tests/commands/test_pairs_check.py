"""`rstitch pairs check`: what it says of two files, what it refuses, and what it knows of costs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny_pair import CHATML, SPECIALS, TinyPair, write_model, write_pair, write_recurrent_model
from typer.testing import CliRunner

from rstitch_local import paths
from rstitch_local.commands.main import app
from rstitch_local.costs.fitting import Formula
from rstitch_local.costs.latency import ModelLatency, PairLatency
from rstitch_local.costs.store import calibration_of_files, store_calibration
from rstitch_local.costs.swap_cost import CACHED, swap_ms
from rstitch_local.decoding.roles import Role
from rstitch_local.engine.choice import choose_pair
from rstitch_local.engine.loading import load_choice, load_pair
from rstitch_local.engine.pair_check import check_pair
from rstitch_local.errors import ModelError, UsageError


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RSTITCH_HOME", str(tmp_path / "home"))


def said(files: TinyPair, *options: str, code: int = 0) -> str:
    done = CliRunner().invoke(app, ["pairs", "check", str(files.slm), str(files.llm), *options])
    assert done.exit_code == code, done.output
    return done.stdout


def test_a_pair_that_shares_its_tokens(tiny_pair: TinyPair) -> None:
    words = said(tiny_pair)
    assert words.startswith("slm.gguf + llm.gguf: shared\nAll 264 tokens have the same id and text in both.\n")
    assert "Special tokens" not in words
    assert "rstitch calibrate" in words


def test_a_pair_of_the_catalogue_by_its_name() -> None:
    done = CliRunner().invoke(app, ["pairs", "check", "demo"])
    assert done.exit_code == 0
    assert done.stdout.startswith("demo: shared\n")
    # Without a second word it is a name, whatever there is of that name on the disk.
    assert isinstance(CliRunner().invoke(app, ["pairs", "check", "none"]).exception, ModelError)


def test_one_file_is_no_pair(tiny_pair: TinyPair) -> None:
    error = CliRunner().invoke(app, ["pairs", "check", str(tiny_pair.slm)]).exception
    assert isinstance(error, UsageError)
    assert "as well" in error.hint


def test_the_list_is_what_it_was() -> None:
    done = CliRunner().invoke(app, ["pairs"])
    assert done.exit_code == 0
    assert "qwen2.5-coder" in done.stdout


def test_other_specials_and_widths(tmp_path: Path) -> None:
    files = write_pair(
        tmp_path,
        {"specials": ("<|end|>", "<|im_start|>", "[THINK]", "[/THINK]"), "padding": 40, "end": "<|end|>"},
        {"specials": (*SPECIALS, "<tool>")},
    )
    words = said(files)
    assert ": shared with a table\n" in words
    assert "264 tokens and 40 of padding, which are never drawn; reasoning: [THINK] [/THINK]" in words
    assert "(end of turn)" in words
    assert "[THINK]  is read as 262  (thinking)" in words
    assert "<tool>" in words
    report = json.loads(said(files, "--json"))
    assert report["kind"] == "shared with a table"
    assert report["works"]
    assert (report["slm"]["differing"], report["slm"]["body"], report["llm"]["differing"]) == (3, 0, 4)
    assert {special["how"] for special in report["specials"]} == {"end of turn", "thinking", "letters"}


def test_two_tokenisers(tmp_path: Path) -> None:
    files = write_pair(tmp_path, {"swap_tokens": True, "specials": (*SPECIALS[:2], "[THINK]", "[/THINK]")})
    words = said(files)
    assert ": foreign\n" in words
    assert "2 ordinary tokens differ, from id 97 on: 'b' in the SLM, 'a' in the LLM." in words
    assert "262 texts are tokens in both, of 264 and 264" in words
    assert "read as each model's own: [THINK] [/THINK] and <think> </think>" in words
    report = check_pair(choose_pair(slm=files.slm, llm=files.llm))
    assert report.ratio == 1
    assert report.tokenize_ms > 0


def test_what_cannot_be_asked_says_why(tmp_path: Path) -> None:
    files = write_pair(tmp_path, {"template": None})
    words = said(files, code=3)
    assert "Cannot work: The SLM has no usable chat template: slm.gguf has no chat template" in words
    assert "models.toml" in words


def test_what_cannot_write_says_why(tmp_path: Path) -> None:
    import gguf

    path = tmp_path / "encoder.gguf"
    writer = gguf.GGUFWriter(path, "bert")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    done = CliRunner().invoke(app, ["pairs", "check", str(path), str(path)])
    assert isinstance(done.exception, ModelError)
    assert "an encoder for embeddings, which cannot generate text" in str(done.exception)


def test_a_template_can_be_given(tmp_path: Path) -> None:
    files = write_pair(tmp_path, {"template": None})
    template = tmp_path / "chat.jinja"
    template.write_text("{# mine #}" + CHATML, encoding="utf-8")
    paths.user_catalog().parent.mkdir(parents=True)
    entry = f'[mine]\n[mine.slm]\nfile = "slm.gguf"\npath = "{files.slm}"\nchat_template = "{template}"\n'
    entry += f'[mine.llm]\nfile = "llm.gguf"\npath = "{files.llm}"\n'
    paths.user_catalog().write_text(entry, encoding="utf-8")
    done = CliRunner().invoke(app, ["pairs", "check", "mine"])
    assert done.exit_code == 0, done.output
    with load_choice(choose_pair("mine")) as pair:
        assert pair.render([{"role": "user", "content": "Hi"}], Role.SLM)
    template.unlink()
    with pytest.raises(ModelError, match=r"Cannot read chat template: .*chat\.jinja"):
        load_choice(choose_pair("mine"))
    template.write_bytes(b"\xff")
    with pytest.raises(ModelError, match="it is not UTF-8"):
        load_choice(choose_pair("mine"))


def test_a_model_that_cannot_forget_is_warned_of(tmp_path: Path) -> None:
    files = TinyPair(write_model(tmp_path / "slm.gguf"), write_recurrent_model(tmp_path / "llm.gguf"))
    words = said(files)
    assert "Warning: The KV cache of the LLM cannot be truncated" in words
    assert "evaluated from the beginning" in words


def test_a_calibration_tells_what_a_swap_costs(tmp_path: Path, tiny_pair: TinyPair) -> None:
    assert calibration_of_files(tiny_pair.slm, tiny_pair.llm) is None
    slm, llm = (
        ModelLatency(n_batch=64, formula=Formula(prefill=(0, 0, c, d), decode=(0, d))) for c, d in ((1, 2), (3, 5))
    )
    with load_pair(slm=tiny_pair.slm, llm=tiny_pair.llm) as pair:
        store_calibration(pair, PairLatency(slm=slm, llm=llm))
    choice = choose_pair(slm=tiny_pair.slm, llm=tiny_pair.llm)
    assert swap_ms(choice, check_pair(choice)) == {Role.SLM: 4 * 1 + 2, Role.LLM: 20 * 3 + 5}
    words = said(tiny_pair)
    assert f"with {CACHED} tokens in the caches" in words
    assert "after 20 tokens of the SLM 65.0 ms, down to the SLM after 4 of the LLM 6.0 ms" in words
    # Another file's is none of this one's.
    other = write_pair(tmp_path / "other", {"seed": 9})
    choice = choose_pair(slm=other.slm, llm=other.llm)
    assert swap_ms(choice, check_pair(choice)) is None
