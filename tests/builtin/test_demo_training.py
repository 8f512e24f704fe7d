"""The maker of the demo pair: examples, batches, resume, export. Needs the extra `train`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("gguf")
pytest.importorskip("tokenizers")

from demo_pair import agreement, batches, data, export, quick_look, tokenizer, training  # noqa: E402
from demo_pair.model import DemoModel, Shape  # noqa: E402
from demo_pair.tokenizer import Vocabulary  # noqa: E402

SMALL = Shape(2, 64, 2, 64, tokenizer.VOCABULARY_SIZE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A work folder with a vocabulary and a few examples of the small model."""
    path = tmp_path_factory.mktemp("demo")
    tokenizer.learn(data.tokenizer_texts(2000), path / "vocabulary.json")
    export.write_vocabulary_only(path / "vocabulary.json", path / "vocabulary.gguf")
    data.write("slm", 300, Vocabulary(path / "vocabulary.gguf"), path)
    return path


@pytest.fixture(scope="module")
def vocabulary(folder: Path) -> Vocabulary:
    return Vocabulary(folder / "vocabulary.gguf")


def test_digits_are_single_and_specials_are_whole(vocabulary: Vocabulary) -> None:
    assert len(vocabulary) == tokenizer.VOCABULARY_SIZE
    assert [vocabulary.decode([i]) for i in vocabulary.encode("1234")] == ["1", "2", "3", "4"]
    for special in tokenizer.SPECIALS:
        assert len(vocabulary.encode(special)) == 1
    text = "<|im_start|>user\nWhat, Zoë?<|im_end|>\n<think>\n14*6=84</think>"
    assert vocabulary.decode(vocabulary.encode(text)) == text


@pytest.mark.parametrize("role", ["slm", "llm"])
def test_an_opening_is_whole_tokens(vocabulary: Vocabulary, role: str) -> None:
    for index in range(60):
        prompt, opening, rest = data.example(role, index, 60)
        head = vocabulary.encode(prompt + opening)
        assert vocabulary.encode(prompt + opening + rest)[: len(head)] == head


def test_the_loss_covers_the_answer_and_nothing_else(folder: Path, vocabulary: Vocabulary) -> None:
    examples = data.read("slm", folder)
    for batch in batches.plan(examples, 512, 7, 0)[:20]:
        inputs, targets = batches.tensors(examples, batch)
        assert inputs.shape == targets.shape
        assert inputs.numel() <= 512
        for row, number in enumerate(batch):
            ids = examples.ids[examples.start[number] : examples.start[number + 1]].tolist()
            wanted = [i for i in targets[row].tolist() if i != batches.IGNORE]
            assert wanted == ids[int(examples.loss[number]) :]
            assert vocabulary.decode(wanted).endswith("<|im_end|>")


def test_no_question_of_the_evaluation_is_trained_on(folder: Path, vocabulary: Vocabulary) -> None:
    examples = data.read("slm", folder)
    held_out = data.held_out_questions()
    for number in range(len(examples)):
        begin = int(examples.start[number])
        ids = examples.ids[begin : begin + int(examples.loss[number])].tolist()
        assert data.question_of(vocabulary.decode(ids)) not in held_out


def test_a_resumed_run_ends_where_an_unbroken_one_does(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "shape_of", lambda _role, _size: SMALL)
    recipe = replace(training.RECIPES["slm"], tokens_per_step=512, warm_up=2, decay_from=4, decay_steps=4, save_every=3)
    examples = data.read("slm", folder)

    def run(name: str, stop_at: int | None) -> dict[str, Any]:
        place = tmp_path / name
        place.mkdir(exist_ok=True)
        training.train(recipe, examples, [], str, 0, tokenizer.VOCABULARY_SIZE, place, stop_at=stop_at, compiled=False)
        state: dict[str, Any] = torch.load(place / "slm.pt", weights_only=False)["model"]
        return state

    whole = run("whole", None)
    run("broken", 5)
    broken = run("broken", None)
    assert all(torch.equal(whole[key], broken[key]) for key in whole)


def test_a_decay_can_be_asked_for(tmp_path: Path) -> None:
    recipe = training.RECIPES["llm"]
    assert training.shortened(recipe, 1000, tmp_path / "llm.decay") == recipe
    (tmp_path / "llm.decay").write_text("400")
    short = training.shortened(recipe, 1000, tmp_path / "llm.decay")
    assert training.rate_factor(1000, short) == 1.0
    assert training.rate_factor(1200, short) == 0.5
    assert training.rate_factor(1400, short) == 0.0
    assert training.shortened(short, 1001, tmp_path / "llm.decay") == short


def test_an_exported_file_computes_what_torch_does(folder: Path, tmp_path: Path) -> None:
    torch.manual_seed(1)
    model = DemoModel(SMALL)
    export.write_model(model, folder / "vocabulary.json", tmp_path / "small.gguf", "small")
    ids = torch.randint(0, SMALL.vocabulary, (40,)).tolist()
    worst, _equal = agreement.differences(model, tmp_path / "small.gguf", [ids])
    with torch.no_grad():
        spread = float(model.logits(model.hidden(torch.tensor([ids]))).std())
    assert worst < 0.2 * spread


def test_a_batch_of_prompts_is_answered_like_each_alone() -> None:
    torch.manual_seed(2)
    model = DemoModel(SMALL)
    with torch.no_grad():
        model.embedding.weight.mul_(20)
    prompts = [[5, 6, 7], [8, 9, 10, 11, 12, 13], [14]]
    together = quick_look.answers(model, prompts, 0, 12)
    assert together == [quick_look.answers(model, [prompt], 0, 12)[0] for prompt in prompts]


def test_the_tokens_and_merges_are_stored_as_plain_json(folder: Path) -> None:
    learned = json.loads((folder / "vocabulary.json").read_text())
    assert len(learned["tokens"]) == len(set(learned["tokens"])) == tokenizer.VOCABULARY_SIZE
    assert learned["merges"]
