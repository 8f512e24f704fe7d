"""`rstitch doctor`: what this machine, this llama.cpp and these folders offer, and what to do about the rest.

Knows how to look; changes nothing.
"""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from rstitch_local import __version__, paths
from rstitch_local.commands.console import make_console, safe_json
from rstitch_local.commands.options import JsonOption
from rstitch_local.errors import RStitchError
from rstitch_local.sanitize import human_bytes, safe_text

if TYPE_CHECKING:
    from rstitch_local.catalog.store import PairState


def doctor(json_output: JsonOption = False) -> None:
    """Look at llama.cpp, the devices, the folders and the pairs, and say what to do."""
    report = examine()
    if json_output:
        typer.echo(safe_json(report))
        return
    screen = make_console()
    llama = report["llama"]
    screen.print(f"rstitch {report['rstitch']}, Python {report['python']}, {report['system']}", soft_wrap=True)
    screen.print(f"{llama['binding']}, llama.cpp {llama['version']}", soft_wrap=True)
    screen.print(f"  CPU features   {' '.join(llama['features'])}", soft_wrap=True)
    screen.print(f"  GPU offload    {'yes' if llama['gpu_offload'] else 'no, this build computes on the CPU'}")
    for device in report["devices"]:
        free, total = device["free_bytes"] / 1e9, device["total_bytes"] / 1e9
        screen.print(
            f"  {device['name']:<14} {safe_text(device['description'])}, {free:.1f} of {total:.1f} GB free",
            soft_wrap=True,
        )
    screen.print("Folders")
    for name, folder in report["folders"].items():
        screen.print(f"  {name:<14} {folder['path']}{'' if folder['writable'] else '  NOT WRITABLE'}", soft_wrap=True)
    screen.print("Pairs")
    for pair in report["pairs"]:
        screen.print(f"  {pair['name']:<14} {pair['state']}{_memory_text(pair['memory'])}", soft_wrap=True)
    screen.print("What to do")
    for advice in report["advice"] or ['Nothing: `rstitch ask "..."` works.']:
        screen.print(f"  - {advice}", soft_wrap=True)


def examine() -> dict[str, Any]:
    """Everything the command reports, ready for JSON."""
    from dataclasses import asdict

    from rstitch_local.catalog.catalog import load_catalog
    from rstitch_local.catalog.store import state
    from rstitch_local.llama import library

    build = library.build()
    pairs = []
    for entry in load_catalog():
        found = state(entry)
        words = {file.file.file: file.status.value for file in (found.slm, found.llm)}
        text = "ready" if found.ready else ", ".join(f"{file}: {status}" for file, status in words.items())
        memory = _memory(found, entry.context) if found.ready else None
        pairs.append({"name": entry.name, "ready": found.ready, "state": text, "memory": memory})
    folders = {
        name: {"path": str(path), "writable": _writable(path)}
        for name, path in (
            ("config", paths.config_dir()),
            ("models", paths.models_dir()),
            ("data", paths.data_dir()),
        )
    }
    advice = []
    if not any(pair["ready"] for pair in pairs if pair["name"] != "demo"):
        advice.append(
            "Only the demo pair is here, which solves word problems: `rstitch pull qwen2.5-coder` brings a pair for "
            "everything (1.6 GB)."
        )
    for name, folder in folders.items():
        if not folder["writable"]:
            advice.append(f"The {name} folder cannot be written; set RSTITCH_HOME to a folder that can.")
    if build.broken_amx:
        advice.append(
            "This llama.cpp was compiled with AMX kernels that crash, so weights are kept in their plain layout. "
            "docs/install.md says how to compile it without them, which makes prompts faster."
        )
    if not build.gpu_offload:
        advice.append("If this machine has a GPU, docs/install.md says how to install llama.cpp for it.")
    return {
        "rstitch": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "llama": {
            "binding": build.binding,
            "version": build.llama_cpp,
            "features": list(build.features),
            "gpu_offload": build.gpu_offload,
        },
        "devices": [asdict(device) for device in library.devices()],
        "folders": folders,
        "pairs": pairs,
        "advice": advice,
    }


def _memory(found: PairState, context: int) -> dict[str, int] | None:
    """What `rstitch solve` will take of the memory, in bytes; None where a file cannot be read."""
    from dataclasses import asdict

    from rstitch_local.engine.machine import cache_bytes, free_memory_bytes, plan_slots, predict_memory
    from rstitch_local.llama.gguf_check import check_gguf

    try:
        summaries = [check_gguf(file.path) for file in (found.slm, found.llm)]
    except RStitchError:
        return None
    tokens = max(min(context, summary.context_length or context) for summary in summaries)
    per_token = sum(cache_bytes(summary.kv_bytes_per_token, 1, "f16") for summary in summaries)
    free = free_memory_bytes() - sum(summary.file_size for summary in summaries)
    slots, kv_cells = plan_slots(per_token, tokens, free)
    need = predict_memory(summaries, kv_cells, slots, "f16")
    return {"slots": slots, "cells": kv_cells, **asdict(need), "total": need.total}


def _memory_text(memory: dict[str, int] | None) -> str:
    if memory is None:
        return ""
    return (
        f"; solving {memory['slots']} problems at once takes {human_bytes(memory['total'])} "
        f"({human_bytes(memory['caches'])} of it caches)"
    )


def _writable(folder: Path) -> bool:
    """Whether a folder, or the nearest one above it that exists, can be written."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return os.access(folder, os.W_OK)
