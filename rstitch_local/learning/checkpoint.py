"""Checkpoints of a training: one file, replaced atomically, next to the best policy so far.

Requires torch; import it inside functions.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from rstitch_local.errors import InputError
from rstitch_local.files import exists, open_regular, write_atomic

FORMAT = 1
CHECKPOINT_FILE = "checkpoint.pt"
POLICY_FILE = "best.safetensors"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The state of a training after a number of steps.

    settings: `TrainSettings.to_dict()`.
    slm_sha256: hash of the SLM's file.
    fingerprint: hash of everything else that the rewards depend on.
    history: the records so far.
    network, optimizer: their torch state.
    """

    step: int
    latency_penalty: float
    best_reward: float
    settings: dict[str, Any]
    slm_sha256: str
    fingerprint: str
    history: list[dict[str, Any]]
    network: dict[str, Any]
    optimizer: dict[str, Any]

    def write(self, folder: Path) -> None:
        """Write the checkpoint; raises StorageError if it cannot be written, and the old one is unchanged."""
        # The keys of version 0.1.
        state = {
            "format": FORMAT,
            "step": self.step,
            "price": self.latency_penalty,
            "best_reward": self.best_reward,
            "settings": json.dumps(self.settings),
            "slm": self.slm_sha256,
            "basis": self.fingerprint,
            "history": json.dumps(self.history),
            "network": self.network,
            "optimiser": self.optimizer,
        }
        buffer = io.BytesIO()
        torch.save(state, buffer)
        write_atomic(folder / CHECKPOINT_FILE, buffer.getvalue(), what="checkpoint")

    @classmethod
    def read(cls, folder: Path) -> Checkpoint:
        """Read the checkpoint in a folder.

        Raises:
            InputError: there is none, it is damaged, or another version wrote it.
        """
        path = folder / CHECKPOINT_FILE
        if not exists(path):
            raise InputError("No checkpoint", f"There is no checkpoint in {folder}.", "Leave out --resume.")
        try:
            # weights_only: a checkpoint may come from somebody else, and must not run code.
            with open_regular(path) as file:
                state = torch.load(file, weights_only=True)
            version = state["format"]
            checkpoint = cls(
                step=int(state["step"]),
                latency_penalty=float(state["price"]),
                best_reward=float(state["best_reward"]),
                settings=dict(json.loads(state["settings"])),
                slm_sha256=str(state["slm"]),
                fingerprint=str(state["basis"]),
                history=list(json.loads(state["history"])),
                network=dict(state["network"]),
                optimizer=dict(state["optimiser"]),
            )
        # torch.load raises errors of many kinds for a file that is not its own.
        except Exception as error:
            raise InputError("Damaged checkpoint", f"{path} cannot be read: {type(error).__name__}.") from error
        if version != FORMAT:
            raise InputError("Damaged checkpoint", f"{path} is from another version of rstitch.")
        return checkpoint
