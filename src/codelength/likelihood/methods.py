"""Ways to evaluate a batch of items, and those that ask a density for one draw of log-weights after another."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from codelength.errors import EvaluationError, NotRepresentable
from codelength.likelihood.batches import Batch
from codelength.likelihood.weights import ImportanceResult, WeightStream

#: Draws that are taken in at once, and of few items so many that this many weights come together.
CHUNK = 16
WEIGHTS = 1024


class Density(Protocol):
    """Something with a log-likelihood.

    kind: ``exact``, or ``lower_bound`` where ``log_prob`` is a stochastic lower bound whose exponential has the
        likelihood as its mean (log p(x, z) - log q(z | x), z drawn from q); ``unchecked`` where nothing is known of how
        a model comes by its figures.
    arithmetic: ``frozen`` (integers, as files are coded) or ``float``.
    """

    @property
    def kind(self) -> str: ...

    @property
    def arithmetic(self) -> str: ...

    def log_prob(self, items: np.ndarray, seed: int) -> np.ndarray:
        """Nats, float64 (n,), for events (n, *shape); another draw of a bound for another seed."""
        ...


@runtime_checkable
class ManyDraws(Density, Protocol):
    """A density that takes several draws together, in passes as large as serve it, for the same numbers."""

    def log_probs(self, items: np.ndarray, seeds: Sequence[int]) -> np.ndarray:
        """``log_prob`` for each of k seeds: nats, float64 (k, n)."""
        ...


@dataclass(frozen=True)
class Answers:
    """What a method says about the n items of a batch, float64, nats.

    nats (n,): estimates of log p(x). variances (n,): of these, from the method's own draws; NaN where one draw does
    not tell. weights: of how the draws fared, where there were weights.
    """

    nats: np.ndarray
    variances: np.ndarray
    weights: ImportanceResult | None = None

    @staticmethod
    def of(result: ImportanceResult) -> Answers:
        return Answers(result.bound, result.se**2, result)


class Method(Protocol):
    """A way to evaluate items: what ``estimate_by`` calls for each batch."""

    @property
    def kind(self) -> str: ...

    @property
    def arithmetic(self) -> str: ...

    #: ``exact``, ``elbo``, ``importance`` or ``annealed``, and draws per item (0 where exact)
    estimator: str
    samples: int

    def answer(self, batch: Batch) -> Answers: ...

    def about(self) -> dict[str, Any]:
        """Settings beside ``samples``, and figures of all batches so far, by the names that they have in JSON."""
        ...


def draw_seed(seed: int, first: int, draw: int) -> int:
    """The seed of a draw for the batch that begins with item ``first``: another for each draw, batch and seed, so that
    errors are independent. Draw 0 has the seed itself: it is the noise that a block of an archive promises by."""
    if draw == 0:
        return seed
    return int(np.random.SeedSequence([seed, first, draw]).generate_state(1)[0])


class _OfDensity:
    """A method that asks a density for draws of log-weights."""

    estimator = "exact"

    def __init__(self, density: Density, samples: int, seed: int) -> None:
        self.density = density
        self.samples = samples
        self.seed = seed
        self.kind = density.kind
        self.arithmetic = density.arithmetic

    def draws(self, batch: Batch) -> Iterator[np.ndarray]:
        """Log-weights (k, n), nats, of all draws, some of them at a time."""
        count = max(CHUNK, WEIGHTS // len(batch.items))
        for start in range(0, self.samples, count):
            yield self._drawn(batch, range(start, min(start + count, self.samples)))

    def _drawn(self, batch: Batch, numbers: Iterable[int]) -> np.ndarray:
        seeds = [draw_seed(self.seed, int(batch.index[0]), number) for number in numbers]
        try:
            if isinstance(self.density, ManyDraws):
                found = self.density.log_probs(batch.items, seeds)
            else:
                found = np.stack([self.density.log_prob(batch.items, seed) for seed in seeds])
        except NotRepresentable as error:
            raise error.placed(batch.index) from None
        return np.asarray(found, np.float64)

    def about(self) -> dict[str, Any]:
        return {}


class Exact(_OfDensity):
    def __init__(self, density: Density, seed: int) -> None:
        super().__init__(density, 0, seed)

    def answer(self, batch: Batch) -> Answers:
        return Answers(self._drawn(batch, [0])[0], np.zeros(len(batch.items)))


class Elbo(_OfDensity):
    """Mean of log-weights, in constant memory (Welford 1962)."""

    estimator = "elbo"

    def answer(self, batch: Batch) -> Answers:
        mean, squares = np.zeros(len(batch.items)), np.zeros(len(batch.items))
        for k, weights in enumerate(weights for some in self.draws(batch) for weights in some):
            require_finite(weights[None], batch.index)
            step = weights - mean
            mean += step / (k + 1)
            squares += step * (weights - mean)
        if self.samples < 2:
            return Answers(mean, np.full(len(mean), np.nan))
        return Answers(mean, squares / (self.samples - 1) / self.samples)


class Unchecked(Elbo):
    """The mean of what a model says, which may be the same every time."""

    estimator = "log_prob"


class Importance(_OfDensity):
    """Log of the mean weight, in constant memory."""

    estimator = "importance"

    def answer(self, batch: Batch) -> Answers:
        stream = WeightStream(self.samples, batch.index)
        for some in self.draws(batch):
            stream.add(some)
        return Answers.of(stream.result())

    def about(self) -> dict[str, Any]:
        return {"proposal": "posterior"}


def require_finite(values: np.ndarray, index: np.ndarray) -> None:
    bad = ~np.isfinite(values).all(0)
    if bad.any():
        first = int(np.flatnonzero(bad)[0])
        value = values[:, first][~np.isfinite(values[:, first])][0]
        raise EvaluationError(
            f"the log-likelihood of item {int(index[first])} is {value}, and so for {int(bad.sum())} of "
            f"{len(bad)} items; a mean without them would be another figure, so there is none"
        )
