"""The evaluations that an answer consists of, recovered from its trace: model, tokens, cached tokens.

Follows Algorithm 1 and the rounds of speculative decoding. The cost of an evaluation is in `latency.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.step import Step
from rstitch_local.llama.batch import KINDS
from rstitch_local.trace.record import Trace


class Evaluation(NamedTuple):
    """One turn of a model: `n_inf` tokens evaluated after `n_kv` cached ones; `prompt` of them belong to the prompt.

    The engine splits a long evaluation into several calls of llama.cpp; here it counts as one.
    """

    role: Role
    n_inf: int
    n_kv: int
    prompt: int = 0

    @property
    def kind(self) -> str:
        """The kind of its tokens: prompt, catch_up or decode; with both, the kind of those after the prompt."""
        if self.n_inf == self.prompt:
            return "prompt"
        return "decode" if self.n_inf == 1 else "catch_up"

    def tokens(self) -> dict[str, int]:
        """Return its tokens by kind, counted as in `Usage`."""
        counted = dict.fromkeys(KINDS, 0)
        counted["prompt"] = self.prompt
        counted[self.kind] += self.n_inf - self.prompt
        return counted


def evaluations(trace: Trace) -> list[Evaluation]:
    """Return every evaluation of an answer, in order; their tokens by role and kind equal `trace.usage`.

    A step determines the models evaluated for it: its writer, and at a swap the SLM before it. If the steps are
    missing, or were generated in another way, the result is approximated from the totals (`evaluations_of_totals`). If
    the answer reused cached tokens, `n_kv` counts from there.
    """
    speculative = str(trace.settings.get("router", "")).startswith("spec:")
    result = _from_rounds(trace) if speculative else _from_steps(trace)
    return evaluations_of_totals(trace.totals()) if result is None else result


def _from_steps(trace: Trace) -> list[Evaluation] | None:
    """Recover the evaluations from the steps; None if they do not match the totals."""
    sizes: list[tuple[Role, int]] = []
    last: dict[Role, int] = {}
    for step in trace.steps[trace.resumed_tokens :]:
        slm_tokens = 0
        if step.role is Role.LLM and step.swap_entropy is not None:
            slm_tokens = _slm_tokens_at_swap(trace, last, step.position)
            sizes.append((Role.SLM, slm_tokens))
            last[Role.SLM] = step.position
        sizes.append((step.role, step.evaluated_tokens - slm_tokens))
        last[step.role] = step.position
    # An answer that was interrupted, failed or reached a limit may end with evaluations without a token.
    for role in Role:
        rest = sum(trace.usage[role].tokens) - sum(n for r, n in sizes if r is role)
        if rest:
            sizes.append((role, rest))
    cached = dict.fromkeys(Role, 0)
    prompts = {role: trace.usage[role].tokens[0] for role in Role}
    result = []
    for role, n_inf in sizes:
        prompt, prompts[role] = prompts[role], 0
        if n_inf < max(1, prompt):
            return None
        result.append(Evaluation(role, n_inf, cached[role], prompt))
        cached[role] += n_inf
    return result if _match_totals(result, trace) else None


def _slm_tokens_at_swap(trace: Trace, last: Mapping[Role, int], position: int) -> int:
    """Return the tokens the SLM evaluated at a swap: those since its last turn."""
    if Role.SLM in last:
        return position - last[Role.SLM]
    prompt = trace.usage[Role.SLM].tokens[0]
    if prompt:
        return prompt + position
    # The cache held the prompt and part of the answer: what is left after all later turns.
    turns = [
        s.position for s in trace.steps[trace.resumed_tokens :] if s.role is Role.SLM or s.swap_entropy is not None
    ]
    return sum(trace.usage[Role.SLM].tokens) - (turns[-1] - position)


def _from_rounds(trace: Trace) -> list[Evaluation] | None:
    """Recover the rounds of speculative decoding, each ending with an LLM token; None if they do not match the totals.

    Only the sum over both models is known for a round. With n drafts, the SLM evaluates the tokens it has missed, then
    all drafts but the last, and the last one too if it was evaluated for a further draft that it did not make; the LLM
    evaluates the tokens it has missed and all n drafts. So n is half of the sum without the missed tokens.
    """
    if trace.resumed_tokens or not trace.steps:
        return None
    prompts = {role: trace.usage[role].tokens[0] for role in Role}
    missed = dict(prompts)
    result: list[Evaluation] = []
    start = 0
    while start < len(trace.steps):
        round_steps = _round_from(trace.steps, start)
        evaluated = sum(step.evaluated_tokens for step in round_steps)
        left = evaluated - sum(missed.values()) + 1
        drafts, declined = (left // 2, left % 2 == 1) if missed[Role.SLM] and left > 0 else (0, False)
        first = {role: prompts[role] if start == 0 else 0 for role in Role}
        cached = {role: max(0, prompts[role] + start - missed[role]) if start else 0 for role in Role}
        turns = drafts + declined
        if turns:
            result.append(Evaluation(Role.SLM, missed[Role.SLM], cached[Role.SLM], first[Role.SLM]))
            after = cached[Role.SLM] + missed[Role.SLM]
            result += [Evaluation(Role.SLM, 1, after + turn) for turn in range(turns - 1)]
        result.append(Evaluation(Role.LLM, missed[Role.LLM] + drafts, cached[Role.LLM], first[Role.LLM]))
        # The LLM's token; and the last draft, if it was accepted and not yet evaluated for a further one.
        accepted = sum(step.role is Role.SLM for step in round_steps)
        missed[Role.SLM] = (0 if turns else missed[Role.SLM]) + 1 + (0 < drafts == accepted and not declined)
        missed[Role.LLM] = 1
        start += len(round_steps)
    return result if _match_totals(result, trace) else None


def _round_from(steps: list[Step], start: int) -> list[Step]:
    """Return the steps from `start` up to the next one of the LLM."""
    end = next((i for i, step in enumerate(steps[start:], start) if step.role is Role.LLM), len(steps) - 1) + 1
    return steps[start:end]


def _match_totals(found: list[Evaluation], trace: Trace) -> bool:
    counted = {role: dict.fromkeys(KINDS, 0) for role in Role}
    for evaluation in found:
        for kind, count in evaluation.tokens().items():
            counted[evaluation.role][kind] += count
    return all(list(counted[role].values()) == trace.usage[role].tokens for role in Role)


def evaluations_alone(steps: Iterable[Step], prompt: Mapping[Role, int]) -> list[Evaluation]:
    """Return the evaluations of an answer generated alone, from empty caches.

    Args:
        steps: the steps of the whole answer.
        prompt: tokens of the conversation before it, by role. Exact for models that share their tokens; otherwise an
            approximation, because a token of one model counts as one token of the other.
    """
    cached = dict.fromkeys(Role, 0)
    result = []
    for step in steps:
        swap = step.swap_entropy is not None and step.role is Role.LLM
        for role in Role if swap else (step.role,):
            length = prompt[role] + step.position
            first = 0 if cached[role] else prompt[role]
            result.append(Evaluation(role, length - cached[role], cached[role], first))
            cached[role] = length
    return result


def evaluations_of_totals(totals: Mapping[str, Any]) -> list[Evaluation]:
    """Approximate the evaluations from totals: a line of answers.jsonl, or `Trace.totals()`.

    The number of evaluations is exact: one per token of the LLM, one per token of the SLM and per swap to the LLM. So
    is the number of single-token ones. The others share the catch-up tokens evenly, and all are spread evenly over the
    length of the answer.
    """
    result = []
    for role in Role:
        prompt, catch_up, decode = (totals["evaluated"][role.value][kind] for kind in KINDS)
        turns = totals["tokens"][role.value] + (totals["swaps"]["up"] if role is Role.SLM else 0)
        # The LLM's first turn has the prompt and the SLM's tokens before it; the SLM's has the prompt alone.
        first_has_both = prompt > 0 and role is Role.LLM
        # A catch-up has at least two tokens; a single token would be a decode.
        later = min(max(0 if first_has_both else 1, turns - decode - (prompt > 0)), catch_up // 2)
        early = min(catch_up // (later + 1), catch_up - 2 * later) if first_has_both else 0
        rest = catch_up - early
        catch_ups = [rest * (i + 1) // later - rest * i // later for i in range(later)]
        first = prompt + (early if later else catch_up)
        if first:
            result.append(Evaluation(role, first, 0, prompt))
        # Each kind is spread over the whole answer by itself.
        end = prompt + catch_up + decode
        for sizes in (catch_ups, [1] * decode):
            for i, size in enumerate(sizes):
                n_kv = first + (end - first - size) * i // max(1, len(sizes) - 1)
                result.append(Evaluation(role, size, n_kv))
    return result
