"""Cases of attack_inputs.py: configuration files, router specs, and paths given as options or by the environment."""

from __future__ import annotations

import json
import os
import random
import shutil
import socket
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from attack_case import Case, command, without_privileges

from rstitch_local import builtin, paths
from rstitch_local.catalog import checksums, store
from rstitch_local.catalog.schema import ModelFile
from rstitch_local.errors import RStitchError, UsageError

QUESTION = "Tom has 12 pens. He buys 30 more pens. How many pens does Tom have?"
SAMPLES = Path(__file__).resolve().parent.parent / "tests" / "samples" / "v0.1"
LONG = "x" * 100_000
HUGE_INTEGERS = ("0x" + "f" * 100_000, "0o" + "7" * 100_000, "0b" + "1" * 100_000, "9" * 100_000, "9" * 4000)
ODD_VALUES = (
    "nan", "inf", "-inf", "1e999", "-1", "0", "9223372036854775807", "9223372036854775808", "true", "[]", "{}",
    "1979-05-27T07:32:00Z", "07:32:00", '""',
    '"\\u0000"', '"~no_such_user/x"', '"a\\u0000b"', f'"{LONG}"', '"\\u001b[31m"',
    '"../../x.gguf"', "[[[[1]]]]", "{a.b.c = 1}",
)  # fmt: skip
PAIR_KEYS = ("tau", "memory_gb", "context", "think_tokens", "router", "prompt", "prompt_suffix", "title", "single_turn")
FILE_KEYS = ("size", "sha256", "repo", "revision", "path", "chat_template", "licence", "file", "builtin")
SPECS = (
    "learned:~no_such_user/x", "learned:~/x", "learned:a\0b", "learned:\ud800", "learned:" + LONG,
    "learned:" + "/x" * 50_000,
    "learned:/dev/zero", "learned:/dev/stdin", "learned:/proc/self/mem", "learned:.", "learned:", "learned:demo\0",
    "entropy:" + "9" * 5000, "entropy:nan", "entropy:1e999", "entropy:0x10", "entropy:\N{ARABIC-INDIC DIGIT THREE}",
    "entropy:" * 100_000, ":" * 1_000_000, LONG * 100, "window:" + "9" * 5000 + ":1", "window:1e99:1", "window:-1:1",
    "stay:99999999999999999999:0.1", "momentum:nan:1", "hysteresis:nan:nan", "spec:0", "spec:4:nan", "random:inf",
    "python:", "python:sys:exit", "python:os:path", f"python:{LONG}:b", f"python:a.{'b.' * 5000}c:d", "python:a:b:\0",
    "python:builtins:input", "python:this_module_exits:router", "python:json:loads:[[[", "\ud800", "\x1b[31mred", "",
    " ", "\n", f"entropy:0.02{LONG}", "entropy:0.02\0",
)  # fmt: skip


def tiny(more: str = "", slm: str = "", llm: str = "") -> str:
    """Return a models.toml with a pair of the demo files."""
    return (
        f'[tiny]\n{more}\n[tiny.slm]\nfile = "demo-slm.gguf"\npath = {json.dumps(str(builtin.SLM_FILE))}\n{slm}\n'
        f'[tiny.llm]\nfile = "demo-llm.gguf"\npath = {json.dumps(str(builtin.LLM_FILE))}\n{llm}\n'
    )


def catalog_file() -> Path:
    return paths.user_catalog()


def list_pairs() -> None:
    command("pairs")
    command("pairs", "--json")


def ask_tiny(catalog: str) -> None:
    write(catalog_file(), catalog.encode("utf-8", "surrogatepass"))
    list_pairs()
    command("ask", "--pair", "tiny", "--max-tokens", "2", QUESTION)


def use_settings() -> None:
    from rstitch_tui import app_settings

    app_settings.load()


def use_template(path: Path) -> None:
    ask_tiny(tiny(slm=f"chat_template = {json.dumps(str(path))}"))


