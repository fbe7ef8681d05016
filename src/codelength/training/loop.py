"""The training loop: plain PyTorch, needing torch and numpy alone.

A model is any torch module with `space` and `law()`. Where it has `loss(x, generator, label)` (nats per item, a scalar)
that is minimised, else -log_prob of its law, latents being continuous; where it has `validation(x, label)` (figures by
name, nats per item) the first of them selects, else log_prob.
"""

from __future__ import annotations

import copy
import dataclasses
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from codelength.data.seeded import choose
from codelength.distributions.continuum import continuum
from codelength.errors import CheckpointError, EvaluationError, UsageError
from codelength.training.ahead import CHECKPOINT_FILE
from codelength.training.checkpoint import load_checkpoint, save_checkpoint
from codelength.training.config import TrainingConfig
from codelength.training.draws import Binarized, Draws, Items
from codelength.training.muon import Muon, is_hidden_matrix
from codelength.training.progress import Log, Progress

LOG_FILE = "log.csv"
# The averaged weights are brought up to date every so many steps, with the decay raised to that power: nearly the same
# average for a fraction of the memory traffic.
EMA_INTERVAL = 4
# How often a run validates and logs at least, however short it is.
LEAST_VALIDATIONS = 10
# Seconds until the first checkpoint after that of the beginning; the time between them doubles from there.
FIRST_SAVE = 10.0
# What may differ between a run and its resumption; all else would silently make it another run.
FREE = {
    "steps", "validate_every", "validate_items", "patience", "max_minutes", "checkpoint_minutes", "threads",
}  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """model: with its final weights, in evaluation mode. reason: "done", "early" (no better for `patience`
    validations), "minutes" or "interrupted". figures: the last validation, mean nats per item (negative)."""

    model: nn.Module
    reason: str
    step: int
    seconds: float
    figures: dict[str, float]


