"""R-Stitch on one problem and on twenty, with the demo pair.

This file can be read like a notebook: editors show the cells between the `# %%` marks and run them one by one.

    python examples/method_story.py

runs all cells, in a few seconds and without a download, and writes method_story.html to the current folder.
"""

# %% [markdown]
# # When a small model needs a large one
# Two models share a tokenizer: the SLM is fast and often wrong, the LLM is more accurate and slow. The SLM generates
# the answer. Where the entropy of its next-token distribution exceeds tau, the LLM generates that token instead, and
# continues until its own entropy is at most tau.

# %%
from pathlib import Path

from rstitch_local import Role, inspect_all, load_pair
from rstitch_local.builtin.word_problems import generate
from rstitch_local.problems.boxes import last_boxed

SEED = 11  # problems that were not used for training
PROBLEMS = 20
TAUS = (0.001, 0.005, 0.02, 0.1)

pair = load_pair("demo")
problems = [generate(SEED, index) for index in range(PROBLEMS)]


def answer(problem, router):
    """Return the trace of an answer, and whether it is correct."""
    trace = pair.generate(problem.question, router=router)
    return trace, last_boxed(trace.text) == str(problem.answer)


# %% [markdown]
# ## One problem
# The first one that the SLM alone solves incorrectly, and both models together solve.

# %%
for problem in problems:
    slm_trace, slm_correct = answer(problem, "slm")
    trace, correct = answer(problem, pair.defaults.router)
    if correct and not slm_correct:
        break

print(problem.question, f"(Gold answer: {problem.answer})")
print("\nThe SLM alone:", slm_trace.text, sep="\n")

# %% [markdown]
# ## Where the SLM is uncertain
# The normalized entropy of its next-token distribution is 0 if one token is certain, and 1 if all tokens are equally
# likely. Most tokens are certain.

# %%
records = slm_trace.to_records()  # one dict per token, for example for pandas.DataFrame(records)
uncertain = sorted(records, key=lambda record: -record["entropy"])[:5]
certain = sum(record["entropy_nats"] <= 0.1 for record in records) / len(records)
print(f"\n{certain:.0%} of the {len(records)} tokens have at most 0.1 nats. The five most uncertain tokens:")
for record in uncertain:
    before = "".join(other["text"] for other in records[: record["position"]])[-24:]
    print(f"  entropy {record['entropy']:.3f} ({record['entropy_nats']:.2f} nats)  {before!r} + {record['text']!r}")

# %% [markdown]
# ## What the LLM changes
# The same problem with both models; the LLM generated the text in brackets. In a notebook, `trace` as the last line of
# a cell shows the tokens in colors.

# %%
text = "".join(f"[{step.text}]" if step.role is Role.LLM else step.text for step in trace.steps)
print(f"\nBoth models, tau {pair.defaults.tau:g}:", text.replace("][", ""), sep="\n")
print(f"\nThe LLM generated {trace.llm_share:.0%} of the tokens, in {trace.swaps_up} visits.")

# %% [markdown]
# ## The effect of tau
# With a small tau, the LLM is used often: slower, and closer to the LLM's own answers. With a large tau, it is hardly
# used.

# %%
print(f"\n{PROBLEMS} problems:\n\n{'router':>14}  {'correct':>7}  {'LLM share':>9}  {'tokens':>6}  {'seconds':>7}")
for router in ("slm", *(f"entropy:{tau:g}" for tau in reversed(TAUS)), "llm"):
    answers = [answer(problem, router) for problem in problems]
    tokens = sum(len(each.steps) for each, _ in answers)
    share = sum(each.tokens[Role.LLM] for each, _ in answers) / tokens
    seconds = sum(each.wall_ms for each, _ in answers) / 1e3
    accuracy = sum(is_correct for _, is_correct in answers) / PROBLEMS
    print(f"{router:>14}  {accuracy:>7.0%}  {share:>9.0%}  {tokens / PROBLEMS:>6.0f}  {seconds:>7.1f}")

# %% [markdown]
# ## An HTML page
# Every token with its entropy, and with the predictions of both models at its position.

# %%
predictions = list(inspect_all(pair, problem.question, trace.steps, count=5))
page = Path("method_story.html")
page.write_text(trace.to_html(problem.question, predictions=predictions), encoding="utf-8")
pair.close()
print(f"\n{page} shows the answer token by token.")
