"""The training loop: warm-up, stable, decay, by steps; checkpoints that resume exactly where they stopped.

Hidden matrices are trained with Muon, embeddings and norms with AdamW. The decay to zero begins when `decay_from`
is reached or as soon as a file `<role>.decay` appears in the work folder; a number in that file is the decay's length
in steps. So a run can be shortened at any time and still ends with a whole decay.
Knows nothing of how the examples were made.
"""

from __future__ import annotations

import json
import time
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from demo_pair import batches, quick_look
from demo_pair.data import Examples
from demo_pair.model import DemoModel, Shape, shape_of
from rstitch_local.files import open_atomic


@dataclass(frozen=True)
class Recipe:
    """What a run needs to know; counts are in optimiser steps unless the name says otherwise."""

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
    look_every: int = 500
    look_at: int = 100


RECIPES = {
    "slm": Recipe("slm", 8192, 4e-3, 4e-3, 100, 1200, 800, threads=1),
    "llm": Recipe("llm", 8192, 3e-3, 3e-3, 100, 1300, 3300, threads=2),
}


def rate_factor(step: int, recipe: Recipe) -> float:
    """The share of the learning rate at a step: linear up, flat, linear down to zero."""
    if step < recipe.warm_up:
        return (step + 1) / recipe.warm_up
    if step < recipe.decay_from:
        return 1.0
    return max(0.0, 1.0 - (step - recipe.decay_from) / recipe.decay_steps)


def shortened(recipe: Recipe, step: int, wish: Path) -> Recipe:
    """The recipe with its decay beginning now, if the file asks for it and it has not begun."""
    if step >= recipe.decay_from or not wish.exists():
        return recipe
    return replace(recipe, decay_from=step, decay_steps=int(wish.read_text().strip() or recipe.decay_steps))


def optimizers(model: DemoModel, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the layers, AdamW for the rest."""
    matrices = [p for p in model.blocks.parameters() if p.dim() == 2]
    rest = [model.embedding.weight, *(p for p in model.parameters() if p.dim() == 1)]
    return [
        torch.optim.Muon(matrices, lr=recipe.learning_rate, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(rest, lr=recipe.embedding_rate, betas=(0.9, 0.95), weight_decay=0.0),
    ]


def loss_of(model: DemoModel, ids: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy in nats over the answer tokens; forward in bfloat16, softmax in float32."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model.logits(model.hidden(ids))
    return functional.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), ignore_index=batches.IGNORE)


def train(
    recipe: Recipe,
    examples: Examples,
    look: list[tuple[list[int], int]],
    decode: Any,
    end: int,
    vocabulary: int,
    folder: Path,
    *,
    stop_at: int | None = None,
    compiled: bool = True,
) -> None:
    """Train until the decay is over; `look` holds (prompt ids, right answer) for the quick looks."""
    torch.set_num_threads(recipe.threads)
    torch.manual_seed(recipe.seed)
    model = DemoModel(shape_of(recipe.role, vocabulary))
    steppers = optimizers(model, recipe)
    checkpoint, log = folder / f"{recipe.role}.pt", folder / f"{recipe.role}.log.jsonl"
    step, tokens, seconds = 0, 0, 0.0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=False)
        model.load_state_dict(state["model"])
        for optimizer, saved in zip(steppers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        torch.set_rng_state(state["rng"])
        step, tokens, seconds = state["step"], state["tokens"], state["seconds"]
        if step >= state["decay_from"]:
            recipe = replace(recipe, decay_from=state["decay_from"], decay_steps=state["decay_steps"])
    if compiled:
        # One compiled layer serves all layers: a few seconds for each of the few shapes, then about a third faster.
        torch._dynamo.config.recompile_limit = 4 * len(batches.LENGTHS)
        for block in model.blocks:
            block.compile(dynamic=False)
    begun, running, seen = time.monotonic() - seconds, 0.0, 0
    for ids, targets in batches.stream(examples, recipe.tokens_per_step, recipe.seed, step):
        recipe = shortened(recipe, step, folder / f"{recipe.role}.decay")
        if step >= recipe.decay_from + recipe.decay_steps or step == stop_at:
            break
        factor = rate_factor(step, recipe)
        for optimizer, rate in zip(steppers, (recipe.learning_rate, recipe.embedding_rate), strict=True):
            for group in optimizer.param_groups:
                group["lr"] = rate * factor
        loss = loss_of(model, ids, targets)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in steppers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        step += 1
        tokens += ids.numel()
        running += float(loss.detach())
        seen += 1
        if step % 50 == 0:
            entry: dict[str, Any] = {
                "step": step, "tokens": tokens, "loss": round(running / seen, 5),
                "seconds": round(time.monotonic() - begun), "rate": round(factor, 4),
            }  # fmt: skip
            if step % recipe.look_every == 0:
                entry["right"] = _look(model, look[: recipe.look_at], decode, end, folder / f"{recipe.role}.look.txt")
            running, seen = 0.0, 0
            with log.open("a") as out:
                out.write(json.dumps(entry) + "\n")
        if step % recipe.save_every == 0:
            save(checkpoint, model, steppers, step, tokens, recipe, time.monotonic() - begun)
    save(checkpoint, model, steppers, step, tokens, recipe, time.monotonic() - begun)


def save(
    path: Path,
    model: DemoModel,
    steppers: list[torch.optim.Optimizer],
    step: int,
    tokens: int,
    recipe: Recipe,
    seconds: float,
) -> None:
    """Write a checkpoint beside the old one, then put it in its place."""
    state = {
        "model": model.state_dict(), "optimizers": [o.state_dict() for o in steppers], "rng": torch.get_rng_state(),
        "step": step, "tokens": tokens, "seconds": seconds, "shape": astuple(model.shape),
        "decay_from": recipe.decay_from, "decay_steps": recipe.decay_steps,
    }  # fmt: skip
    with open_atomic(path) as file:
        torch.save(state, file)


def load(path: Path) -> tuple[DemoModel, int]:
    """The model of a checkpoint, and the step it was saved at."""
    state = torch.load(path, weights_only=True)
    model = DemoModel(Shape(*state["shape"]))
    model.load_state_dict(state["model"])
    return model, int(state["step"])


def _look(model: DemoModel, look: list[tuple[list[int], int]], decode: Any, end: int, path: Path) -> float:
    """Share of the looked-at questions answered rightly; the wrong answers go to a text file."""
    plain = DemoModel(model.shape)  # not compiled: every length of the growing cache would be compiled anew
    plain.load_state_dict(model.state_dict())
    written = quick_look.answers(plain, [prompt for prompt, _ in look], end, 450)
    right, wrong = 0, []
    for (prompt, answer), ids in zip(look, written, strict=True):
        text = decode(ids)
        if quick_look.boxed(text) == answer:
            right += 1
        else:
            wrong.append(f"{decode(prompt)}{text}\n(right: {answer})\n\n")
    path.write_text("".join(wrong))
    return right / len(look)
