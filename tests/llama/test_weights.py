"""Weights: loading, errors, cancelling, and the vocabulary of a file."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import gguf
import llama_cpp
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_pair import CHATML, END, SPECIALS, START, THINK, TinyPair, ordinary_tokens, write_model

from rstitch_local.engine.vocabularies import vocabulary_of
from rstitch_local.errors import CancelledError, ModelError
from rstitch_local.llama import library
from rstitch_local.llama.weights import ALL_LAYERS, Weights


@pytest.fixture(scope="module")
def weights(tiny_pair: TinyPair) -> Iterator[Weights]:
    loaded = Weights(tiny_pair.slm)
    yield loaded
    loaded.close()


def test_file_is_described(weights: Weights, tiny_pair: TinyPair) -> None:
    assert weights.path == tiny_pair.slm
    assert weights.n_vocab == len(ordinary_tokens()) + len(SPECIALS)
    assert (weights.n_layer, weights.n_embd, weights.n_ctx_train) == (1, 32, 512)
    assert 0 < weights.size_bytes < tiny_pair.slm.stat().st_size
    assert "llama" in weights.description
    assert weights.chat_template == CHATML
    assert weights.summary.architecture == "llama"


def test_file_without_a_chat_template(tmp_path: Path) -> None:
    loaded = Weights(write_model(tmp_path / "plain.gguf", template=None))
    assert loaded.chat_template is None
    loaded.close()


def test_progress_reaches_one(tiny_pair: TinyPair) -> None:
    shares: list[float] = []

    def record(share: float) -> bool:
        shares.append(share)
        return True

    Weights(tiny_pair.slm, progress=record).close()
    assert shares == sorted(shares)
    assert len(shares) > 1
    assert shares[0] < shares[-1] == 1.0


def test_progress_can_cancel(tiny_pair: TinyPair) -> None:
    with pytest.raises(CancelledError, match=r"slm\.gguf was not loaded"):
        Weights(tiny_pair.slm, progress=lambda _share: False)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, ZeroDivisionError])
def test_exception_in_progress_is_raised(
    tiny_pair: TinyPair, kind: type[BaseException], capfd: pytest.CaptureFixture[str]
) -> None:
    def fail(_share: float) -> NoReturn:
        raise kind

    with pytest.raises(kind):
        Weights(tiny_pair.slm, progress=fail)
    assert capfd.readouterr().err == ""


def test_ctrl_c_while_llama_cpp_logs_is_raised_after_the_call(
    tiny_pair: TinyPair, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    lines = 0

    def interrupted_log(*_arguments: object) -> None:
        nonlocal lines
        lines += 1
        if lines == 1:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(library.log, "log", interrupted_log)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        Weights(tiny_pair.slm)
    assert lines > 1
    assert signal.getsignal(signal.SIGINT) is before
    assert capfd.readouterr().err == ""


def test_ctrl_c_stops_loading_at_the_next_progress_call(tiny_pair: TinyPair, monkeypatch: pytest.MonkeyPatch) -> None:
    # The log callback comes before the first progress callback.
    monkeypatch.setattr(library.log, "log", lambda *_: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        Weights(tiny_pair.slm, progress=lambda share: pytest.fail(f"continued to {share}"))


def test_loading_works_in_a_thread_without_signals(tiny_pair: TinyPair) -> None:
    loaded: list[Weights] = []
    thread = threading.Thread(target=lambda: loaded.append(Weights(tiny_pair.slm)))
    thread.start()
    thread.join()
    assert loaded[0].n_layer == 1
    loaded[0].close()


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="does not exist"):
        Weights(tmp_path / "none.gguf")


def test_other_file_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "text.gguf"
    path.write_text("hello")
    with pytest.raises(ModelError, match="not a GGUF file"):
        Weights(path)


def test_error_contains_the_reason_of_llama_cpp(tiny_pair: TinyPair, tmp_path: Path) -> None:
    unknown = tmp_path / "unknown.gguf"
    # A valid header with an unknown architecture of the same length, so that nothing else changes.
    unknown.write_bytes(tiny_pair.slm.read_bytes().replace(b"llama", b"xlamx"))
    with pytest.raises(ModelError) as caught:
        Weights(unknown)
    assert caught.value.title == "Cannot load model"
    assert "unknown.gguf" in caught.value.message
    assert "unknown model architecture: 'xlamx'" in caught.value.message
    assert "xlamx" in caught.value.hint


def test_close_frees_once(tiny_pair: TinyPair, monkeypatch: pytest.MonkeyPatch) -> None:
    freed: list[object] = []
    free = llama_cpp.llama_model_free

    def count(model: llama_cpp.llama_model_p) -> None:
        freed.append(model)
        free(model)

    monkeypatch.setattr(llama_cpp, "llama_model_free", count)
    loaded = Weights(tiny_pair.slm)
    loaded.close()
    loaded.close()
    assert len(freed) == 1


def test_gpu_layers_are_zero_without_a_gpu_build(tiny_pair: TinyPair) -> None:
    loaded = Weights(tiny_pair.slm, gpu_layers=ALL_LAYERS)
    assert loaded.gpu_layers == (2 if library.build().gpu_offload else 0)
    loaded.close()


@given(st.text(max_size=60))
def test_tokens_spell_the_text(weights: Weights, text: str) -> None:
    ids = weights.tokenize(text, parse_special=False)
    assert b"".join(weights.piece(token) for token in ids) == text.encode("utf-8", "replace")


def test_merges_are_applied(weights: Weights) -> None:
    ids = weights.tokenize("the inner", parse_special=False)
    assert [weights.piece(token) for token in ids] == [b"the", b" ", b"in", b"n", b"er"]


def test_special_tokens_are_parsed_on_request_only(weights: Weights) -> None:
    end = weights.n_vocab - len(SPECIALS)
    assert weights.tokenize(END, parse_special=True) == [end] == [weights.eos]
    letters = weights.tokenize(END, parse_special=False)
    assert end not in letters
    assert b"".join(weights.piece(token) for token in letters) == END.encode()


def test_kinds_of_special_tokens(weights: Weights) -> None:
    ids = {text: weights.tokenize(text, parse_special=True)[0] for text in SPECIALS}
    assert weights.piece(ids[START]) == b""
    assert weights.special_text(ids[START]) == START
    assert weights.piece(ids[THINK]) == THINK.encode()
    assert [weights.is_special(token) for token in (ids[START], ids[THINK], ord("a"))] == [True, True, False]
    assert [weights.is_eog(token) for token in (ids[END], ids[START], ord("a"))] == [True, False, False]
    assert weights.special_text(-1) == ""


def test_token_texts_are_in_the_order_of_the_ids(weights: Weights) -> None:
    assert weights.token_texts() == [text.encode() for text in (*ordinary_tokens(), *SPECIALS)]


def test_pieces_are_cached(weights: Weights, monkeypatch: pytest.MonkeyPatch) -> None:
    first = weights.piece(ord("z"))
    monkeypatch.setattr(llama_cpp, "llama_token_to_piece", None)
    assert weights.piece(ord("z")) == first == b"z"


def test_pieces_longer_than_the_buffer_are_complete(tmp_path: Path) -> None:
    long = "<" + "very " * 40 + "long>"
    loaded = Weights(write_model(tmp_path / "long.gguf", specials=(*SPECIALS, long)))
    (token,) = loaded.tokenize(long, parse_special=True)
    assert loaded.piece(token) == long.encode()
    loaded.close()


def test_tokens_that_the_file_does_not_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gguf.GGUFWriter, "add_eos_token_id", lambda *_arguments: None)
    monkeypatch.setattr(gguf.GGUFWriter, "add_add_bos_token", lambda *_arguments: None)
    path = write_model(tmp_path / "unnamed.gguf")
    loaded = Weights(path)
    # llama.cpp takes token 11 for both.
    assert (llama_cpp.llama_vocab_bos(loaded._vocab), llama_cpp.llama_vocab_eos(loaded._vocab)) == (11, 11)
    assert (loaded.bos, loaded.eos, loaded.add_bos) == (-1, -1, False)
    assert [token for token in range(loaded.n_vocab) if loaded.is_eog(token)] == [loaded.eot]
    assert loaded.special_text(loaded.eot) == END
    assert vocabulary_of(loaded).end_of_turn == loaded.eot
    loaded.close()


def test_special_tokens(weights: Weights) -> None:
    first = len(ordinary_tokens())
    assert [tuple(token) for token in weights.special_tokens] == [
        (first + index, text, "|" not in text, False, False) for index, text in enumerate(SPECIALS)
    ]


def test_add_bos_is_that_of_the_header(weights: Weights) -> None:
    assert not weights.add_bos
    assert weights.tokenize("a", parse_special=False) == [ord("a")]
