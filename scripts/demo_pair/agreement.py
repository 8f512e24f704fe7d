"""Compare an exported file with its torch model: logits of the same tokens.

Q8_0 rounds the weights, so small differences are expected. A wrong layout would cause large ones.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from demo_pair.model import DemoModel
from rstitch_local.llama.context import Context
from rstitch_local.llama.evaluation import TokenSpan, evaluate
from rstitch_local.llama.weights import Weights


def differences(model: DemoModel, path: Path, sequences: list[list[int]]) -> tuple[float, float]:
    """Return the largest absolute logit difference over all positions, and the share of equal arg-maxes."""
    weights = Weights(path)
    context = Context(weights, n_ctx=1024, threads=1)
    worst, equal, count = 0.0, 0, 0
    for ids in sequences:
        with torch.no_grad():
            expected = model.logits(model.hidden(torch.tensor([ids])))[0].float().numpy()
        context.truncate(0, 0)
        for position, token in enumerate(ids):
            (output,) = (o.logits.copy() for o in evaluate(context, [TokenSpan(0, [token])]))
            worst = max(worst, float(np.abs(output - expected[position]).max()))
            equal += int(output.argmax() == expected[position].argmax())
            count += 1
    context.close()
    weights.close()
    return worst, equal / count