def use_router(spec: str) -> None:
    from rstitch_local.routing.resolve import resolve_router
    from rstitch_local.routing.spec import absolute_spec, one_spelling, usable_spec
    from rstitch_tui.app_settings import AppSettings

    refusal: RStitchError | None = None
    for use in (one_spelling, absolute_spec, usable_spec, resolve_router):
        try:
            use(spec)
        except RStitchError as error:
            refusal = error
    try:
        AppSettings(router=spec)
    except ValueError as error:
        if refusal is None:
            raise UsageError("Setting", str(error)) from None
    if refusal is not None:
        raise refusal


def use_calibration(path: Path) -> None:
    from rstitch_local.costs.store import calibration_of_files, read_calibration

    for file in (builtin.SLM_FILE, builtin.LLM_FILE):
        checksums.sha256_of(file)
    calibration_of_files(builtin.SLM_FILE, builtin.LLM_FILE)
    command("pairs", "check", "demo")
    read_calibration(path)


def calibration_file() -> Path:
    names = [checksums.sha256_of(file)[:8] for file in (builtin.SLM_FILE, builtin.LLM_FILE)]
    return paths.calibrations_dir() / f"{names[0]}-{names[1]}-0.json"


def use_checksums() -> None:
    assert len(checksums.sha256_of(builtin.SLM_FILE)) == 64


def use_trace(path: Path) -> None:
    command("trace", path)
    command("trace", path, "--html", "page.html")


def use_run(path: Path) -> None:
    shutil.copyfile(SAMPLES / "run" / "answers.jsonl", path.with_name("answers.jsonl"))
    command("grade", path.parent)


def use_record() -> None:
    store.expected_sha256(record_of())


def record_of() -> ModelFile:
    return ModelFile(file="small.gguf", repo="acme/models")


def record_file() -> Path:
    return store.path_of(record_of()).with_name("small.gguf.json")


def use_ledger(path: Path) -> None:
    from rstitch_local.catalog.parts import _read_ledger
    from rstitch_local.catalog.schema import Parts

    assert _read_ledger(path, Parts(name="a", version="1", count=2), path) == (0, 0)


def use_bench(path: Path) -> None:
    from rstitch_local.study.bench import _BenchFile

    _BenchFile(path.parent)


def use_continuations(path: Path) -> None:
    from rstitch_local.study.harmful_token import ContinuationStore

    ContinuationStore(path)


KINDS: dict[str, tuple[Callable[[], Path], Callable[[Path], object], Path | str]] = {
    "models.toml": (catalog_file, lambda _: list_pairs(), tiny()),
    "tuned.toml": (paths.tuned_file, lambda _: list_pairs(), '[demo]\nrouter = "slm"\n'),
    "settings.toml": (paths.settings_file, lambda _: use_settings(), 'theme = "nord"\n'),
    "router": (lambda: Path("router.safetensors"), lambda path: use_router(f"learned:{path}"), builtin.ROUTER_FILE),
    "template": (lambda: Path.cwd() / "template.jinja", use_template, "{{ messages[-1].content }}"),
    "calibration": (calibration_file, use_calibration, '{"format": 1}'),
    "checksums.json": (lambda: paths.cache_dir() / "checksums.json", lambda _: use_checksums(), "{}"),
    "trace": (lambda: Path("trace.json"), use_trace, SAMPLES / "trace.json"),
    "run.json": (lambda: Path("run/run.json"), use_run, SAMPLES / "run" / "run.json"),
    "download record": (record_file, lambda _: use_record(), '{"sha256": "0", "size": 1, "revision": "main"}'),
    "parts ledger": (lambda: Path("a.gguf.parts.json"), use_ledger, '{"name": "b", "version": "1", "parts": 1}'),
    "bench.json": (lambda: Path("bench/bench.json"), use_bench, SAMPLES / "bench" / "bench.json"),
    "continuations": (lambda: Path("continuations.jsonl"), use_continuations, '{"id": 1}\n'),
}
"""For each kind of file: its place, what reads it, and valid content or a file with it."""


def write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _sparse(path: Path) -> None:
    write(path, b"")
    os.truncate(path, 8 << 30)


def _unreadable(path: Path, valid: bytes) -> None:
    write(path, valid)
    path.chmod(0)
    without_privileges()


def _socket(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(path))


