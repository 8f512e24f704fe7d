"""The training loop: learning rate with warm-up, plateau and decay; checkpoints that are resumed exactly.

Hidden matrices are trained with Muon, embeddings and norms with AdamW. The decay to zero starts at step `decay_from`,
or as soon as a file `<role>.decay` appears in the work folder; a number in that file is the length of the decay in
steps. So a run can be shortened at any time and still ends with a complete decay.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from demo_pair import batches, validation
from demo_pair.data import Examples
from demo_pair.model import DemoModel, Shape, shape_of
from rstitch_local.files import open_atomic

LOG_EVERY = 50


@dataclass(frozen=True)
class Recipe:
    """Hyperparameters of a run. Counts are in optimizer steps unless the name says otherwise."""

    role: str
    tokens_per_step: int
    learning_rate: float
    embedding_rate: float
    warm_up: int
    decay_from: int
    decay_steps: int
    seed: int = 7
    threads: int = 2
    save_every: int = 200
    validate_every: int = 500
    validation_problems: int = 100


RECIPES = {
    "slm": Recipe("slm", 8192, 4e-3, 4e-3, 100, 1200, 800, threads=1),
    "llm": Recipe("llm", 8192, 3e-3, 3e-3, 100, 1300, 3300, threads=2),
}


def rate_factor(step: int, recipe: Recipe) -> float:
    """Return the factor of the learning rate at a step: linear warm-up, plateau, linear decay to zero."""
    if step < recipe.warm_up:
        return (step + 1) / recipe.warm_up
    if step < recipe.decay_from:
        return 1.0
    return max(0.0, 1.0 - (step - recipe.decay_from) / recipe.decay_steps)


def shortened(recipe: Recipe, step: int, request: Path) -> Recipe:
    """Return the recipe with its decay starting now, if the file exists and the decay has not started."""
    if step >= recipe.decay_from or not request.exists():
        return recipe
    return replace(recipe, decay_from=step, decay_steps=int(request.read_text().strip() or recipe.decay_steps))


def optimizers(model: DemoModel, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """Return Muon for the matrices of the layers and AdamW for the other parameters."""
    matrices = [p for p in model.blocks.parameters() if p.dim() == 2]
    rest = [model.embedding.weight, *(p for p in model.parameters() if p.dim() == 1)]
    return [
        torch.optim.Muon(matrices, lr=recipe.learning_rate, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(rest, lr=recipe.embedding_rate, betas=(0.9, 0.95), weight_decay=0.0),
    ]


def loss_of(model: DemoModel, ids: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the mean cross-entropy in nats over the answer tokens; forward in bfloat16, softmax in float32."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model.logits(model.hidden(ids))
    return functional.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), ignore_index=batches.IGNORE)


def train(
    recipe: Recipe,
    examples: Examples,
    questions: list[tuple[list[int], int]],
    decode: Callable[[Iterable[int]], str],
    end: int,
    vocabulary_size: int,
    folder: Path,
    *,
    stop_at: int | None = None,
    compiled: bool = True,
) -> None:
    """Train until the end of the decay; resume if the folder has a checkpoint.

    Args:
        recipe: hyperparameters.
        examples: training examples.
        questions: (prompt ids, gold answer) of the questions for validation.
        decode: converts token ids to text.
        end: id of the token that ends an answer.
        vocabulary_size: number of tokens.
        folder: work folder with checkpoint and log.
        stop_at: stop at this step.
        compiled: use torch.compile.
    """
    run = _Run(recipe, vocabulary_size, folder, compiled=compiled)
    for ids, targets in batches.stream(examples, recipe.tokens_per_step, recipe.seed, run.step):
        run.recipe = shortened(run.recipe, run.step, folder / f"{recipe.role}.decay")
        if run.step >= run.recipe.decay_from + run.recipe.decay_steps or run.step == stop_at:
            break
        factor = run.optimize(ids, targets)
        if run.step % LOG_EVERY == 0:
            entry = run.log_entry(factor)
            if run.step % recipe.validate_every == 0:
                selected = questions[: recipe.validation_problems]
                wrong_file = folder / f"{recipe.role}.look.txt"
                entry["right"] = _validate(run.model, selected, decode, end, wrong_file)
            with (folder / f"{recipe.role}.log.jsonl").open("a") as log:
                log.write(json.dumps(entry) + "\n")
        if run.step % recipe.save_every == 0:
            run.save()
    run.save()


class _Run:
    """The state of a training run: model, optimizers, counters and checkpoint."""

    def __init__(self, recipe: Recipe, vocabulary_size: int, folder: Path, *, compiled: bool) -> None:
        torch.set_num_threads(recipe.threads)
        torch.manual_seed(recipe.seed)
        self.recipe = recipe
        self.model = DemoModel(shape_of(recipe.role, vocabulary_size))
        self.step, self._tokens, self._seconds_before = 0, 0, 0.0
        self._optimizers = optimizers(self.model, recipe)
        self._checkpoint = folder / f"{recipe.role}.pt"
        self._losses: list[float] = []
        if self._checkpoint.exists():
            self._load()
        if compiled:
            # All layers share one compiled layer: a few seconds for each of the few shapes, then about a third faster.
            torch._dynamo.config.recompile_limit = 4 * len(batches.LENGTHS)
            for block in self.model.blocks:
                block.compile(dynamic=False)
        self._started = time.monotonic()

    def optimize(self, ids: torch.Tensor, targets: torch.Tensor) -> float:
        """Take one optimizer step; return the factor of the learning rate."""
        factor = rate_factor(self.step, self.recipe)
        rates = (self.recipe.learning_rate, self.recipe.embedding_rate)
        for optimizer, rate in zip(self._optimizers, rates, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = rate * factor
        loss = loss_of(self.model, ids, targets)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer in self._optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.step += 1
        self._tokens += ids.numel()
        self._losses.append(float(loss.detach()))
        return factor

    def log_entry(self, factor: float) -> dict[str, Any]:
        """Return the entry of the log since the last one."""
        loss = sum(self._losses) / len(self._losses)
        self._losses.clear()
        return {
            "step": self.step,
            "tokens": self._tokens,
            "loss": round(loss, 5),
            "seconds": round(self._seconds()),
            "rate": round(factor, 4),
        }

    def save(self) -> None:
        """Replace the checkpoint."""
        state = {
            "model": self.model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self._optimizers],
            "rng": torch.get_rng_state(),
            "step": self.step,
            "tokens": self._tokens,
            "seconds": self._seconds(),
            "shape": astuple(self.model.shape),
            "decay_from": self.recipe.decay_from,
            "decay_steps": self.recipe.decay_steps,
        }
        with open_atomic(self._checkpoint) as file:
            torch.save(state, file)

    def _load(self) -> None:
        state = torch.load(self._checkpoint, weights_only=False)
        self.model.load_state_dict(state["model"])
        for optimizer, saved in zip(self._optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        torch.set_rng_state(state["rng"])
        self.step, self._tokens, self._seconds_before = state["step"], state["tokens"], state["seconds"]
        if self.step >= state["decay_from"]:
            decay = {name: state[name] for name in ("decay_from", "decay_steps")}
            self.recipe = replace(self.recipe, **decay)

    def _seconds(self) -> float:
        return self._seconds_before + time.monotonic() - self._started


def load(path: Path) -> tuple[DemoModel, int]:
    """Return the model of a checkpoint and its step."""
    state = torch.load(path, weights_only=True)
    model = DemoModel(Shape(*state["shape"]))
    model.load_state_dict(state["model"])
    return model, int(state["step"])


def _validate(
    model: DemoModel,
    questions: list[tuple[list[int], int]],
    decode: Callable[[Iterable[int]], str],
    end: int,
    wrong_file: Path,
) -> float:
    """Return the share of correct answers; write the wrong ones to a text file."""
    # Not compiled: every length of the growing cache would be compiled separately.
    copy = DemoModel(model.shape)
    copy.load_state_dict(model.state_dict())
    generated = validation.greedy_answers(copy, [prompt for prompt, _ in questions], end, 450)
    wrong = []
    for (prompt, answer), ids in zip(questions, generated, strict=True):
        text = decode(ids)
        if validation.boxed(text) != answer:
            wrong.append(f"{decode(prompt)}{text}\n(correct: {answer})\n\n")
    wrong_file.write_text("".join(wrong))
    return 1 - len(wrong) / len(questions)
