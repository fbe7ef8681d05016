"""Models with continuous latents, evaluated by importance sampling from any proposal and by annealing.

What ``estimate_by`` calls for each batch, over the joint density of a float or thawed model (``likelihood.joint``).
Each batch has a random source of its own, from the seed and the number of its first item, so that errors of different
items are independent.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from codelength.errors import FreezeError, UsageError
from codelength.laws.frozen import FrozenModel
from codelength.likelihood.annealed import (
    Passes,
    Path,
    Start,
    annealed,
    annealed_backwards,
    pilot,
    sigmoid_temperatures,
)
from codelength.likelihood.batches import Batch
from codelength.likelihood.importance import DRAWS, importance
from codelength.likelihood.joint import Joint, Nest
from codelength.likelihood.methods import Answers, draw_seed
from codelength.likelihood.result import TwoSided
from codelength.likelihood.settings import Settings
from codelength.likelihood.weights import WeightStream

#: Draws times items of one pass through the networks, which bounds the memory.
ROWS = 512
ROWS_ON_DEVICES = 8192

#: Bytes that one pass of annealing may keep for its gradients. With many more, every evaluation waits for memory: a row
#: of a convolutional network of 4 MB cost half as much again in passes of 128 rows as in passes of 16.
PASS_BYTES = 64 << 20
PASS_BYTES_ON_DEVICES = 2 << 30

#: Chains of each item in the pilot run that finds the sizes of steps.
PILOT_CHAINS = 4

#: Neighbouring temperatures, at most, over which acceptance is averaged for the figure of the worst.
ACCEPTANCE_WINDOW = 10


class Continuous:
    """The methods of ``Settings`` that need continuous latents, on one model.

    model: frozen (it is thawed) or a torch module with ``space`` and ``law()``. rows: draws times items of a pass.

    Raises UsageError for models without such latents (see ``joint.Nest``) and for a device that is not there.
    """

    def __init__(self, model: Any, settings: Settings, *, rows: int = 0) -> None:
        if isinstance(model, FrozenModel):
            from codelength.freezing.thaw import thaw

            try:
                model = thaw(model)
            except FreezeError as error:
                raise UsageError(f"{error}; this estimator is for normal latents, use elbo or importance") from None
        self.module = model.eval()
        self.settings = settings
        self.seed = settings.seed
        self.nest = Nest(model.law())
        try:
            self.device = torch.device(settings.device)
            torch.zeros(1, device=self.device)
        except (RuntimeError, AssertionError) as error:
            raise UsageError(f"cannot use the device {settings.device!r}: {str(error).splitlines()[0]}") from None
        self.rows = rows or (ROWS if self.device.type == "cpu" else ROWS_ON_DEVICES)

    def method(self) -> _Importance | _Annealed:
        """What ``estimate_by`` takes; batches of at most its ``batch`` items keep to ``rows``."""
        self.module.to(self.device)
        return _Annealed(self) if self.settings.estimator == "annealed" else _Importance(self)

    def generator(self, first: int) -> torch.Generator:
        return torch.Generator(self.device).manual_seed(draw_seed(self.seed, first, 1))

    def joint(self, items: np.ndarray | Tensor, units: str) -> Joint:
        if isinstance(items, np.ndarray):
            items = torch.from_numpy(np.ascontiguousarray(items, np.int64))
        return Joint(self.nest, items.to(self.device), units)

    def two_sided(self, items: int, progress: Callable[[int], None] | None = None) -> TwoSided:
        """Bounds of log p(x) from both sides, for ``items`` that the model itself draws (bidirectional Monte Carlo)."""
        shape = self.module.space.shape
        if None in shape:
            raise UsageError("a two-sided bound needs items of one size, which this model's are not")
        generator = torch.Generator().manual_seed(draw_seed(self.seed, items, 2))
        # Whole items on the CPU, where the source of randomness and the law's own buffers are.
        self.module.to("cpu")
        x, z = self.nest.simulate(items, shape, generator)
        self.module.to(self.device)
        run = _Annealed(self)
        below, above, variances = [], [], []
        for start in range(0, items, run.batch):
            part = slice(start, start + run.batch)
            joint = self.joint(x[part], run.start)
            source = self.generator(start)
            path = run.path(joint, source)
            index = np.arange(start, start + joint.n)
            forward = run.forward(joint, path, source, index).result()
            truth = joint.to_units(z[part].to(self.device))
            backward = run.backward(joint, path, source, truth, index).result()
            below.append(forward.bound)
            above.append(-backward.bound)
            variances.append(np.stack([forward.se, backward.se]) ** 2)
            if progress is not None:
                progress(joint.n)
        return TwoSided.of(np.concatenate(below), np.concatenate(above), np.concatenate(variances, 1))


class _Importance:
    """Importance sampling; see ``methods.Method``."""

    kind = "lower_bound"
    estimator = "importance"
    arithmetic = "float"

    def __init__(self, model: Continuous) -> None:
        self.model = model
        self.samples = model.settings.samples
        self.batch = max(1, model.rows // DRAWS)

    def answer(self, batch: Batch) -> Answers:
        name = self.model.settings.proposal
        joint = self.model.joint(batch.items, "prior" if name == "prior" else "posterior")
        proposal = joint.proposal(name)
        generator = self.model.generator(int(batch.index[0]))
        result = importance(
            joint.log_joint, proposal, self.samples, generator, chunk=min(DRAWS, self.model.rows), index=batch.index
        )
        return Answers.of(result)

    def about(self) -> dict[str, Any]:
        return {"proposal": self.model.settings.proposal}


class _Annealed:
    """Annealed importance sampling, many chains per item; see ``methods.Method``."""

    kind = "lower_bound"
    estimator = "annealed"
    arithmetic = "float"

    def __init__(self, model: Continuous) -> None:
        self.model = model
        settings = model.settings
        self.samples = settings.samples
        self.start = settings.start
        self.temperatures = sigmoid_temperatures(settings.temperatures)
        self.leapfrog = settings.leapfrog
        self.chains = min(self.samples, model.rows)  # side by side
        self.batch = max(1, model.rows // self.chains)
        self._items = 0
        self._bytes = 0.0  # that an item and chain keeps for gradients
        self._acceptance = np.zeros(max(settings.temperatures - 1, 0))  # sums over items
        self._least, self._most = math.inf, 0.0

    def path(self, joint: Joint, generator: torch.Generator) -> Path:
        """Step sizes from a pilot run, then frozen."""
        chains = max(1, min(PILOT_CHAINS, self.model.rows // joint.n))
        begin = self.begin(joint)
        passes = self.passes(joint)
        return pilot(begin, self.temperatures, generator, chains=chains, steps=self.leapfrog, passes=passes)

    def passes(self, joint: Joint) -> Passes:
        """Passes by what one item and chain keeps for gradients."""
        if not self._bytes:
            # The difference leaves out what is there however many chains there are.
            one, two = (kept_bytes(self.begin(joint), joint.centre.new_zeros(k, joint.n, joint.d)) for k in (1, 2))
            self._bytes = max(1.0, (two - one) / joint.n)
        limit = PASS_BYTES if self.model.device.type == "cpu" else PASS_BYTES_ON_DEVICES
        rows = max(1, int(limit / self._bytes))
        return Passes(max(1, rows // joint.n), min(rows, joint.n))

    def begin(self, joint: Joint) -> Start:
        return joint.prior if self.start == "prior" else joint.posterior()

    def forward(self, joint: Joint, path: Path, generator: torch.Generator, index: np.ndarray) -> WeightStream:
        """Chains from the start to the joint; the log of the stream's mean weight is the lower bound."""
        stream = WeightStream(self.samples, index)
        for count in self._portions():
            result = annealed(self.begin(joint), path, count, generator, passes=self.passes(joint))
            stream.add(result.log_weights)
            self._acceptance += result.acceptance.sum(1) * (count / self.samples)
        self._items += joint.n
        sizes = path.step_sizes.cpu().numpy()
        self._least, self._most = min(self._least, float(sizes.min())), max(self._most, float(sizes.max()))
        return stream

    def backward(
        self, joint: Joint, path: Path, generator: torch.Generator, truth: Tensor, index: np.ndarray
    ) -> WeightStream:
        """Chains from exact draws (n, d) of the posterior; minus the log of the stream's mean is the upper bound."""
        stream = WeightStream(self.samples, index)
        for count in self._portions():
            begin, passes = self.begin(joint), self.passes(joint)
            result = annealed_backwards(begin, path, count, truth, generator, passes=passes)
            stream.add(-result.log_weights)
        return stream

    def _portions(self) -> list[int]:
        return [min(self.chains, self.samples - done) for done in range(0, self.samples, self.chains)]

    def answer(self, batch: Batch) -> Answers:
        joint = self.model.joint(batch.items, self.start)
        generator = self.model.generator(int(batch.index[0]))
        path = self.path(joint, generator)
        return Answers.of(self.forward(joint, path, generator, batch.index).result())

    def about(self) -> dict[str, Any]:
        settings = self.model.settings
        figures: dict[str, Any] = {
            "start": settings.start,
            "temperatures": settings.temperatures,
            "leapfrog": settings.leapfrog,
            "step_size_min": self._least,
            "step_size_max": self._most,
        }
        if len(self._acceptance):
            rates = self._acceptance / self._items
            spans = np.array_split(rates, -(-len(rates) // ACCEPTANCE_WINDOW))
            figures["acceptance"] = float(rates.mean())
            figures["acceptance_min"] = min(float(span.mean()) for span in spans)
        return figures


def kept_bytes(start: Start, z: Tensor) -> int:
    """Bytes that one evaluation at z (k, n, d) keeps for its gradient."""
    seen: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        seen[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        # What is kept must live until all of it has been seen, or two would be found in one place.
        kept = start.densities(z.requires_grad_(True))
        del kept
    return sum(seen.values())
