"""Training of the demo pair: examples, batches, resume, export. Requires the extra `train`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("gguf")
pytest.importorskip("tokenizers")

from demo_pair import agreement, batches, data, export, tokenizer, training, validation  # noqa: E402
from demo_pair.model import DemoModel, Shape  # noqa: E402
from demo_pair.tokenizer import Vocabulary  # noqa: E402

SMALL = Shape(2, 64, 2, 64, tokenizer.VOCABULARY_SIZE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A work folder with a vocabulary and examples of the small model."""
    path = tmp_path_factory.mktemp("demo")
    tokenizer.learn(data.tokenizer_texts(2000), path / "vocabulary.json")
    export.write_vocabulary_only(path / "vocabulary.json", path / "vocabulary.gguf")
    data.write("slm", 300, Vocabulary(path / "vocabulary.gguf"), path)
    return path


@pytest.fixture(scope="module")
def vocabulary(folder: Path) -> Vocabulary:
    return Vocabulary(folder / "vocabulary.gguf")


def test_digits_and_special_tokens_are_single_tokens(vocabulary: Vocabulary) -> None:
    assert len(vocabulary) == tokenizer.VOCABULARY_SIZE
    assert [vocabulary.decode([i]) for i in vocabulary.encode("1234")] == ["1", "2", "3", "4"]
    for special in tokenizer.SPECIALS:
        assert len(vocabulary.encode(special)) == 1
    text = "<|im_start|>user\nWhat, Zoë?<|im_end|>\n<think>\n14*6=84</think>"
    assert vocabulary.decode(vocabulary.encode(text)) == text


@pytest.mark.parametrize("role", ["slm", "llm"])
def test_opening_ends_at_a_token_boundary(vocabulary: Vocabulary, role: str) -> None:
    for index in range(60):
        prompt, opening, rest = data.example(role, index, 60)
        head = vocabulary.encode(prompt + opening)
        assert vocabulary.encode(prompt + opening + rest)[: len(head)] == head


def test_loss_covers_the_answer_only(folder: Path, vocabulary: Vocabulary) -> None:
    examples = data.read("slm", folder)
    for batch in batches.plan(examples, 512, 7, 0)[:20]:
        inputs, targets = batches.tensors(examples, batch)
        assert inputs.shape == targets.shape
        assert inputs.numel() <= 512
        for row, number in enumerate(batch):
            ids = examples.ids[examples.start[number] : examples.start[number + 1]].tolist()
            answer = [i for i in targets[row].tolist() if i != batches.IGNORE]
            assert answer == ids[int(examples.loss[number]) :]
            assert vocabulary.decode(answer).endswith("<|im_end|>")


def test_questions_of_the_evaluation_are_held_out(folder: Path, vocabulary: Vocabulary) -> None:
    examples = data.read("slm", folder)
    held_out = data.held_out_questions()
    for number in range(len(examples)):
        begin = int(examples.start[number])
        ids = examples.ids[begin : begin + int(examples.loss[number])].tolist()
        assert data.question_of(vocabulary.decode(ids)) not in held_out


def test_resumed_run_equals_an_uninterrupted_one(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "shape_of", lambda _role, _size: SMALL)
    recipe = replace(training.RECIPES["slm"], tokens_per_step=512, warm_up=2, decay_from=4, decay_steps=4, save_every=3)
    examples = data.read("slm", folder)

    def run(name: str, stop_at: int | None) -> dict[str, Any]:
        target = tmp_path / name
        target.mkdir(exist_ok=True)
        training.train(recipe, examples, [], str, 0, tokenizer.VOCABULARY_SIZE, target, stop_at=stop_at, compiled=False)
        state: dict[str, Any] = torch.load(target / "slm.pt", weights_only=False)["model"]
        return state

    uninterrupted = run("uninterrupted", None)
    run("resumed", 5)
    resumed = run("resumed", None)
    assert all(torch.equal(uninterrupted[key], resumed[key]) for key in uninterrupted)


def test_decay_can_be_requested_by_a_file(tmp_path: Path) -> None:
    recipe = training.RECIPES["llm"]
    assert training.shortened(recipe, 1000, tmp_path / "llm.decay") == recipe
    (tmp_path / "llm.decay").write_text("400")
    short = training.shortened(recipe, 1000, tmp_path / "llm.decay")
    assert training.rate_factor(1000, short) == 1.0
    assert training.rate_factor(1200, short) == 0.5
    assert training.rate_factor(1400, short) == 0.0
    assert training.shortened(short, 1001, tmp_path / "llm.decay") == short


def test_exported_file_has_the_logits_of_torch(folder: Path, tmp_path: Path) -> None:
    torch.manual_seed(1)
    model = DemoModel(SMALL)
    export.write_model(model, folder / "vocabulary.json", tmp_path / "small.gguf", "small")
    ids = torch.randint(0, SMALL.vocabulary, (40,)).tolist()
    worst, _equal = agreement.differences(model, tmp_path / "small.gguf", [ids])
    with torch.no_grad():
        spread = float(model.logits(model.hidden(torch.tensor([ids]))).std())
    assert worst < 0.2 * spread


def test_batched_answers_equal_single_ones() -> None:
    torch.manual_seed(2)
    model = DemoModel(SMALL)
    with torch.no_grad():
        model.embedding.weight.mul_(20)
    prompts = [[5, 6, 7], [8, 9, 10, 11, 12, 13], [14]]
    together = validation.greedy_answers(model, prompts, 0, 12)
    assert together == [validation.greedy_answers(model, [prompt], 0, 12)[0] for prompt in prompts]


def test_tokens_and_merges_are_stored_as_json(folder: Path) -> None:
    stored = json.loads((folder / "vocabulary.json").read_text())
    assert len(stored["tokens"]) == len(set(stored["tokens"])) == tokenizer.VOCABULARY_SIZE
    assert stored["merges"]
