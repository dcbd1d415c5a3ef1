"""What `fit` shows: its settings in a line, and a bar."""

from __future__ import annotations

import sys
from typing import Any

from minihash import kernels
from minihash.terminal import forgiving
from minihash.training.plan import Place, Plan

#: What a training took to compile was 9 to 17 s, on two cores that did other things beside it.
COMPILING = "compiling kernels (once, about 15 s)"


def progress_bar(plan: Plan, place: Place, progress: bool | str | None) -> Any:
    """Return the bar of a training from a place on, and write the line before it; as `fit` says."""
    from tqdm import tqdm

    stderr = forgiving(sys.stderr)  # None under pythonw, and after 2>&-
    asked = progress in (None, "bar")
    shown = bool(stderr and stderr.isatty()) if asked else bool(progress and stderr)
    if shown and progress != "bar":
        tqdm.write(describe(plan, place.before), file=stderr)
    short = "{percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}"  # room for what postfix says
    steps, done = plan.epochs * plan.steps, (place.epoch - 1) * plan.steps + place.step
    how: dict[str, Any] = {"disable": not shown, "bar_format": short, "dynamic_ncols": True}
    return tqdm(total=steps, initial=done, file=stderr, **how)


def compilations(bar: Any) -> Any:
    """Return what counts the seconds of compiling while it is entered; a bar says so, and stands still."""

    def begin() -> None:
        if not bar.disable:
            bar.write(COMPILING, file=bar.fp)

    return kernels.compilations(begin, bar.unpause)


def describe(plan: Plan, before: int) -> str:
    """Return the settings of a training in a line; its schedule began after so many epochs."""
    optimizer, network = plan.optimizer, plan.network
    numbers = {"learning_rate": optimizer.learning_rate, **optimizer.settings()}
    shown = ", ".join(f"{name} {_text(value)}" for name, value in numbers.items())
    again = f" (the schedule anew after {before})" if before else ""
    parts = [
        f"{len(plan.rows.rows):,} rows",
        f"{plan.epochs} epochs{again} of {plan.steps:,} steps of {plan.gradients.batch_size}",
        plan.rows.loss.name or "a loss of one's own",
        f"{type(optimizer).__name__} ({shown})",
        f"seed {plan.seed}, {network.dtype} on {network.device}",
    ]
    if plan.gradients.setting is not None:
        mode, shards = plan.gradients.setting
        parts.append(f"{plan.ranks.size} ranks, {mode}, {shards} shards")
    return "fit: " + ", ".join(parts)


def _text(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
