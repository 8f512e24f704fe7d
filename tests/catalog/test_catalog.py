"""The catalog: shipped pairs, the user's changes, and errors in the files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rstitch_local import paths
from rstitch_local.catalog import store
from rstitch_local.catalog.catalog import load_catalog, shipped_path
from rstitch_local.errors import ModelError, UsageError

PAIRS = ["qwen2.5-coder", "r1-7b", "r1-14b", "l1-r1-7b", "l1-qwq-32b", "qwen3-8b", "qwen3-14b", "qwen3-32b"]
SUM = "0" * 64


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RSTITCH_HOME", str(tmp_path))


def user_file(text: str) -> Path:
    path = paths.user_catalog()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def error_message(text: str) -> str:
    path = user_file(text)
    with pytest.raises(UsageError) as caught:
        load_catalog()
    assert str(path) in caught.value.message
    return caught.value.message


def test_shipped_pairs() -> None:
    catalog = load_catalog()
    assert set(PAIRS) <= set(catalog.names)
    assert catalog.names[0] == "qwen2.5-coder"
    for entry in catalog:
        assert entry.memory_gb
        if entry.slm.size and entry.llm.size:
            weights = (entry.slm.size + entry.llm.size) / 1e9
            assert weights < entry.memory_gb < weights + 5
        assert entry.title
        assert all(file.repo or file.builtin for file in entry.files)
    coder = catalog.get("qwen2.5-coder")
    assert coder.slm.parts is not None
    assert coder.slm.parts.count == 6
    assert coder.licence == "Apache-2.0"
    assert coder.sampling.top_k == 20
    assert catalog.get("l1-r1-7b").suffix() == "Think for 512 tokens."
    assert coder.suffix() == ""


def test_file_of_two_pairs_has_one_description() -> None:
    seen: dict[tuple[str | None, str], object] = {}
    for entry in load_catalog():
        for file in entry.files:
            assert seen.setdefault((file.repo, file.file), file) == file


def test_unknown_pair_suggests_the_nearest() -> None:
    with pytest.raises(ModelError, match="Did you mean qwen3-8b"):
        load_catalog().get("qwen3-8")


def test_user_file_changes_single_keys() -> None:
    user_file('["qwen2.5-coder"]\ntau = 0.05\nsampling = { temperature = 0.1 }\n')
    entry = load_catalog().get("qwen2.5-coder")
    assert entry.tau == 0.05
    assert entry.sampling.temperature == 0.1
    assert entry.sampling.top_k == 20
    assert entry.slm.parts is not None
    assert entry.context == 4096


def test_user_file_adds_pairs(tmp_path: Path) -> None:
    user_file(
        '[mine]\n[mine.slm]\nfile = "a.gguf"\npath = "models/a.gguf"\n'
        f'[mine.llm]\nfile = "b.gguf"\npath = {str(tmp_path / "b.gguf")!r}\n'
    )
    catalog = load_catalog()
    entry = catalog.get("mine")
    assert catalog.names[-1] == "mine"
    assert entry.slm.local_path == paths.config_dir() / "models" / "a.gguf"
    assert entry.llm.local_path == tmp_path / "b.gguf"


def test_other_file_does_not_inherit_the_shipped_checksum() -> None:
    user_file('["qwen2.5-coder".slm]\nfile = "qwen2.5-coder-0.5b-instruct-q8_0.gguf"\n')
    slm = load_catalog().get("qwen2.5-coder").slm
    assert (slm.size, slm.sha256, slm.parts) == (None, None, None)
    assert slm.repo == "Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF"
    # A path alone means a copy of the same file, with the same checksum.
    user_file('["qwen2.5-coder".slm]\npath = "copy.gguf"\n')
    assert load_catalog().get("qwen2.5-coder").slm.sha256 is not None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[r1-7b]\ntua = 0.1\n", "unknown key r1-7b.tua; did you mean tau?"),
        ('[r1-7b.slm]\nrevison = "x"\n', "unknown key r1-7b.slm.revison; did you mean revision?"),
        ("[r1-7b.sampling]\ntemp = 1\n", "unknown key r1-7b.sampling.temp; did you mean temperature?"),
        ('[r1-7b.slm]\nparts = { nam = "a" }\n', "unknown key r1-7b.slm.parts.nam; did you mean name?"),
        ("[r1-7b]\nzzzz = 1\n", "unknown key r1-7b.zzzz; known keys: title,"),
        ("[qwen2.5-coder]\ntau = 1.0\n", '["qwen2.5-coder"]'),
        ('[r1-7b]\ncontext = "big"\n', "r1-7b.context = 'big': should be a valid integer."),
        ("[r1-7b]\ncontext = 4\n", "r1-7b.context = 4: should be greater than or equal to 16."),
        ("[r1-7b]\ntau = nan\n", "r1-7b.tau = nan: should be a finite number."),
        ("[r1-7b]\nslm = 5\n", "r1-7b.slm must be a table."),
        ("r1-7b = 5\n", "r1-7b must be a table"),
        ('[r1-7b]\nprompt = "poem"\n', "r1-7b.prompt = 'poem': should be 'math' or 'plain'."),
        ('[r1-7b]\nname = "x"\n', "r1-7b.name: remove this key"),
        ('[r1-7b.slm]\nfile = "../../etc/passwd.gguf"\n', "is not a valid file."),
        ('[r1-7b.slm]\nrepo = "--index-url"\n', "is not a valid repo."),
        (f'[r1-7b.slm]\nsha256 = "{SUM}"\nparts = {{ name = "-r", version = "1", count = 1 }}\n', "valid name"),
        ('[r1-7b.slm]\nparts = { name = "a", version = "1", count = 1 }\n', "parts but no sha256"),
        ('[mine]\n[mine.slm]\nfile = "a.gguf"\n', "mine.llm is missing."),
        ('[mine]\n[mine.slm]\nfile = "a.gguf"\n[mine.llm]\nfile = "b.gguf"\n', "has no source"),
        ('[r1-7b]\nprompt_suffix = "{think_tokens}"\n', "think_tokens, which is not set"),
        ("[r1-7b\n", "line 1"),
        ("[r1-7b]\ntau = 1\ntau = 2\n", "line 3"),
        ("a = " + "[" * 100_000, "it is nested too deeply"),
        ("a = " + "1" * 5000, "a number has too many digits"),
    ],
)
def test_errors_name_file_and_key(text: str, expected: str) -> None:
    assert expected in error_message(text)


def test_file_that_is_not_utf8() -> None:
    path = user_file("")
    path.write_bytes(b"[r1-7b]\ntitle = '\xff'\n")
    with pytest.raises(UsageError, match="line 2: not UTF-8"):
        load_catalog()


def test_all_errors_are_reported_together() -> None:
    message = error_message("[r1-7b]\ntua = 1\n[r1-14b]\ncontxt = 2\n")
    assert "did you mean tau?" in message
    assert "did you mean context?" in message


def test_error_in_the_shipped_file_names_that_file(tmp_path: Path) -> None:
    shipped = tmp_path / "shipped.toml"
    shipped.write_text(shipped_path().read_text(encoding="utf-8") + "\n[broken]\ntau = 1\n", encoding="utf-8")
    user_file("[r1-7b]\ntua = 1\n")
    with pytest.raises(UsageError) as caught:
        load_catalog(shipped=shipped)
    lines = caught.value.message.splitlines()
    assert f"{shipped}: broken.slm is missing." in lines
    assert any(line.startswith(str(paths.user_catalog())) for line in lines)


MINE = '[mine]\n{}\n[mine.slm]\nfile = "a.gguf"\npath = "a"\n[mine.llm]\nfile = "b.gguf"\npath = "b"\n'
HUGE = "0x" + "f" * 100_000


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        *((f"{key} = {HUGE}", "is an integer of more than 64 bits") for key in ("tau", "memory_gb", "context")),
        (f"sampling = {{top_k = {HUGE}}}", "top_k is an integer of more than 64 bits"),
        (
            "context = 9223372036854775807",
            "mine.context = 9223372036854775807: should be less than",
        ),
        ("memory_gb = inf", "mine.memory_gb = inf: should be a finite number"),
        ("sampling = {temperature = inf}", "mine.sampling.temperature = inf: should be a finite number"),
        ("x" * 100_000 + " = 1", "unknown key mine.xxx"),
        (f"[mine.{'x' * 100_000}]\ntau = 1", "unknown key mine.xxx"),
        ("title = 1979-05-27T07:32:00Z", "mine.title = datetime.datetime("),
        (f'revision = "{"x" * 100_000}"', "unknown key mine.revision"),
    ],
)
def test_a_hostile_value_is_named_in_a_short_message(line: str, expected: str) -> None:
    message = error_message(MINE.format(line))
    assert expected in message
    assert len(message) < 500


def test_the_first_of_many_errors_are_explained() -> None:
    message = error_message(MINE.format("".join(f"k{number} = 1\n" for number in range(20_000))))
    assert message.count("unknown key") == 6
    assert message.endswith("... and 19994 more.")


def test_a_path_of_the_user() -> None:
    slm = '[mine]\n[mine.llm]\nfile = "b.gguf"\npath = "b"\n[mine.slm]\nfile = "a.gguf"\n{}\n'
    for key in ("path", "chat_template"):
        message = error_message(slm.format(f'{key} = "a\\u0000b"'))
        assert f"mine.slm.{key} contains a control character" in message
    user_file(slm.format('path = "~no_such_user/a"\nchat_template = "~no_such_user/b"'))
    entry = load_catalog().get("mine")
    assert entry.slm.local_path == paths.config_dir() / "~no_such_user" / "a"
    assert entry.slm.template_path == Path("~no_such_user/b")
    assert not store.state(entry).ready


def test_a_path_that_is_too_long_is_a_missing_file() -> None:
    user_file(MINE.format("").replace('path = "a"', f'path = "/{"x/" * 3000}a"'))
    entry = load_catalog().get("mine")
    assert not store.state(entry).ready
    with pytest.raises(ModelError, match="does not exist"):
        store.locate(entry)


@pytest.mark.skipif(os.name != "posix", reason="pipes in the file system")
def test_a_catalog_that_is_no_file_is_refused() -> None:
    path = user_file("")
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(UsageError, match="Is a pipe or a device"):
        load_catalog()
