"""Problems, prompt, models and output folder of a study, and its progress callback."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import rstitch_local
from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.sampling import Sampling
from rstitch_local.engine.pair import Pair
from rstitch_local.problems.grading import grader_identity
from rstitch_local.problems.prompts import Prompt
from rstitch_local.problems.reading import Fields, Problem, ProblemFile
from rstitch_local.problems.run_folder import RunFolder
from rstitch_local.sanitize import one_line
from rstitch_local.study.markdown import escape


class ProgressCallback(Protocol):
    """Receives the progress of a study."""

    def __call__(self, stage: str, done: int, total: int, message: str = "") -> None:
        """Report that `done` of `total` items of a stage are finished; `message` describes the last one in one line."""
        ...


@dataclass(frozen=True, slots=True)
class StudyJob:
    """Problems and settings of a study.

    problem_file, problems: the file, and the problems selected from it.
    out: folder of all output files.
    prompt: prompt template; max_tokens: longest answer, None for the limit of the contexts.
    pair_name: name of the pair.
    model_settings: further settings that answers of one folder must share: SHA-256 of the model files, context size,
        KV cache type.
    command: command line that reproduces the report.
    """

    problem_file: ProblemFile
    problems: Sequence[Problem]
    out: Path
    prompt: Prompt
    model_settings: Mapping[str, Any]
    pair_name: str
    max_tokens: int | None = None
    fields: Fields = field(default_factory=Fields)
    command: str = ""

    def messages(self, problem: Problem) -> list[dict[str, str]]:
        """Return the conversation for a problem."""
        return self.prompt.messages(problem.question)

    def begin(self, folder: RunFolder, role: Role, pair: Pair, *, score: bool = True) -> None:
        """Start or resume a run folder with answers of one model; raises InputError if it has other settings.

        Args:
            folder: the run folder.
            role: the model that answers.
            pair: the loaded pair.
            score: whether the other model scores the answers (`answering.score_answer`).
        """
        settings = {
            # "read_along" is the name in run.json since the first release.
            "study": {"read_along": score},
            "problems_sha256": self.problem_file.sha256,
            "fields": asdict(self.fields),
            "prompt": self.prompt.template,
            "models": dict(self.model_settings),
            "router": role.value,
            "sampling": asdict(Sampling()),
            "max_tokens": self.max_tokens,
            "grader": grader_identity(),
        }
        information = {
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "rstitch": rstitch_local.__version__,
            "pair": self.pair_name,
            "problems": {"file": self.problem_file.name, "rows": len(self.problem_file.problems)},
            "prompt_name": self.prompt.name,
            "loaded": pair.describe(),
        }
        earlier = (folder.header() or {}).get("information", {})
        folder.begin(settings, {**earlier, **information})

    def heading(self, title: str) -> str:
        """Return the head of the report in Markdown: title, pair, problems, settings, version and command."""
        limit = "limited by the context" if self.max_tokens is None else f"at most {self.max_tokens} tokens"
        parts = [
            f"# {title}",
            f"Pair {escape(self.pair_name, 60)}; {len(self.problems)} of {len(self.problem_file.problems)} problems of "
            f"{escape(self.problem_file.name, 60)}; prompt {escape(self.prompt.name, 60)}; answers {limit}; "
            f"rstitch {rstitch_local.__version__}. `slm/run.json` lists models and versions.",
        ]
        if self.command:
            # An indented code block: nothing in it is read as markup.
            parts.append(f"    {one_line(self.command, 1000)}")
        return "\n\n".join(parts)
