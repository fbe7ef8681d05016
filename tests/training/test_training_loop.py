"""The loop: resuming bit for bit, stopping, averaging, binarizing."""

from __future__ import annotations

import csv
import dataclasses
import math
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from codelength.errors import CheckpointError, EvaluationError, UsageError
from codelength.laws.space import Space
from codelength.models.made import MADE, MADEConfig, build_made
from codelength.training import loop
from codelength.training.checkpoint import load_checkpoint, save_checkpoint
from codelength.training.config import TrainingConfig
from codelength.training.loop import Batches, learning_rate, train_model

RNG = np.random.default_rng(0)
ITEMS = (RNG.random((200, 2, 3)) < RNG.random((200, 1, 1))).astype(np.uint8)  # elements of an item are alike
GREY = RNG.integers(0, 256, (200, 2, 3), dtype=np.uint8)
QUICK = TrainingConfig(steps=40, batch=16, learning_rate=1e-2, warmup_steps=5, ema=0.9, validate_every=4)


def made(**changes) -> MADE:
    return build_made(
        MADEConfig(**{"hidden": (8,), "dropout": 0.3, "orders": "symmetries", **changes}), Space((2, 3), 2)
    )


def rows(path: Path) -> list[dict[str, str]]:
    with open(path / "log.csv", newline="") as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


def same_state(a: nn.Module, b: nn.Module) -> bool:
    mine, theirs = a.state_dict(), b.state_dict()
    return mine.keys() == theirs.keys() and all(torch.equal(mine[k], theirs[k]) for k in mine)


@pytest.mark.parametrize(
    ("changes", "items", "config"),
    [
        ({}, ITEMS, QUICK),
        ({"orders": "random", "degrees": "random", "masks": 3}, ITEMS, QUICK),
        ({"orders": "random", "degrees": "random", "resample": True}, ITEMS, dataclasses.replace(QUICK, clip=1.0)),
        ({}, GREY, dataclasses.replace(QUICK, binarize="dynamic", weight_decay=0.1)),
        ({}, ITEMS, dataclasses.replace(QUICK, ema=0.0, patience=50)),
    ],
    ids=["shared mask", "mask sets", "practice", "dynamic", "patience"],
)
@pytest.mark.parametrize("stop", [1, 17, 30])
def test_resumed_run_continues_bit_for_bit(tmp_path, changes, items, config, stop):
    for name in ("whole", "parts"):
        (tmp_path / name).mkdir()
    whole = train_model(made(**changes), items, ITEMS[:50], config, tmp_path / "whole")

    def interrupt(step: int) -> None:
        if step == stop:
            os.kill(os.getpid(), signal.SIGTERM)

    first = train_model(made(**changes), items, ITEMS[:50], config, tmp_path / "parts", on_step=interrupt)
    assert (first.reason, first.step) == ("interrupted", stop)
    torch.manual_seed(12345)  # another process
    rest = train_model(made(seed=9, **changes), items, ITEMS[:50], config, tmp_path / "parts", resume=True)
    assert (rest.reason, rest.step) == ("done", config.steps)
    assert same_state(whole.model, rest.model)
    log, other = rows(tmp_path / "whole"), rows(tmp_path / "parts")
    for row in (*log, *other):
        row.pop("train_nats")  # a mean since the last validation or the resumption
    assert log == other and [row["step"] for row in log] == [str(4 * k) for k in range(1, 11)]


def test_resuming_forgets_what_was_logged_after_the_checkpoint(tmp_path):
    train_model(made(), ITEMS, ITEMS, dataclasses.replace(QUICK, steps=20), tmp_path)
    early = load_checkpoint(tmp_path / "checkpoint.pt")
    train_model(made(), ITEMS, ITEMS, QUICK, tmp_path, resume=True)
    save_checkpoint(early, tmp_path / "checkpoint.pt")  # as if the machine had failed before the last checkpoint
    train_model(made(), ITEMS, ITEMS, QUICK, tmp_path, resume=True)
    assert [int(row["step"]) for row in rows(tmp_path)] == [*range(2, 21, 2), *range(24, 41, 4)]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_save_and_stop_and_handlers_come_back(tmp_path, number):
    before = signal.getsignal(number)
    outcome = train_model(
        made(), ITEMS, ITEMS, QUICK, tmp_path, on_step=lambda step: os.kill(os.getpid(), number) if step == 3 else None
    )
    assert outcome.reason == "interrupted"
    assert load_checkpoint(tmp_path / "checkpoint.pt")["step"] == 3
    assert signal.getsignal(number) is before


