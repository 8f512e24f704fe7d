"""R-Stitch on one problem and on twenty, with the pair that comes with the package.

A script that is read like a notebook: editors show the cells between the `# %%` marks and run them one by one, and

    python examples/method_story.py

runs them all, in a few seconds and without a download. It writes one page, method_story.html, where it is run.
"""

# %% [markdown]
# # Where a small model should ask a large one
# Two models that share a tokeniser: the SLM is quick and often wrong, the LLM is right more often and slow. The SLM
# writes. Before each token it is looked at how unsure it is; where that is more than tau, the LLM writes the token
# instead, and goes on until it is sure again.

# %%
from pathlib import Path

from rstitch_local import load_pair
from rstitch_local.builtin.word_problems import generate
from rstitch_local.decoding.roles import Role
from rstitch_local.engine.inspection import inspect_all
from rstitch_local.problems.answers import last_boxed
from rstitch_local.trace.page.answer import answer_page
from rstitch_local.trace.reading import LoadedAnswer

SEED = 11  # of problems that the models were not trained on
PROBLEMS = 20
TAUS = (0.001, 0.005, 0.02, 0.1)

pair = load_pair("demo")
problems = [generate(SEED, index) for index in range(PROBLEMS)]


def solve(problem, router):
    """The record of one answer, and whether it is right."""
    run = pair.ask(problem.question, router=router)
    for _ in run:
        pass
    return run.trace, last_boxed(run.trace.text) == str(problem.answer)


# %% [markdown]
# ## One problem
# The first one that the SLM alone gets wrong, and the two together get right.

# %%
for problem in problems:
    alone, alone_is_right = solve(problem, "slm")
    together, together_is_right = solve(problem, pair.defaults.router)
    if together_is_right and not alone_is_right:
        break

print(problem.question, f"(It is {problem.answer}.)")
print("\nThe SLM alone:", alone.text, sep="\n")

# %% [markdown]
# ## Where it was unsure
# The entropy of what a model expects next says it: 0 when it is certain of one token, 1 when all are alike to it.
# Most tokens are certain, and few are not.

# %%
records = alone.to_records()  # one plain dict a token: pandas.DataFrame(records) is a table
unsure = sorted(records, key=lambda record: -record["entropy"])[:5]
sure = sum(record["entropy_nats"] <= 0.1 for record in records) / len(records)
print(f"\n{sure:.0%} of the {len(records)} tokens have at most 0.1 nats. The five it was least sure of:")
for record in unsure:
    before = "".join(other["text"] for other in records[: record["position"]])[-24:]
    print(f"  entropy {record['entropy']:.3f} ({record['entropy_nats']:.2f} nats)  {before!r} + {record['text']!r}")

# %% [markdown]
# ## What the LLM did there
# The same problem with both. Between the brackets is what the LLM wrote; the rest is the SLM's. In a notebook
# `together` alone, as the last line of a cell, shows it in colours.

# %%
written = "".join(f"[{step.text}]" if step.role is Role.LLM else step.text for step in together.steps)
print(f"\nBoth, tau {pair.defaults.tau:g}:", written.replace("][", ""), sep="\n")
print(f"\nThe LLM wrote {together.llm_share:.0%} of it, in {together.swaps_up} visits.")

# %% [markdown]
# ## What tau decides
# A small tau asks often: slower, and closer to the LLM's own answers. A large one hardly asks at all.

# %%
print(f"\n{PROBLEMS} problems:\n\n{'router':>14}  {'right':>5}  {'LLM share':>9}  {'tokens':>6}  {'seconds':>7}")
for router in ("slm", *(f"entropy:{tau:g}" for tau in reversed(TAUS)), "llm"):
    answers = [solve(problem, router) for problem in problems]
    traces = [trace for trace, _ in answers]
    tokens = sum(len(trace.steps) for trace in traces)
    share = sum(trace.tokens[Role.LLM] for trace in traces) / tokens
    seconds = sum(trace.wall_ms for trace in traces) / 1e3
    right = sum(is_right for _, is_right in answers) / PROBLEMS
    print(f"{router:>14}  {right:>5.0%}  {share:>9.0%}  {tokens / PROBLEMS:>6.0f}  {seconds:>7.1f}")

# %% [markdown]
# ## The same as a page
# Every token with its entropy, and with what both models would have written in its place.

# %%
messages = [{"role": "user", "content": problem.question}]
views = list(inspect_all(pair, messages, together.steps, count=5))
page = Path("method_story.html")
page.write_text(
    answer_page(LoadedAnswer("One problem, two models", together, problem.question), views), encoding="utf-8"
)
pair.close()
print(f"\n{page} shows the answer token by token.")
