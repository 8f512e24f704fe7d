"""`rstitch doctor`: report on llama.cpp, the devices, the folders and the pairs. It changes nothing."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from rstitch_local import __version__, paths
from rstitch_local.commands.console import echo, safe_json
from rstitch_local.commands.options import JsonOption
from rstitch_local.errors import RStitchError
from rstitch_local.files import exists
from rstitch_local.sanitize import human_bytes, safe_text

if TYPE_CHECKING:
    from rstitch_local.catalog.schema import PairEntry
    from rstitch_local.catalog.store import PairState
    from rstitch_local.llama.library import Build


def doctor(json_output: JsonOption = False) -> None:
    """Report on llama.cpp, the devices, the folders and the pairs, and recommend what to do."""
    report = examine()
    if json_output:
        typer.echo(safe_json(report))
        return
    echo(*_lines(report))


def _lines(report: dict[str, Any]) -> Iterator[str]:
    """The report as lines of text."""
    llama = report["llama"]
    yield f"rstitch {report['rstitch']}, Python {report['python']}, {report['system']}"
    yield f"{llama['binding']}, llama.cpp {llama['version']}"
    yield f"  CPU features   {' '.join(llama['features'])}"
    yield f"  GPU offload    {'yes' if llama['gpu_offload'] else 'no, this build runs on the CPU only'}"
    for device in report["devices"]:
        free, total = device["free_bytes"] / 1e9, device["total_bytes"] / 1e9
        yield f"  {device['name']:<14} {safe_text(device['description'])}, {free:.1f} of {total:.1f} GB free"
    yield "Folders"
    for name, folder in report["folders"].items():
        yield f"  {name:<14} {folder['path']}{'' if folder['writable'] else '  NOT WRITABLE'}"
    yield "Pairs"
    for pair in report["pairs"]:
        yield f"  {pair['name']:<14} {pair['state']}{_memory_text(pair['memory'])}"
    yield "Recommendations"
    for advice in report["advice"] or ['None: `rstitch ask "..."` works.']:
        yield f"  - {advice}"


def examine() -> dict[str, Any]:
    """Return the report, ready for JSON."""
    from rstitch_local.catalog.catalog import load_catalog
    from rstitch_local.llama import library

    build = library.build()
    pairs = [_pair_record(entry) for entry in load_catalog()]
    folders = {
        name: {"path": str(path), "writable": _writable(path)}
        for name, path in (
            ("config", paths.config_dir()),
            ("models", paths.models_dir()),
            ("data", paths.data_dir()),
        )
    }
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
        "advice": list(_advice(build, pairs, folders)),
    }


def _advice(build: Build, pairs: list[dict[str, Any]], folders: dict[str, dict[str, Any]]) -> Iterator[str]:
    if not any(pair["ready"] for pair in pairs if pair["name"] != "demo"):
        yield (
            "Only the demo pair is installed, which solves word problems. `rstitch pull qwen2.5-coder` downloads a "
            "general pair (1.6 GB)."
        )
    for name, folder in folders.items():
        if not folder["writable"]:
            yield f"The {name} folder is not writable. Set RSTITCH_HOME to a writable folder."
    if build.broken_amx:
        yield (
            "This llama.cpp build has AMX kernels that crash, so weights are not repacked for AMX. To speed up "
            "prompts, compile it without them (docs/install.md)."
        )
    if not build.gpu_offload:
        yield "If this machine has a GPU, install llama.cpp with support for it (docs/install.md)."


def _pair_record(entry: PairEntry) -> dict[str, Any]:
    from rstitch_local.catalog.store import state

    pair = state(entry)
    missing = ", ".join(f"{file.file.file}: {file.status.value}" for file in (pair.slm, pair.llm))
    return {
        "name": entry.name,
        "ready": pair.ready,
        "state": "ready" if pair.ready else missing,
        "memory": _memory(pair, entry.context) if pair.ready else None,
    }


def _memory(pair: PairState, context: int) -> dict[str, int] | None:
    """Return the bytes of memory that `rstitch solve` will need; None if a file cannot be read."""
    from rstitch_local.engine.machine import cache_bytes, free_memory_bytes, plan_slots, predict_memory
    from rstitch_local.llama.gguf_check import check_gguf

    try:
        summaries = [check_gguf(file.path) for file in (pair.slm, pair.llm)]
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
        f"; solve needs {human_bytes(memory['total'])} for {memory['slots']} concurrent answers "
        f"({human_bytes(memory['caches'])} for KV caches)"
    )


def _writable(folder: Path) -> bool:
    """Return whether a folder, or its nearest existing parent, is writable."""
    while not exists(folder) and folder != folder.parent:
        folder = folder.parent
    return os.access(folder, os.W_OK)