def _in_folder(make: Callable[[Path], object], path: Path, _valid: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    make(path)


def _content(change: Callable[[bytes], bytes], path: Path, valid: bytes) -> None:
    write(path, change(valid))


PLACED: dict[str, Callable[[Path, bytes], object]] = {
    "FIFO": partial(_in_folder, os.mkfifo),
    "/dev/zero": partial(_in_folder, lambda path: path.symlink_to("/dev/zero")),
    "terminal": partial(_in_folder, lambda path: path.symlink_to("/dev/ptmx")),
    "folder": partial(_in_folder, Path.mkdir),
    "dangling link": partial(_in_folder, lambda path: path.symlink_to("nothing")),
    "link to itself": partial(_in_folder, lambda path: path.symlink_to(path.name)),
    "socket": lambda path, _valid: _socket(path),
    "8 GB of zeros": lambda path, _valid: _sparse(path),
    "not readable": _unreadable,
    "empty": partial(_content, lambda _: b""),
    "BOM only": partial(_content, lambda _: b"\xef\xbb\xbf"),
    "BOM": partial(_content, lambda valid: b"\xef\xbb\xbf" + valid),
    "UTF-16": partial(_content, lambda valid: valid.decode("utf-8", "replace").encode("utf-16")),
    "UTF-32": partial(_content, lambda valid: valid.decode("utf-8", "replace").encode("utf-32")),
    "Latin-1": partial(_content, lambda valid: valid + b"\n# \xe9\n"),
    "NUL bytes": partial(_content, lambda _: bytes(1000)),
    "cut": partial(_content, lambda valid: valid[: len(valid) // 2]),
    "deep arrays": partial(_content, lambda _: b"a = " + b"[" * 100_000),
    "deep JSON": partial(_content, lambda _: b'{"a":' * 100_000),
    "deep closed JSON": partial(_content, lambda _: b"[" * 100_000 + b"]" * 100_000),
    "long JSON string": partial(_content, lambda _: json.dumps({LONG: LONG, "format": LONG}).encode()),
    "JSON infinity": partial(
        _content, lambda _: b'{"format": 1e999, "size": 1e999, "sha256": "a", "revision": "main", "parts": 1e999}'
    ),
    "digits": partial(_content, lambda _: b"a = " + b"9" * 1_000_000),
}


def deep_key(dots: int) -> str:
    return ".".join("a" * dots) + " = 1\n"


def catalog_texts(rng: random.Random) -> Iterator[tuple[str, str]]:
    """Yield whole files models.toml, with names."""
    for key in ("tau", "memory_gb", "context"):
        for value in HUGE_INTEGERS:
            yield f"{key} = {value[:6]}...", tiny(f"{key} = {value}")
    for value in HUGE_INTEGERS:
        yield f"slm.size = {value[:6]}...", tiny(slm=f"size = {value}")
        yield f"sampling.top_k = {value[:6]}...", tiny(f"sampling = {{top_k = {value}}}")
    odd = [("more", key, value) for key in PAIR_KEYS for value in ODD_VALUES]
    odd += [("slm", key, value) for key in FILE_KEYS if key not in ("path", "file") for value in ODD_VALUES]
    for place, key, value in rng.sample(odd, 60):
        yield f"{place} {key} = {value[:20]}", tiny(**{place: f"{key} = {value}"})
    for value in ('"~no_such_user/x"', '"a\\u0000b"', f'"{LONG}"', f'"/{"x/" * 3000}"', '"/dev/zero"', '"."', "1"):
        yield f"path = {value[:20]}", tiny().replace(json.dumps(str(builtin.SLM_FILE)), value)
        yield f"chat_template = {value[:20]}", tiny(slm=f"chat_template = {value}")
    yield "an unknown key of 100,000 letters", tiny(f"{LONG} = 1")
    yield "an unknown table of 100,000 letters", tiny(f"[tiny.{LONG}]\na = 1")
    yield "a pair of 100,000 letters", f"[{LONG}]\ntau = 1\n"
    yield "an unknown key with controls", tiny('"\\u001b[31m\\u0007" = 1')
    yield "10 MB of keys", "".join(f"k{number} = 1\n" for number in range(900_000))
    yield "10 MB of keys of a pair", "[tiny]\n" + "".join(f"k{number} = 1\n" for number in range(900_000))
    yield "900 kB of keys of a pair", "[tiny]\n" + "".join(f"k{number} = 1\n" for number in range(80_000))
    yield "200 kB of pairs", "".join(f"[p{number}]\ntau = 1\n" for number in range(12_000))
    yield "a key of 100,000 parts", deep_key(100_000)
    yield "a key of 30,000 parts", deep_key(30_000)
    yield "many keys of 400 parts", "".join(f"k{number}.{deep_key(400)}" for number in range(1000))
    yield "a header of 400 parts with keys", f"[{'.'.join('a' * 400)}]\n" + "k{} = 1\n" * 1
    yield "nested inline tables", tiny("x = " + "{a=" * 200 + "1" + "}" * 200)
    yield "deep inline tables", tiny("x = " + "{a=" * 5000 + "1" + "}" * 5000)
    yield "pairs that differ in case", tiny() + tiny().replace("tiny", "Tiny")
    yield "a pair twice", tiny() + tiny()


def option_commands(path: str) -> dict[str, list[str]]:
    """Return commands with a path as one of their options, by the option."""
    problems = str(SAMPLES / "problems.jsonl")
    return {
        "--slm": ["ask", "--slm", path, "--llm", str(builtin.LLM_FILE), QUESTION],
        "pairs check": ["pairs", "check", path, path],
        "solve --out": ["solve", problems, "--pair", "demo", "--limit", "1", "--max-tokens", "2", "--out", path],
        "bench --out": ["bench", problems, "--pair", "demo", "--limit", "1", "--max-tokens", "2", "--out", path],
        "trace": ["trace", path],
        "trace --html": ["trace", str(SAMPLES / "trace.json"), "--html", path + ".html"],
        "grade": ["grade", path],
        "--router": ["ask", "--router", f"learned:{path}", "--pair", "demo", QUESTION],
        "train-router --out": ["train-router", problems, "--pair", "demo", "--limit", "1", "--out", path],
    }


ODD_PATHS = (
    "x" * 300, "y/" * 3000, "bad\udcff", "~no_such_user/x", "/dev/null/x", "loop", "fifo", "/proc/1/mem", "closed/x",
)  # fmt: skip


def use_option(option: str, path: str, _folder: Path) -> None:
    Path("loop").symlink_to("loop")
    os.mkfifo("fifo")
    Path("closed").mkdir(mode=0)
    if path == "closed/x":
        without_privileges()
    command(*option_commands(path)[option])


def use_environment(name: str, value: str, _folder: Path) -> None:
    os.environ[name] = value
    if value == "fifo":
        os.mkfifo("fifo")
    list_pairs()
    command("doctor")
    command("ask", "--pair", "demo", "--max-tokens", "2", QUESTION)


def _use_file(kind: str, placed: str, folder: Path) -> None:
    place, use, valid = KINDS[kind]
    path = folder / place()
    PLACED[placed](path, valid.encode() if isinstance(valid, str) else valid.read_bytes())
    use(path)


def _use_text(text: str, _folder: Path) -> None:
    ask_tiny(text)


def _use_spec(spec: str, _folder: Path) -> None:
    use_router(spec)


def cases(seed: int) -> list[Case]:
    """Return all cases; the seed chooses the values of keys."""
    rng = random.Random(seed)
    made = [Case(f"{kind}: {placed}", partial(_use_file, kind, placed)) for kind in KINDS for placed in PLACED]
    texts = catalog_texts(rng)
    made += [Case(f"models.toml: {name}", partial(_use_text, text)) for name, text in texts]
    made += [Case(f"router {spec[:30]!r}", partial(_use_spec, spec)) for spec in SPECS]
    for path in ODD_PATHS:
        made += [Case(f"{option} {path[:20]!r}", partial(use_option, option, path)) for option in option_commands(path)]
    for value in ("/dev/null", "/dev/zero/x", "~no_such_user", "x" * 300, "fifo", "bad\udcff", "/proc/self"):
        made.append(Case(f"RSTITCH_HOME={value[:20]!r}", partial(use_environment, "RSTITCH_HOME", value)))
    return made
