"""`rstitch pairs check`: the report on two files, errors, and swap costs."""

from __future__ import annotations

import json
import os
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


def report_of(files: TinyPair, *options: str, code: int = 0) -> str:
    done = CliRunner().invoke(app, ["pairs", "check", str(files.slm), str(files.llm), *options])
    assert done.exit_code == code, done.output
    return done.stdout


def test_shared_tokens(tiny_pair: TinyPair) -> None:
    text = report_of(tiny_pair)
    assert text.startswith("slm.gguf + llm.gguf: shared\nAll 264 tokens have the same id and text in both.\n")
    assert "Special tokens" not in text
    assert "rstitch calibrate" in text


def test_a_pair_can_be_given_by_name() -> None:
    done = CliRunner().invoke(app, ["pairs", "check", "demo"])
    assert done.exit_code == 0
    assert done.stdout.startswith("demo: shared\n")
    # A single argument is the name of a pair, even if a file of that name exists.
    assert isinstance(CliRunner().invoke(app, ["pairs", "check", "none"]).exception, ModelError)


def test_a_missing_second_file_is_reported(tiny_pair: TinyPair) -> None:
    error = CliRunner().invoke(app, ["pairs", "check", str(tiny_pair.slm)]).exception
    assert isinstance(error, UsageError)
    assert "Add the file of the large model" in error.hint


def test_without_subcommand_the_pairs_are_listed() -> None:
    done = CliRunner().invoke(app, ["pairs"])
    assert done.exit_code == 0
    assert "qwen2.5-coder" in done.stdout


def test_different_special_tokens_and_vocabulary_sizes(tmp_path: Path) -> None:
    files = write_pair(
        tmp_path,
        {"specials": ("<|end|>", "<|im_start|>", "[THINK]", "[/THINK]"), "padding": 40, "end": "<|end|>"},
        {"specials": (*SPECIALS, "<tool>")},
    )
    text = report_of(files)
    assert ": shared with a table\n" in text
    assert "264 tokens and 40 of padding, which are never sampled; reasoning: [THINK] [/THINK]" in text
    assert "(end of turn)" in text
    assert "[THINK]  becomes 262  (thinking)" in text
    assert "<tool>" in text
    report = json.loads(report_of(files, "--json"))
    assert report["kind"] == "shared with a table"
    assert report["works"]
    assert (report["slm"]["differing"], report["slm"]["body"], report["llm"]["differing"]) == (3, 0, 4)
    assert {special["how"] for special in report["specials"]} == {"end of turn", "thinking", "letters"}


def test_different_tokenizers(tmp_path: Path) -> None:
    files = write_pair(tmp_path, {"swap_tokens": True, "specials": (*SPECIALS[:2], "[THINK]", "[/THINK]")})
    text = report_of(files)
    assert ": foreign\n" in text
    assert "2 ordinary tokens differ, from id 97 on: 'b' in the SLM, 'a' in the LLM." in text
    assert "262 texts are tokens in both, of 264 and 264" in text
    assert "Reasoning tags are translated: [THINK] [/THINK] in the SLM, <think> </think> in the LLM." in text
    report = check_pair(choose_pair(slm=files.slm, llm=files.llm))
    assert report.ratio == 1
    assert report.tokenize_ms > 0


def test_a_missing_chat_template_is_reported(tmp_path: Path) -> None:
    files = write_pair(tmp_path, {"template": None})
    text = report_of(files, code=3)
    assert "Error: The SLM has no usable chat template: slm.gguf has no chat template" in text
    assert "models.toml" in text


def test_an_encoder_is_refused(tmp_path: Path) -> None:
    import gguf

    path = tmp_path / "encoder.gguf"
    writer = gguf.GGUFWriter(path, "bert")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    done = CliRunner().invoke(app, ["pairs", "check", str(path), str(path)])
    assert isinstance(done.exception, ModelError)
    assert "an encoder for embeddings, which cannot generate text" in str(done.exception)


def test_models_toml_can_set_the_template(tmp_path: Path) -> None:
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
    with pytest.raises(ModelError, match="not UTF-8"):
        load_choice(choose_pair("mine"))
    template.write_bytes(b"x" * (2 << 20))
    with pytest.raises(ModelError, match="too large"):
        load_choice(choose_pair("mine"))
    # A byte order mark is not part of the prompt.
    template.write_text(CHATML, encoding="utf-8-sig")
    with load_choice(choose_pair("mine")) as pair:
        assert "\ufeff" not in pair.renderer.text([{"role": "user", "content": "Hi"}], Role.SLM)
    if os.name == "posix":
        template.unlink()
        os.mkfifo(template)
        with pytest.raises(ModelError, match="Is a pipe or a device"):
            load_choice(choose_pair("mine"))


def test_a_recurrent_model_gives_a_warning(tmp_path: Path) -> None:
    files = TinyPair(write_model(tmp_path / "slm.gguf"), write_recurrent_model(tmp_path / "llm.gguf"))
    text = report_of(files)
    assert "Warning: The KV cache of the LLM cannot be truncated" in text
    assert "evaluated from the beginning" in text


def test_swap_costs_come_from_the_calibration(tmp_path: Path, tiny_pair: TinyPair) -> None:
    assert calibration_of_files(tiny_pair.slm, tiny_pair.llm) is None
    slm, llm = (
        ModelLatency(n_batch=64, formula=Formula(prefill=(0, 0, c, d), decode=(0, d))) for c, d in ((1, 2), (3, 5))
    )
    with load_pair(slm=tiny_pair.slm, llm=tiny_pair.llm) as pair:
        store_calibration(pair, PairLatency(slm=slm, llm=llm))
    choice = choose_pair(slm=tiny_pair.slm, llm=tiny_pair.llm)
    assert swap_ms(choice, check_pair(choice)) == {Role.SLM: 4 * 1 + 2, Role.LLM: 20 * 3 + 5}
    text = report_of(tiny_pair)
    assert f"with {CACHED} cached tokens" in text
    assert "65.0 ms up to the LLM after 20 SLM tokens, 6.0 ms down to the SLM after 4 LLM tokens" in text
    # The calibration does not apply to other files.
    other = write_pair(tmp_path / "other", {"seed": 9})
    choice = choose_pair(slm=other.slm, llm=other.llm)
    assert swap_ms(choice, check_pair(choice)) is None