class Drifting(nn.Module):
    """A model whose validation gets better until step 20 and worse from then on."""

    space = Space((2, 3), 2)

    def __init__(self) -> None:
        super().__init__()
        self.place = nn.Parameter(torch.zeros(1))

    def loss(self, x: Tensor, generator: torch.Generator) -> Tensor:
        return -self.place.sum()

    def validation(self, x: Tensor) -> dict[str, Tensor]:
        return {"nats": -((self.place - 2).abs()).expand(len(x))}


def test_early_stopping_keeps_the_best_weights(tmp_path):
    # Adam moves the one weight by its rate, 0.1 a step: it passes its best place, 2, after 20 steps.
    config = TrainingConfig(
        steps=100000, batch=8, learning_rate=0.1, warmup_steps=0, ema=0.0, validate_every=5, patience=3
    )
    outcome = train_model(Drifting(), ITEMS, ITEMS, config, tmp_path)
    assert (outcome.reason, outcome.step) == ("early", 35)
    assert outcome.model.place.item() == pytest.approx(2, abs=0.02)
    patient = train_model(Drifting(), ITEMS, ITEMS, dataclasses.replace(config, steps=60, patience=0), tmp_path)
    assert (patient.reason, patient.step) == ("done", 60)
    assert patient.model.place.item() > 2.5


def test_minutes_end_the_run_and_the_rate(tmp_path, monkeypatch):
    clock = [1000.0]
    monkeypatch.setattr(loop.time, "monotonic", lambda: clock[0])
    config = dataclasses.replace(QUICK, steps=10**9, max_minutes=0.5, validate_every=10**6)

    def tick(step: int) -> None:
        clock[0] += 1.0

    outcome = train_model(made(), ITEMS, ITEMS, config, tmp_path, on_step=tick)
    assert (outcome.reason, outcome.step) == ("minutes", 30)
    assert outcome.figures["mixture"] < 0
    assert learning_rate(config, 100, minutes=0.5) == 0


@pytest.mark.parametrize("stop", [1, 17, 30])
def test_resuming_is_the_same_to_the_bit_however_slow_the_machine(tmp_path, monkeypatch, stop):
    """Checkpoints come by elapsed time; when they come must not show in what is trained."""
    clock, speeds = [1000.0], {"fast": 0.0, "slow": 7.0, "crawling": 100.0}
    monkeypatch.setattr(loop.time, "monotonic", lambda: clock[0])
    saved: list[int] = []
    monkeypatch.setattr(loop._Run, "save", lambda run, save=loop._Run.save: (saved.append(run.step), save(run)))
    states, logs = [], []
    for name, seconds in speeds.items():

        def tick(step: int, seconds: float = seconds) -> None:
            clock[0] += seconds
            if step == stop:
                os.kill(os.getpid(), signal.SIGTERM)

        (tmp_path / name).mkdir()
        saved.clear()
        assert train_model(made(), ITEMS, ITEMS[:50], QUICK, tmp_path / name, on_step=tick).reason == "interrupted"
        outcome = train_model(made(seed=9), ITEMS, ITEMS[:50], QUICK, tmp_path / name, resume=True)
        assert len(saved) == 3 if name == "fast" else len(saved) > 3 or stop == 1
        states.append(outcome.model)
        logs.append(rows(tmp_path / name))
    assert same_state(states[0], states[1]) and same_state(states[0], states[2])
    assert logs[0] == logs[1] == logs[2]


def test_learning_rate_rises_and_falls():
    config = TrainingConfig(steps=110, warmup_steps=10, learning_rate=2.0)
    rates = [learning_rate(config, step) for step in range(111)]
    assert rates[0] == pytest.approx(0.2) and rates[9] == rates[10] == 2.0
    assert rates[60] == pytest.approx(1.0) and rates[110] == 0
    assert all(a > b for a, b in zip(rates[10:], rates[11:]))


