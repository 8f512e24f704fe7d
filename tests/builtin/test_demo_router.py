"""The learned router of the demo pair: its metadata, its decisions, and its name on the command line."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from rstitch_local import builtin
from rstitch_local.builtin import word_problems
from rstitch_local.catalog.checksums import sha256_of
from rstitch_local.commands.main import app
from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.sampling import Sampling
from rstitch_local.engine.loading import LoadOptions, load_pair
from rstitch_local.routing.learned import load_policy

PROBLEMS = 60
LARGEST_BYTES = 100_000


def test_metadata_names_the_slm_and_the_training() -> None:
    metadata = load_policy("demo").metadata
    assert metadata.slm_sha256 == sha256_of(builtin.SLM_FILE)
    assert metadata.tau_ask == metadata.training["tau_ask"]
    assert metadata.training["warm"] in {"rule", "difference"}
    assert {"seed", "steps", "step", "price", "group", "batch", "floor"} <= metadata.training.keys()
    assert metadata.training["validation"]["accuracy"] > 0.9
    assert (builtin.FOLDER / "demo-router.safetensors").stat().st_size <= LARGEST_BYTES


def test_router_is_more_accurate_than_the_slm_with_fewer_swaps_than_a_threshold() -> None:
    problems = [word_problems.generate(word_problems.EVALUATION_SEED, index) for index in range(PROBLEMS)]
    tau_ask = load_policy("demo").metadata.tau_ask
    right, swaps = {}, {}
    with load_pair("demo", options=LoadOptions(threads=1, context=1024)) as pair:
        for router in ("learned:demo", f"entropy:{tau_ask:g}", "slm"):
            runs = [pair.ask(p.question, router=router, sampling=Sampling(), max_tokens=400) for p in problems]
            right[router] = swaps[router] = 0
            for problem, run in zip(problems, runs, strict=True):
                text = "".join(step.text for step in run)
                right[router] += f"\\boxed{{{problem.answer}}}" in text
                swaps[router] += run.trace.swaps_up
                assert run.trace.tokens[Role.SLM]
    assert right["learned:demo"] >= right["slm"] + 0.15 * PROBLEMS
    assert swaps["learned:demo"] < swaps[f"entropy:{tau_ask:g}"]


@pytest.mark.parametrize("command", ["ask", "solve"])
def test_commands_accept_the_router_by_name(command: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("named")
    if command == "ask":
        arguments = ["Tom has 12 pens. He buys 30 more pens. How many pens does Tom have?", "--json"]
    else:
        file = folder / "one.jsonl"
        file.write_text(
            '{"question": "Tom has 12 pens. He buys 30 more pens. How many pens does Tom have?", "answer": "42"}\n'
        )
        arguments = [str(file), "--out", str(folder / "run"), "--json"]
    done = CliRunner(env={"RSTITCH_HOME": str(folder)}).invoke(
        app, [command, *arguments, "--pair", "demo", "--router", "learned:demo"]
    )
    assert done.exit_code == 0, done.output
    record = json.loads(done.stdout)
    assert "42" in record["text"] if command == "ask" else record["accuracy"] == 1.0
