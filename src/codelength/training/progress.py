"""What a run says while it goes: a CSV log always; TensorBoard and a progress bar where they are installed."""

from __future__ import annotations

import csv
import math
import os
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from codelength.files import check_destination
from codelength.progress import show_seconds


class Log:
    """Rows of figures in `path`, one per validation; the same as TensorBoard scalars beside it."""

    def __init__(self, path: Path) -> None:
        check_destination(path)
        self.path = path
        self.header: list[str] | None = None
        self.board: Any = None
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            return
        self.board = SummaryWriter(str(path.parent / "tensorboard"))

    def __enter__(self) -> Log:
        return self

    def __exit__(self, kind: type | None, value: BaseException | None, trace: TracebackType | None) -> None:
        if self.board is not None:
            self.board.close()

    def truncate(self, step: int) -> None:
        """Forget what was logged after `step`, which a resumed run will reach again."""
        if not self.path.exists():
            return
        with open(self.path, newline="") as file:
            rows = list(csv.reader(file))
        if not rows:
            return
        self.header = rows[0]
        kept = [row for row in rows[1:] if row and row[0].isdigit() and int(row[0]) <= step]
        with open(self.path, "w", newline="") as file:
            csv.writer(file).writerows([self.header, *kept])

    def write(self, step: int, seconds: float, figures: dict[str, float]) -> None:
        names = ["step", "seconds", *figures]
        with open(self.path, "w" if self.header is None else "a", newline="") as file:
            writer = csv.writer(file)
            if self.header is None:
                writer.writerow(names)
                self.header = names
            writer.writerow([step, f"{seconds:.1f}", *(f"{value:.6g}" for value in figures.values())])
        if self.board is not None:
            for name, value in figures.items():
                self.board.add_scalar(name, value, step)


class Teller:
    """Says what a run is about to do, a line each, on stderr; nothing if quiet."""

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet

    def __call__(self, line: str) -> None:
        if not self.quiet:
            print(line, file=sys.stderr, flush=True)


class Progress:
    """Count, rate and time left: a bar on a terminal, where rich is installed; else a line for each validation, and
    now and then between them.

    minutes: after which the run ends, 0 for never.
    """

    def __init__(self, steps: int, quiet: bool, minutes: float = 0.0) -> None:
        self.steps, self.quiet, self.minutes = steps, quiet, minutes
        self.begin(0)
        self.bar: Any = None
        self.task: Any = None
        if quiet or not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
            return
        try:
            from rich import progress
            from rich.console import Console
        except ImportError:
            return
        columns = [
            progress.TextColumn("{task.description}"),
            progress.BarColumn(),
            progress.MofNCompleteColumn(),
            progress.TextColumn("{task.fields[figure]}"),
            progress.TextColumn("{task.fields[left]}"),
        ]
        self.bar = progress.Progress(*columns, console=Console(stderr=True))
        self.task = self.bar.add_task("training", total=steps, figure="", left="")

    def __enter__(self) -> Progress:
        if self.bar is not None:
            self.bar.start()
        return self

    def __exit__(self, kind: type | None, value: BaseException | None, trace: TracebackType | None) -> None:
        if self.bar is not None:
            self.bar.stop()

    def begin(self, step: int) -> None:
        """Steps from this one on are counted from now."""
        self.first, self.begun = step, time.monotonic()
        self.due = -math.inf  # the first step's figure is shown at once

    def seconds_left(self, step: int) -> float:
        """Until the last step at the rate so far, or until the minutes are over, whichever comes first."""
        passed = time.monotonic() - self.begun
        left = passed / max(1, step - self.first) * (self.steps - step)
        return max(0.0, min(left, 60 * self.minutes - passed)) if self.minutes else left

    def pace(self, step: int) -> str:
        """Rate and time left, in words."""
        rate = (step - self.first) / max(1e-9, time.monotonic() - self.begun)
        return f"{rate:.3g} steps/s, about {show_seconds(self.seconds_left(step))} left"

    def update(self, step: int) -> None:
        if self.bar is not None:
            self.bar.update(self.task, completed=step, left=self.pace(step))

    def is_due(self) -> bool:
        """Whether it is time for a word between validations."""
        return not self.quiet and time.monotonic() >= self.due

    def between(self, step: int, bits: float) -> None:
        """A word between validations. bits: of one batch, per dimension."""
        if self.bar is not None:
            self.bar.update(self.task, completed=step, figure=f"batch {bits:.4f} bits/dim")
        elif not self.quiet:
            self._line(f"step {step:,}/{self.steps:,}, batch {bits:.4f} bits/dim, {self.pace(step)}")
        self._spoken()

    def report(self, step: int, seconds: float, bits: float, figures: dict[str, float]) -> None:
        """A validation. bits: per dimension of the validation items."""
        if self.bar is not None:
            self.bar.update(self.task, completed=step, figure=f"{bits:.4f} bits/dim")
        elif not self.quiet:
            nats = ", ".join(f"{name} {value:.3f}" for name, value in figures.items() if name.endswith("nats"))
            done = f"step {step:,}/{self.steps:,}, {bits:.4f} bits/dim ({nats})"
            self._line(f"{done}, {show_seconds(seconds)}, {self.pace(step)}")
        self._spoken()

    def _line(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def _spoken(self) -> None:
        passed = time.monotonic() - self.begun
        self.due = time.monotonic() + (0.5 if self.bar is not None else min(60.0, max(5.0, passed / 5)))