def test_averaged_weights_are_those_that_are_returned(tmp_path):
    class Counting(Drifting):
        seen: list[float]

        def loss(self, x: Tensor, generator: torch.Generator) -> Tensor:
            self.seen.append(self.place.item())
            return super().loss(x, generator)

    model = Counting()
    model.seen = []
    config = TrainingConfig(steps=400, batch=8, learning_rate=0.1, warmup_steps=0, ema=0.98, validate_every=1000)
    outcome = train_model(model, ITEMS, ITEMS, config, tmp_path)
    expected = 0.0
    for step, value in enumerate([*model.seen[1:], model.place.item()]):
        decay = min(0.98, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * value
    assert outcome.model.place.item() == pytest.approx(expected, rel=0.01)  # ... up to the interval of the updates


def test_dynamic_binarization_draws_anew_at_every_visit(tmp_path):
    visits: list[Tensor] = []

    class Watching(Drifting):
        def loss(self, x: Tensor, generator: torch.Generator) -> Tensor:
            visits.append(x.clone())
            return super().loss(x, generator)

    grey = np.broadcast_to(np.array([[0, 51, 102], [153, 204, 255]], np.uint8), (64, 2, 3)).copy()
    config = TrainingConfig(steps=100, batch=64, binarize="dynamic", validate_every=100)
    train_model(Watching(), grey, ITEMS, config, tmp_path)
    drawn = torch.stack(visits).float()
    assert set(drawn.unique().tolist()) == {0.0, 1.0}
    assert not torch.equal(drawn[0], drawn[1])
    torch.testing.assert_close(drawn.mean((0, 1)), torch.from_numpy(grey[0] / 255).float(), rtol=0, atol=0.03)
    # The ends are certain.
    assert not drawn[..., 0, 0].any() and drawn[..., 1, 2].all()


def test_a_loss_that_is_not_finite_is_an_error(tmp_path):
    class Broken(Drifting):
        def loss(self, x: Tensor, generator: torch.Generator) -> Tensor:
            return self.place.sum() * float("nan")

    with pytest.raises(EvaluationError, match="learning_rate"):
        train_model(Broken(), ITEMS, ITEMS, QUICK, tmp_path)


def test_mixed_precision_learns_as_well(tmp_path):
    (tmp_path / "wide").mkdir()
    model = made(dropout=0.0)
    wide = train_model(model, ITEMS, ITEMS, QUICK, tmp_path / "wide")
    narrow = train_model(made(dropout=0.0), ITEMS, ITEMS, dataclasses.replace(QUICK, precision="bfloat16"), tmp_path)
    assert narrow.figures["mixture"] == pytest.approx(wide.figures["mixture"], abs=0.05)
    assert narrow.figures["mixture"] != wide.figures["mixture"]


def test_training_finds_the_structure(tmp_path):
    """Elements of an item are drawn with one common chance, uniform: p(x) = 1 / (7 C(6, ones))."""
    config = dataclasses.replace(QUICK, steps=600, batch=100, validate_items=0, validate_every=600)
    rng = np.random.default_rng(1)
    items = (rng.random((3000, 2, 3)) < rng.random((3000, 1, 1))).astype(np.uint8)
    ideal = np.mean([-math.log(7 * math.comb(6, int(ones))) for ones in items.sum((1, 2))])
    outcome = train_model(made(dropout=0.0), items, items, config, tmp_path)
    assert outcome.figures["mixture"] == pytest.approx(ideal, abs=0.03)


def test_batches_visit_every_item_once_per_pass():
    batches = Batches(10, 3, seed=0)
    passes = [torch.cat([batches.next() for _ in range(3)]).tolist() for _ in range(4)]
    assert all(len(set(visited)) == 9 for visited in passes)
    assert len({tuple(visited) for visited in passes}) == 4


def test_checkpoints_that_do_not_fit_are_named(tmp_path):
    with pytest.raises(CheckpointError, match="found none"):
        train_model(made(), ITEMS, ITEMS, QUICK, tmp_path, resume=True)
    train_model(made(), ITEMS, ITEMS, dataclasses.replace(QUICK, steps=2), tmp_path)
    for changed, message in [
        (dict(model=made(hidden=(9,)), config=QUICK, items=ITEMS), "another model"),
        (dict(model=made(), config=dataclasses.replace(QUICK, batch=17), items=ITEMS), "training.batch = 16"),
        (dict(model=made(), config=QUICK, items=ITEMS[:99]), "200 items"),
    ]:
        with pytest.raises(CheckpointError, match=message):
            train_model(changed["model"], changed["items"], ITEMS, changed["config"], tmp_path, resume=True)
    path = tmp_path / "checkpoint.pt"
    for damaged in (path.read_bytes()[:1000], b"", b"not a checkpoint"):
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match="not a readable checkpoint"):
            train_model(made(), ITEMS, ITEMS, QUICK, tmp_path, resume=True)


def test_checkpoints_execute_nothing(tmp_path):
    class Trap:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "sprung"),))

    torch.save({"step": Trap()}, tmp_path / "checkpoint.pt")
    with pytest.raises(CheckpointError):
        load_checkpoint(tmp_path / "checkpoint.pt")
    assert not (tmp_path / "sprung").exists()


def test_a_crash_while_writing_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "checkpoint.pt"
    save_checkpoint({"step": 1}, path)

    def fail(state, file):
        file.write(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(CheckpointError, match="no space left"):
        save_checkpoint({"step": 2}, path)
    assert load_checkpoint(path) == {"step": 1}
    assert [entry.name for entry in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_wrong_requests_are_named(tmp_path):
    with pytest.raises(UsageError, match="device"):
        train_model(made(), ITEMS, ITEMS, QUICK, tmp_path, device="toaster")
    with pytest.raises(UsageError, match="items"):
        train_model(made(), ITEMS, ITEMS[:0], QUICK, tmp_path)
