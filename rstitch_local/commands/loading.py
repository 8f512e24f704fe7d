"""Load a pair with a progress bar on stderr."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rstitch_local.commands.console import make_console, progress_bars

if TYPE_CHECKING:
    from rstitch_local.engine.choice import PairChoice
    from rstitch_local.engine.options import LoadOptions
    from rstitch_local.engine.pair import Pair


def open_pair(choice: PairChoice, options: LoadOptions) -> Pair:
    """Load a pair; raise ModelError as `load_pair` does."""
    from rstitch_local.decoding.roles import Role
    from rstitch_local.engine.loading import load_choice

    screen = make_console(stderr=True)
    with progress_bars(screen) as bars:
        tasks = {role: bars.add_task(f"Loading {role.name}", total=1.0) for role in Role}

        def report(role: Role, share: float) -> bool:
            bars.update(tasks[role], description=f"Loading {role.name}", completed=share)
            return True

        def report_trial(role: Role) -> bool:
            bars.update(tasks[role], description=f"Checking {role.name} once")
            return True

        pair = load_choice(choice, options, report, report_trial)
    if pair.notice is not None:
        screen.print(pair.notice, style="dim", soft_wrap=True)
    return pair
