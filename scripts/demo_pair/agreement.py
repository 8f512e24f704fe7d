"""Compares an exported file with the torch model it came from: the same tokens through both, logit by logit.

Q8_0 rounds the weights, so small differences are expected; a wrong layout shows as large ones.
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
    """Over the positions of all sequences: (largest absolute logit difference, share of equal arg-maxes)."""
    weights = Weights(path)
    context = Context(weights, n_ctx=1024, threads=1)
    worst, equal, count = 0.0, 0, 0
    for ids in sequences:
        with torch.no_grad():
            ours = model.logits(model.hidden(torch.tensor([ids])))[0].float().numpy()
        context.truncate(0, 0)
        for position, token in enumerate(ids):
            (output,) = (o.logits.copy() for o in evaluate(context, [TokenSpan(0, [token])]))
            worst = max(worst, float(np.abs(output - ours[position]).max()))
            equal += int(output.argmax() == ours[position].argmax())
            count += 1
    context.close()
    weights.close()
    return worst, equal / count
