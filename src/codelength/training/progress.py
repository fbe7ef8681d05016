"""What a run says while it goes: a CSV log always; TensorBoard and a progress bar where they are installed."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from types import TracebackType
from typing import Any


class Log:
    """Rows of figures in `path`, one per validation; the same as TensorBoard scalars beside it."""

    def __init__(self, path: Path) -> None:
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


class Progress:
    """A bar with bits/dim and time left on a terminal, where rich is installed; else a line for each validation."""

    def __init__(self, steps: int, quiet: bool) -> None:
        self.steps, self.quiet = steps, quiet
        self.bar: Any = None
        self.task: Any = None
        if quiet or not sys.stderr.isatty():
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
            progress.TimeRemainingColumn(),
        ]
        self.bar = progress.Progress(*columns, console=Console(stderr=True))
        self.task = self.bar.add_task("training", total=steps, figure="")

    def __enter__(self) -> Progress:
        if self.bar is not None:
            self.bar.start()
        return self

    def __exit__(self, kind: type | None, value: BaseException | None, trace: TracebackType | None) -> None:
        if self.bar is not None:
            self.bar.stop()

    def update(self, step: int) -> None:
        if self.bar is not None:
            self.bar.update(self.task, completed=step)

    def report(self, step: int, seconds: float, bits: float, figures: dict[str, float]) -> None:
        if self.bar is not None:
            self.bar.update(self.task, completed=step, figure=f"{bits:.4f} bits/dim")
        elif not self.quiet:
            left = seconds / step * (self.steps - step)
            nats = ", ".join(f"{name} {value:.3f}" for name, value in figures.items() if name.endswith("nats"))
            line = f"step {step}/{self.steps}, {bits:.4f} bits/dim ({nats}), {seconds:.0f} s, about {left:.0f} s left"
            print(line, file=sys.stderr, flush=True)
