"""Chooses the kind of trajectory that a router and two tokenizers require."""

from __future__ import annotations

from rstitch_local.decoding.config import TrajectoryConfig
from rstitch_local.decoding.foreign import ForeignBridge
from rstitch_local.decoding.foreign_trajectory import ForeignTrajectory
from rstitch_local.decoding.speculative import SpeculativeRouter, SpeculativeTrajectory
from rstitch_local.decoding.trajectory import Trajectory
from rstitch_local.errors import ModelError


def create_trajectory(config: TrajectoryConfig) -> Trajectory:
    """Create the trajectory of an answer.

    Args:
        config: the prompt, the rules and the limits.

    Returns:
        A SpeculativeTrajectory for a SpeculativeRouter, a ForeignTrajectory for models with different tokenizers,
        else a Trajectory.

    Raises:
        ModelError: speculative decoding of two models with different tokenizers.
        UsageError: a stop string is empty.
        EngineError: the router failed on a resumed step.
    """
    foreign = isinstance(config.bridge, ForeignBridge)
    if isinstance(config.router, SpeculativeRouter):
        if foreign:
            raise ModelError(
                "Different tokenizers",
                "Speculative decoding compares single tokens; the two models have no tokens in common.",
                "Use two models of the same family (`rstitch pairs` lists some), or another router.",
            )
        return SpeculativeTrajectory(config)
    return ForeignTrajectory(config) if foreign else Trajectory(config)
