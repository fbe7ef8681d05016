"""Many threads at once get what one gets, and no thread changes the process for the others."""

from __future__ import annotations

import contextvars
import dataclasses
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import codelength as cl
from codelength.cli import main
from codelength.device import use_device
from codelength.exact import arithmetic as executors
from codelength.freezing.torch_executor import TorchArithmetic, exact_products
from codelength.laws.frozen import FrozenModel
from golden.golden_models import MODELS, integers

#: One a thread; the first four threads share one model, and the last three have latents.
NAMES = ["bernoulli_order"] * 4 + ["raster_colours", "beta_binomial", "switched", "flow"]
THREADS = len(NAMES)


@pytest.fixture(autouse=True)
def frequent_switches() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


@pytest.fixture(scope="module")
def models() -> dict[str, FrozenModel]:
    return {name: MODELS[name]() for name in dict.fromkeys(NAMES)}


def items_for(model: FrozenModel, number: int) -> np.ndarray:
    """Draws of the model and noise, both its own for each thread."""
    drawn = model.sample(10, seed=number)
    noise = integers(f"thread {number}", drawn.shape, 0, model.space.symbols - 1)
    return np.concatenate([drawn, noise]).astype(np.uint8 if model.space.symbols <= 256 else np.uint16)


def at_once(task: Callable[[int], Any]) -> list[Any]:
    """The results of ``task(0)`` to ``task(THREADS - 1)``, all begun at the same moment."""
    gate = threading.Barrier(THREADS)

    def run(number: int) -> Any:
        gate.wait()
        return task(number)

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(run, range(THREADS)))


def test_eight_threads_compress_decompress_evaluate_and_verify_as_one_does(models, tmp_path):
    def task(folder: Path) -> Callable[[int], Any]:
        folder.mkdir()

        def run(number: int) -> Any:
            model, path = models[NAMES[number]], folder / f"{number}.clen"
            items = items_for(model, number)
            figures = cl.compress(items, path, model)
            back = cl.decompress(path)
            assert back.dtype == items.dtype and np.array_equal(back, items)
            estimate = dataclasses.asdict(cl.evaluate(model, items))
            estimate.pop("seconds", None)
            return path.read_bytes(), figures, str(estimate), cl.verify(path, items)

        return run

    run = task(tmp_path / "sequential")
    alone = [run(number) for number in range(THREADS)]
    together = at_once(task(tmp_path / "together"))
    for number, (one, other) in enumerate(zip(alone, together)):
        assert one[0] == other[0], number
        assert one[1:] == other[1:], number
    assert executors.current() is executors.NUMPY


class Cleared(dict):
    """A cache that another thread clears right after each question."""

    def __contains__(self, key: object) -> bool:
        found = super().__contains__(key)
        self.clear()
        return found

    def get(self, key: Any, default: Any = None) -> Any:
        found = super().get(key, default)
        self.clear()
        return found


def test_what_a_model_keeps_for_each_size_may_be_thrown_away_at_any_time():
    model = MODELS["raster_fronts"]()
    conditional = model.law.conditional
    items = integers("sizes", (2, 3, 4), 0, 15)
    _, words = model.encode_block(items)
    assert conditional._types
    conditional._types, conditional._plans = Cleared(conditional._types), Cleared(conditional._plans)
    for _ in range(3):
        assert np.array_equal(model.encode_block(items)[1], words)
        assert np.array_equal(model.decode_block(words, [2], (3, 4)), items)


def test_a_failing_reference_check_leaves_no_executor_behind(models, monkeypatch):
    model = MODELS["bernoulli_order"]()
    items = items_for(model, 0)
    sizes, words = model.encode_block(items)
    lengths = model.law.lengths

    def failing(x: np.ndarray, context: Any) -> np.ndarray:
        if executors.current() is executors.REFERENCE:
            raise RuntimeError("out of luck")
        return lengths(x, context)

    monkeypatch.setattr(model.law, "lengths", failing)

    def run(number: int) -> Any:
        other = models["switched"]
        for _ in range(5):
            if number % 2:
                with pytest.raises(RuntimeError, match="out of luck"):
                    model.verify_block(words, sizes, items)
            else:
                mine = items_for(other, number)
                assert other.verify_block(*reversed(other.encode_block(mine)), mine)
            assert executors.current() is executors.NUMPY
        return executors.current()

    assert at_once(run) == [executors.NUMPY] * THREADS
    with pytest.raises(RuntimeError, match="out of luck"):
        model.verify_block(words, sizes, items)
    assert executors.current() is executors.NUMPY


def test_an_executor_is_chosen_for_one_context_only():
    seen: dict[str, Any] = {}

    def note(name: str) -> None:
        seen[name] = executors.current()

    def ask() -> None:
        fresh = threading.Thread(target=note, args=("fresh",))
        copied = threading.Thread(target=contextvars.copy_context().run, args=(note, "copied"))
        for thread in (fresh, copied):
            thread.start()
            thread.join()

    with executors.using(executors.REFERENCE):
        assert executors.current() is executors.REFERENCE
        ask()
    assert seen == {"fresh": executors.NUMPY, "copied": executors.REFERENCE}
    context = contextvars.copy_context()
    context.run(use_device, "meta")
    assert isinstance(context.run(executors.current), TorchArithmetic)
    assert executors.current() is executors.NUMPY


def test_the_device_of_a_command_ends_with_it(pairs, pair_items, tmp_path, capsys, monkeypatch):
    cl.compress(pair_items[:3], tmp_path / "a.clen", pairs)
    chosen = []
    choose = executors.choose
    monkeypatch.setattr(executors, "choose", lambda arithmetic: (chosen.append(arithmetic), choose(arithmetic)))
    assert main(["inspect", str(tmp_path / "a.clen"), "--device", "meta"]) == 0
    assert len(chosen) == 1 and isinstance(chosen[0], TorchArithmetic)
    assert executors.current() is executors.NUMPY


def test_switches_of_torch_outlast_the_first_thread_and_not_the_last():
    def switches() -> tuple[Any, ...]:
        nnpack = torch.backends.nnpack.set_flags(False)[0]
        torch.backends.nnpack.set_flags(nnpack)
        return torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32, nnpack

    before = switches()
    torch.set_float32_matmul_precision("medium")
    try:
        mine = switches()
        exact = ("highest", False, False)
        inside, leave = threading.Event(), threading.Event()

        def first() -> None:
            with exact_products():
                inside.set()
                leave.wait()

        thread = threading.Thread(target=first)
        thread.start()
        inside.wait()
        with exact_products():
            assert switches() == exact
            leave.set()
            thread.join()
            assert switches() == exact
        assert switches() == mine

        def run(number: int) -> bool:
            held = True
            for _ in range(200):
                with exact_products():
                    held &= torch.get_float32_matmul_precision() == "highest"
            return held

        assert all(at_once(run)) and switches() == mine
    finally:
        torch.set_float32_matmul_precision(before[0])
    assert switches() == before
