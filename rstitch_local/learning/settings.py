"""The settings of a training, and their names in checkpoints and router files."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from rstitch_local.routing.policy import INPUTS

_STORED_NAMES = {
    "latency_penalty": "price",
    "minibatches": "parts",
    "learning_rate": "rate",
    "std_floor": "floor",
    "warm_start": "warm",
}
"""Names in files of the settings that have another name there."""

_MAY_DIFFER = {"steps"}
"""Settings that may change when a training is resumed."""


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """How a policy is trained.

    steps: number of updates.
    batch: groups per update.
    group: answers per group, all to one problem.
    latency_penalty: lambda, the reward subtracted per millisecond of a correct answer; None chooses it
        (`automatic_latency_penalty`).
    tau_ask: entropy of the SLM above which the policy is queried.
    warm_tau: threshold of the entropy rule for the warm start.
    inputs: inputs of the policy; units: width of its inner layer.
    epochs: passes over a batch; minibatches: optimizer steps per pass.
    learning_rate: learning rate of Adam.
    std_floor: minimum of the standard deviation that rewards of a group are divided by (`advantages`). 0 is DAPO; 0.35
        is about the smallest standard deviation of a group of eight with correct and wrong answers.
    validate_every: steps between two validations.
    warm_start: what the network learns first: "rule", to imitate the entropy rule at `warm_tau`; or "difference",
        where the two models prefer different tokens, switching as often as that rule.
    seed: seed of all random numbers.
    """

    steps: int = 100
    batch: int = 32
    group: int = 8
    latency_penalty: float | None = None
    tau_ask: float = 0.001
    warm_tau: float = 0.005
    inputs: tuple[str, ...] = INPUTS
    units: int = 128
    epochs: int = 4
    minibatches: int = 2
    learning_rate: float = 1e-3
    std_floor: float = 0.35
    validate_every: int = 10
    warm_start: str = "rule"
    seed: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return the settings ready for JSON, under the names that checkpoints and router files use."""
        record = {_STORED_NAMES.get(name, name): value for name, value in asdict(self).items()}
        record["inputs"] = list(self.inputs)
        return record

    def differences(self, stored: dict[str, Any]) -> list[str]:
        """Return the settings that differ from stored ones and may not change when a training is resumed."""
        names = {_STORED_NAMES.get(name, name): name for name in asdict(self)}
        return [
            names[stored_name]
            for stored_name, value in self.to_dict().items()
            if names[stored_name] not in _MAY_DIFFER and value != stored.get(stored_name)
        ]