class Batches:
    """Endless batches of shuffled indices; each pass over the items leaves out the incomplete last batch."""

    def __init__(self, items: int, batch: int, seed: int) -> None:
        self.items = items
        self.batch = min(batch, items)
        self.generator = torch.Generator().manual_seed(seed)
        self.order = torch.randperm(items, generator=self.generator)
        self.cursor = 0

    def next(self) -> Tensor:
        if self.cursor + self.batch > self.items:
            self.order = torch.randperm(self.items, generator=self.generator)
            self.cursor = 0
        self.cursor += self.batch
        return self.order[self.cursor - self.batch : self.cursor]

    def state_dict(self) -> dict[str, Any]:
        return {"order": self.order, "cursor": self.cursor, "generator": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.order, self.cursor = state["order"], state["cursor"]
        self.generator.set_state(state["generator"])


def learning_rate(config: TrainingConfig, step: int, minutes: float = 0.0) -> float:
    """Rate of step 0, 1, ...: a linear warm-up, then half a cosine to zero at the last step, or when time is up."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    share = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    if config.max_minutes:
        share = max(share, minutes / config.max_minutes)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * min(1.0, share)))


def train_model(
    model: nn.Module,
    items: np.ndarray | Draws,
    valid_items: np.ndarray | Draws,
    config: TrainingConfig,
    out: Path,
    *,
    labels: np.ndarray | None = None,
    valid_labels: np.ndarray | None = None,
    resume: bool = False,
    device: str = "cpu",
    quiet: bool = True,
    on_step: Callable[[int], None] | None = None,
    on_begin: Callable[[], None] | None = None,
) -> Outcome:
    """Train on items (n, *shape), integers, or on what is drawn from them, and choose by the fixed draws of
    valid_items; labels (n,) if the model wants them.

    out: existing folder for the checkpoint and the log. There is a checkpoint before the first step, so that a run can
    be resumed whenever it ends. resume: go on from its checkpoint; on the CPU, with the same versions and threads, the
    run continues bit for bit. on_begin: called once before the first checkpoint is written, or after one was read.
    on_step: called after each step with its number. SIGINT and SIGTERM save the state and end the run.

    Raises CheckpointError where there is nothing that can be resumed, EvaluationError when the loss is NaN or infinite,
    UsageError for a device that is not there.
    """
    if len(items) == 0 or len(valid_items) == 0:
        raise UsageError(f"expected items to train on and to validate with, got {len(items)} and {len(valid_items)}")
    with _as_training_wants(config.threads):
        drawn, valid = (given if isinstance(given, Draws) else Items(given) for given in (items, valid_items))
        run = _Run(model, drawn, valid, config, out, labels, valid_labels, _device(device))
        with (
            Log(out / LOG_FILE) as log,
            Progress(config.steps, quiet, config.max_minutes) as progress,
            _stop_on_signals(run),
        ):
            if resume:
                run.load()
                log.truncate(run.step)
            if on_begin is not None:
                on_begin()
            if not resume:
                run.save()
            return run.go(log, progress, on_step)


@contextmanager
def _as_training_wants(threads: int) -> Iterator[None]:
    """What holds for the whole process while it trains, and is put back when it is done.

    Gradients of nearly certain elements decay into denormal numbers, which processors are slow at: they are flushed
    to zero. threads: of torch's operations; 0 leaves them as they are.
    """
    before = torch.get_num_threads()
    flushed = bool(torch.tensor(2.0**-1060, dtype=torch.float64) * 0.5 == 0)  # there is no way to ask
    torch.set_flush_denormal(True)
    if threads:
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_flush_denormal(flushed)
        if threads:
            torch.set_num_threads(before)


def _optimizers(parameters: list[Tensor], config: TrainingConfig) -> list[torch.optim.Optimizer]:
    matrices = [p for p in parameters if config.optimizer == "muon" and is_hidden_matrix(p)]
    taken = {id(p) for p in matrices}
    others = [p for p in parameters if id(p) not in taken]
    rates: dict[str, Any] = {"lr": config.learning_rate, "weight_decay": config.weight_decay}
    optimizers: list[torch.optim.Optimizer] = [torch.optim.AdamW(others, **rates, fused=True)] if others else []
    return optimizers + ([Muon(matrices, **rates)] if matrices else [])


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"cannot use the device {name!r}: {str(error).splitlines()[0]}") from None
    return device


class _Run:
    def __init__(
        self,
        model: nn.Module,
        items: Draws,
        valid_items: Draws,
        config: TrainingConfig,
        out: Path,
        labels: np.ndarray | None,
        valid_labels: np.ndarray | None,
        device: torch.device,
    ) -> None:
        self.config, self.path, self.device = config, out / CHECKPOINT_FILE, device
        torch.manual_seed(config.seed)  # for dropout
        self.model = model.to(device)
        self.average = copy.deepcopy(model).requires_grad_(False).eval()
        self.parameters: list[Tensor] = [p for p in model.parameters() if p.requires_grad]
        names = {name for name, p in model.named_parameters() if p.requires_grad}
        self.averages: list[Tensor] = [p for name, p in self.average.named_parameters() if name in names]
        self.optimizers = _optimizers(self.parameters, config)
        self.draws = Binarized(items) if config.binarize == "dynamic" else items
        self.labels = None if labels is None else _tensor(labels, np.int64)
        chosen = choose(len(valid_items), config.validate_items or len(valid_items), seed=0)
        self.valid = torch.from_numpy(valid_items.fixed(chosen))
        self.valid_labels = None if valid_labels is None else _tensor(valid_labels[chosen], np.int64)
        self.batches = Batches(len(items), config.batch, config.seed)
        self.generator = torch.Generator().manual_seed(config.seed + 1)
        self.dims = math.prod(items.shape)
        self.step, self.seconds, self.stopping = 0, 0.0, False
        self.best, self.stale = -math.inf, 0
        self.best_weights: dict[str, Tensor] | None = None
        self.figures: dict[str, float] = {}
        self.best_figures: dict[str, float] = {}

    # ------------------------------------------------------------------------------------------------- the loop

    def go(self, log: Log, progress: Progress, on_step: Callable[[int], None] | None) -> Outcome:
        config = self.config
        start = time.monotonic() - self.seconds
        begun, saved, validated = time.monotonic(), time.monotonic(), time.monotonic()
        often = max(1, min(config.validate_every, config.steps // LEAST_VALIDATIONS))
        pause = 60 * config.max_minutes / LEAST_VALIDATIONS if config.max_minutes else math.inf
        total, count = torch.zeros((), device=self.device), 0
        reason = "done"
        progress.begin(self.step)
        self.model.train()
        while self.step < config.steps:
            minutes = (time.monotonic() - begun) / 60
            if self.stopping:
                reason = "interrupted"
                break
            if config.max_minutes and minutes >= config.max_minutes:
                reason = "minutes"
                break
            rate = learning_rate(config, self.step, minutes)
            loss = self._step(rate)
            total = total + loss
            count += 1
            self.step += 1
            self.seconds = time.monotonic() - start
            if on_step is not None:
                on_step(self.step)
            planned = self.step % config.validate_every == 0 or self.step == config.steps
            if planned or self.step % often == 0 or time.monotonic() - validated >= pause:
                asked = time.monotonic()
                mean = self._finite(float(total) / count)
                self._validate(planned)
                self._log(log, progress, rate, mean)
                total, count = torch.zeros((), device=self.device), 0
                validated = time.monotonic()
                if pause < math.inf:  # validations do not take more than a part of the time that a run is given
                    pause = max(pause, 3 * (validated - asked))
                if planned and config.patience and self.stale >= config.patience:
                    reason = "early"
                    break
            elif progress.is_due():
                progress.between(self.step, self._bits(self._finite(float(loss))))
            progress.update(self.step)
            # The first checkpoints follow each other closely: a young run has not much else to show.
            if time.monotonic() - saved > min(60 * config.checkpoint_minutes, max(FIRST_SAVE, saved - begun)):
                self.save()
                saved = time.monotonic()
        if reason == "minutes" and count:
            self._validate(True)
            self._log(log, progress, rate, float(total) / count)
        self.save()
        return Outcome(self._final(reason), reason, self.step, self.seconds, self.figures)

    def _finite(self, loss: float) -> float:
        if not math.isfinite(loss):
            raise EvaluationError(
                f"the loss is {loss} at step {self.step}; lower training.learning_rate or set training.clip"
            )
        return loss

    def _bits(self, nats: float) -> float:
        return nats / (self.dims * math.log(2))

    def _step(self, rate: float) -> Tensor:
        config = self.config
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
        index = self.batches.next()
        x = self.draws(index, self.generator).to(self.device)
        label = None if self.labels is None else self.labels[index].to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
            loss = self._loss(x.long(), label)
        for parameter in self.parameters:
            parameter.grad = None
        loss.backward()
        if config.clip:
            nn.utils.clip_grad_norm_(self.parameters, config.clip)
        for optimizer in self.optimizers:
            optimizer.step()
        if config.ema and (self.step + 1) % EMA_INTERVAL == 0:
            # Young averages follow the weights closely, so that they do not remember the start.
            decay = min(config.ema, (1 + self.step) / (10 + self.step)) ** EMA_INTERVAL
            with torch.no_grad():
                torch._foreach_lerp_(self.averages, self.parameters, 1 - decay)
        return loss.detach()

    def _loss(self, x: Tensor, label: Tensor | None) -> Tensor:
        if hasattr(self.model, "loss"):
            return self.model.loss(x, self.generator, *([] if label is None else [label]))  # type: ignore[operator]
        # Of continuous latents, whose draws carry gradients to the posterior, where those on a grid do not.
        law = continuum(self.model.law())  # type: ignore[operator]
        return -law.log_prob(x, _context(x, self.generator)).mean()

    # -------------------------------------------------------------------------------------------------- validation

    def _averaged(self) -> nn.Module:
        """The model with averaged weights; buffers as they are now."""
        if not self.config.ema:
            self.average.load_state_dict(self.model.state_dict())
        else:
            for ours, theirs in zip(self.average.buffers(), self.model.buffers()):
                ours.copy_(theirs)
        return self.average

    @torch.no_grad()
    def _validate(self, planned: bool) -> None:
        """Look at the validation items; what is not planned changes nothing but the figures."""
        average = self._averaged()
        generator = torch.Generator().manual_seed(0)  # the same draws at every validation
        parts: list[dict[str, Tensor]] = []
        for start in range(0, len(self.valid), 256):
            x = self.valid[start : start + 256].to(self.device).long()
            if hasattr(average, "validation"):
                given = [] if self.valid_labels is None else [self.valid_labels[start : start + 256].to(self.device)]
                parts.append(average.validation(x, *given))  # type: ignore[operator]
            else:
                parts.append({"nats": average.law().log_prob(x, _context(x, generator))})  # type: ignore[operator]
        self.figures = {name: float(torch.cat([p[name] for p in parts]).double().mean()) for name in parts[0]}
        chief = next(iter(self.figures.values()))
        if not planned:
            return
        if chief > self.best:
            self.best, self.best_figures, self.stale = chief, self.figures, 0
            if self.config.patience:
                self.best_weights = {name: value.clone() for name, value in average.state_dict().items()}
        else:
            self.stale += 1

    def _log(self, log: Log, progress: Progress, rate: float, loss: float) -> None:
        bits = self._bits(-next(iter(self.figures.values())))
        figures = {f"valid_{name}": value for name, value in self.figures.items()}
        row = {"train_nats": -loss, **figures, "valid_bits_per_dim": bits, "learning_rate": rate}
        log.write(self.step, self.seconds, row)
        progress.report(self.step, self.seconds, bits, row)

    def _final(self, reason: str) -> nn.Module:
        average = self._averaged()
        if self.best_weights is not None and reason != "interrupted":
            average.load_state_dict(self.best_weights)
            self.figures = self.best_figures
        return average.requires_grad_(True)

    # -------------------------------------------------------------------------------------------------- checkpoints

    def save(self) -> None:
        state: dict[str, Any] = {
            "config": dataclasses.asdict(self.config),
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "batches": self.batches.state_dict(),
            "generator": self.generator.get_state(),
            "torch_rng": torch.get_rng_state(),
            "step": self.step,
            "seconds": self.seconds,
            "best": self.best,
            "stale": self.stale,
            "best_weights": self.best_weights,
            "figures": self.figures,
            "best_figures": self.best_figures,
        }
        if self.device.type == "cuda":
            state["cuda_rng"] = torch.cuda.get_rng_state(self.device)
        save_checkpoint(state, self.path)

    def load(self) -> None:
        state = load_checkpoint(self.path)
        try:
            for name, value in state["config"].items():
                mine = getattr(self.config, name, value)
                if name not in FREE and mine != value:
                    raise CheckpointError(
                        f"the run in {self.path.parent} has training.{name} = {value!r}, not {mine!r}; "
                        "resume it as it was, or start a run in another folder"
                    )
            self.model.load_state_dict(state["model"])
            self.average.load_state_dict(state["average"])
            for optimizer, own in zip(self.optimizers, state["optimizers"], strict=True):
                optimizer.load_state_dict(own)
            if len(state["batches"]["order"]) != len(self.draws):
                raise CheckpointError(
                    f"the run in {self.path.parent} had {len(state['batches']['order'])} items to train on, not "
                    f"{len(self.draws)}; give it the same data"
                )
            self.batches.load_state_dict(state["batches"])
            self.generator.set_state(state["generator"])
            torch.set_rng_state(state["torch_rng"])
            if self.device.type == "cuda" and "cuda_rng" in state:
                torch.cuda.set_rng_state(state["cuda_rng"], self.device)
            self.step, self.seconds = state["step"], state["seconds"]
            self.best, self.stale, self.best_weights = state["best"], state["stale"], state["best_weights"]
            self.figures = state.get("figures", {})
            self.best_figures = state.get("best_figures", self.figures)
        except (KeyError, RuntimeError, ValueError, TypeError, AttributeError):
            raise CheckpointError(
                f"{self.path} holds another model than this one; resume with the recipe that began the run"
            ) from None


def _context(x: Tensor, generator: torch.Generator) -> dict[str, Any]:
    return {"shape": tuple(x.shape[1:]), "generator": generator}


@contextmanager
def _stop_on_signals(run: _Run) -> Iterator[None]:
    """SIGINT, SIGTERM and SIGHUP end the run after the step in hand; a second one acts as it always did."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set handlers
        return
    before: dict[int, Any] = {}

    def stop(number: int, frame: Any) -> None:
        run.stopping = True
        signal.signal(number, before[number])

    try:
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)
            # Who runs this under nohup does not want it to end with the terminal.
            if number is not None and not (name == "SIGHUP" and signal.getsignal(number) == signal.SIG_IGN):
                before[number] = signal.signal(number, stop)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _tensor(values: np.ndarray, kind: Any = None) -> Tensor:
    """The values, copied where they lie in memory that may not be written (data sets are mapped from their files)."""
    values = np.ascontiguousarray(values, kind)
    return torch.from_numpy(values if values.flags.writeable else values.copy())
