"""Custom routers: a function and a class, compared with the entropy threshold on the demo pair.

This file can be read like a notebook: editors show the cells between the `# %%` marks and run them one by one.

    python examples/custom_router.py

runs all cells, in a few seconds and without a download.
"""

# %% [markdown]
# # Write a router
# A router is called after every evaluation. After an evaluation of the SLM it decides which model generates the token
# at this position; after an evaluation of the LLM, which model generates the next one. `Observation` has the entropy of
# the model that was evaluated, and more fields on request.

# %%
from rstitch_local import Observation, Role, Router, bench, load_pair
from rstitch_local.builtin.word_problems import generate

TAU = 0.005
SEED = 11  # problems that were not used for training
PROBLEMS = 20

# %% [markdown]
# ## As a function
# The simplest router is a function that returns True for the LLM. This one compares the two most likely tokens instead
# of the entropy. `needs_margin` requests the field; fields that no router requests are not computed.


# %%
def small_margin(observation: Observation) -> bool:
    """Use the LLM where the two most likely tokens have similar probabilities."""
    return observation.margin is not None and observation.margin < 0.8


small_margin.needs_margin = True

# %% [markdown]
# ## As a class
# A class has parameters, which are recorded in the trace, and may keep state during an answer. This one is the entropy
# threshold with a limited number of visits to the LLM.


# %%
class FewVisits(Router):
    """The entropy threshold with at most `visits` visits to the LLM."""

    def __init__(self, tau: float = TAU, visits: int = 3) -> None:
        self.threshold = tau
        self.visits = visits
        self._remaining = visits

    def route(self, observation: Observation) -> Role:
        """Return to the SLM as the entropy threshold does, but stay there after the last visit."""
        uncertain = observation.entropy > self.threshold
        if observation.role is Role.SLM and uncertain:
            uncertain = self._remaining > 0
            self._remaining -= 1
        return Role.LLM if uncertain else Role.SLM


# %% [markdown]
# ## One answer
# Any router can be passed to `Pair.ask` and `Pair.generate`. A router that keeps state is passed as a class or as a
# factory, which is called for every answer.

# %%
pair = load_pair("demo")
question = generate(SEED, 0).question
print(question)
for router in (f"entropy:{TAU}", small_margin, FewVisits, lambda: FewVisits(visits=1)):
    trace = pair.generate(question, router=router)
    print(f"\n{trace.settings['router']}: {trace.swaps_up} visits, LLM share {trace.llm_share:.0%}")
    print("".join(f"[{step.text}]" if step.role is Role.LLM else step.text for step in trace.steps).replace("][", ""))

# %% [markdown]
# ## Comparison
# `bench` solves the same problems with every router in turn and compares each with the LLM alone, with 95 % confidence
# intervals. A mapping gives the routers names.

# %%
rows = []
for index in range(PROBLEMS):
    problem = generate(SEED, index)
    rows.append({"id": index, "question": problem.question, "answer": problem.answer})
routers = {
    "slm": "slm",
    "entropy": f"entropy:{TAU}",
    "margin": small_margin,
    "3 visits": FewVisits,
    "1 visit": lambda: FewVisits(visits=1),
}
result = bench(rows, pair, routers)
print(
    f"\n{PROBLEMS} problems:\n\n{'router':>9}  {'correct':>7}  {'95 % interval':>14}  {'LLM share':>9}  {'speed-up':>8}"
)
for metrics in result.routers:
    low, high = metrics.interval
    print(
        f"{metrics.router:>9}  {metrics.accuracy:>7.0%}  {low:>6.0%} to {high:>4.0%}  {metrics.llm_share:>9.0%}  "
        f"{metrics.speed_up:>7.1f}x"
    )

# %% [markdown]
# ## Where two routers differ
# The traces of all answers can be inspected, for example those that only one of two routers solves.

# %%
solved = {name: {answer.id for answer in result.answers(name) if answer.correct} for name in result.names}
only_entropy = sorted(solved["entropy"] - solved["1 visit"], key=int)
print(f"\nSolved with the threshold, but not with one visit: problems {', '.join(only_entropy) or 'none'}")
for identifier in only_entropy[:1]:
    for name in ("entropy", "1 visit"):
        print(f"\n{name}:", result.trace(name, identifier).text, sep="\n")
pair.close()
