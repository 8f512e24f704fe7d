"""Which evaluations an answer was made of, recovered from its trace: who, how many tokens, after how many cached.

Knows Algorithm 1, the rounds of speculative decoding and what a trace keeps of them; nothing of what an evaluation
costs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.step import Step
from rstitch_local.llama.batch import KINDS
from rstitch_local.trace.record import Trace


class Evaluation(NamedTuple):
    """One turn of a model: `n_inf` tokens fed in after `n_kv` cached ones; `prompt` of them are the prompt's.

    The engine cuts a long one into several calls of llama.cpp; here it is one.
    """

    role: Role
    n_inf: int
    n_kv: int
    prompt: int = 0

    @property
    def kind(self) -> str:
        """What its tokens count as: prompt, catch_up or decode; those of the answer decide where both are there."""
        if self.n_inf == self.prompt:
            return "prompt"
        return "decode" if self.n_inf == 1 else "catch_up"

    def tokens(self) -> dict[str, int]:
        """Its tokens by kind, as `Usage` counts them."""
        counted = dict.fromkeys(KINDS, 0)
        counted["prompt"] = self.prompt
        counted[self.kind] += self.n_inf - self.prompt
        return counted


def evaluations(trace: Trace) -> list[Evaluation]:
    """Every evaluation of an answer, in order; their tokens by role and kind are those of `trace.usage` exactly.

    A kept token says which models were evaluated for it: its writer, and the SLM before it where it was unsure. An
    answer that did not come about that way, or whose steps are not kept, gives what its totals tell
    (`evaluations_of_totals`). Where a cache held something from before (`reuse`), `n_kv` counts from there.
    """
    drafted = str(trace.settings.get("router", "")).startswith("spec:")
    found = _by_rounds(trace) if drafted else _by_steps(trace)
    return evaluations_of_totals(trace.totals()) if found is None else found


def _by_steps(trace: Trace) -> list[Evaluation] | None:
    """From the steps; None where they do not add up to the totals."""
    sizes: list[tuple[Role, int]] = []
    last: dict[Role, int] = {}
    for step in trace.steps[trace.resumed_tokens :]:
        both = step.role is Role.LLM and step.swap_entropy is not None
        slm = _unsure_tokens(trace, last, step.position) if both else 0
        if both:
            sizes.append((Role.SLM, slm))
            last[Role.SLM] = step.position
        sizes.append((step.role, step.evaluated_tokens - slm))
        last[step.role] = step.position
    # An answer that was stopped, failed or ran out of room may end with evaluations that gave no token.
    for role in Role:
        rest = sum(trace.usage[role].tokens) - sum(n for r, n in sizes if r is role)
        if rest:
            sizes.append((role, rest))
    cached = dict.fromkeys(Role, 0)
    prompts = {role: trace.usage[role].tokens[0] for role in Role}
    found = []
    for role, n_inf in sizes:
        prompt, prompts[role] = prompts[role], 0
        if n_inf < max(1, prompt):
            return None
        found.append(Evaluation(role, n_inf, cached[role], prompt))
        cached[role] += n_inf
    return found if _add_up(found, trace) else None


def _by_rounds(trace: Trace) -> list[Evaluation] | None:
    """From the rounds of speculative decoding, each up to a token of the LLM; None where they do not add up.

    What a round evaluated is known for both models together. If the SLM drafts n tokens, it evaluates those it has
    missed, then all drafts but the last, and that one too where it was asked for another and passed; the LLM
    evaluates what it has missed and all n. So n is half of what is left without the missed ones.
    """
    if trace.resumed_tokens or not trace.steps:
        return None
    prompts = {role: trace.usage[role].tokens[0] for role in Role}
    missed = dict(prompts)
    found = []
    kept = 0
    while kept < len(trace.steps):
        end = next((i for i, s in enumerate(trace.steps[kept:], kept) if s.role is Role.LLM), len(trace.steps) - 1) + 1
        evaluated = sum(step.evaluated_tokens for step in trace.steps[kept:end])
        left = evaluated - sum(missed.values()) + 1
        drafts, passed = (left // 2, left % 2 == 1) if missed[Role.SLM] and left > 0 else (0, False)
        turns = drafts + passed
        first = {role: prompts[role] if kept == 0 else 0 for role in Role}
        held = {role: max(0, prompts[role] + kept - missed[role]) if kept else 0 for role in Role}
        sizes = [missed[Role.SLM], *[1] * (turns - 1)] if turns else []
        for turn, size in enumerate(sizes):
            at = held[Role.SLM] + (missed[Role.SLM] + turn - 1 if turn else 0)
            found.append(Evaluation(Role.SLM, size, at, 0 if turn else first[Role.SLM]))
        found.append(Evaluation(Role.LLM, missed[Role.LLM] + drafts, held[Role.LLM], first[Role.LLM]))
        # The LLM's own token; and the last draft, if it was kept and the SLM not asked for another after it.
        accepted = sum(step.role is Role.SLM for step in trace.steps[kept:end])
        missed[Role.SLM] = (0 if turns else missed[Role.SLM]) + 1 + (0 < drafts == accepted and not passed)
        missed[Role.LLM] = 1
        kept = end
    return found if _add_up(found, trace) else None


def _add_up(found: list[Evaluation], trace: Trace) -> bool:
    """Whether these are all evaluations of an answer, by its totals."""
    counted = {role: dict.fromkeys(KINDS, 0) for role in Role}
    for evaluation in found:
        for kind, count in evaluation.tokens().items():
            counted[evaluation.role][kind] += count
    return all(list(counted[role].values()) == trace.usage[role].tokens for role in Role)


def _unsure_tokens(trace: Trace, last: Mapping[Role, int], position: int) -> int:
    """Tokens the SLM evaluated at a position where both models were: it had missed those since its last turn."""
    if Role.SLM in last:
        return position - last[Role.SLM]
    prompt = trace.usage[Role.SLM].tokens[0]
    if prompt:
        return prompt + position
    # Its cache held the whole prompt and some of the answer: what all its later turns leave.
    turns = [
        s.position for s in trace.steps[trace.resumed_tokens :] if s.role is Role.SLM or s.swap_entropy is not None
    ]
    return sum(trace.usage[Role.SLM].tokens) - (turns[-1] - position)


def evaluations_alone(steps: Iterable[Step], prompt: Mapping[Role, int]) -> list[Evaluation]:
    """Every evaluation an answer takes that is written alone, from empty caches: what others left there is left out.

    Args:
        steps: of the whole answer.
        prompt: tokens of the conversation before it, by role. What is exact for models that share their tokens is
            close for others: a token of the one is taken for one of the other.
    """
    cached = dict.fromkeys(Role, 0)
    found = []
    for step in steps:
        for role in (Role.SLM, Role.LLM) if step.swap_entropy is not None and step.role is Role.LLM else (step.role,):
            held = prompt[role] + step.position
            found.append(Evaluation(role, held - cached[role], cached[role], 0 if cached[role] else prompt[role]))
            cached[role] = held
    return found


def evaluations_of_totals(totals: Mapping[str, Any]) -> list[Evaluation]:
    """About the same from totals alone: a line of answers.jsonl, or `Trace.totals()`.

    How many evaluations there were follows exactly: one for every token of the LLM; one for every token of the SLM
    and for every time it gave way. So do those of a single token. The others share the catch-up tokens evenly, and
    all are spread evenly over the length of the answer.
    """
    found = []
    for role in Role:
        prompt, catch_up, decode = (totals["evaluated"][role.value][kind] for kind in KINDS)
        turns = totals["tokens"][role.value] + (totals["swaps"]["up"] if role is Role.SLM else 0)
        # The LLM's first turn has the prompt and what the SLM wrote before it; the SLM's has the prompt alone.
        shared = prompt > 0 and role is Role.LLM
        # A catch-up by itself has two tokens at least; of one token it would be a decode.
        later = min(max(0 if shared else 1, turns - decode - (prompt > 0)), catch_up // 2)
        early = min(catch_up // (later + 1), catch_up - 2 * later) if shared else 0
        rest = catch_up - early
        caught = [rest * (i + 1) // later - rest * i // later for i in range(later)]
        first = prompt + (early if later else catch_up)
        if first:
            found.append(Evaluation(role, first, 0, prompt))
        # Each of the two kinds is spread over the whole answer by itself.
        end = prompt + catch_up + decode
        for sizes in (caught, [1] * decode):
            for i, size in enumerate(sizes):
                found.append(Evaluation(role, size, first + (end - first - size) * i // max(1, len(sizes) - 1)))
    return found
