"""The log of a mean weight, from log-weights that stream by, with its diagnostics.

Memory does not grow with the number of draws k: running sums, and the largest few hundred weights of each item for the
tail. Shapes: n items, k draws; log-weights (c, n) arrive c draws at a time, in nats.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from codelength.errors import EvaluationError, UsageError

#: Groups of the jackknife, where there are as many draws.
GROUPS = 20

#: Fewest weights that a tail is fitted to (Vehtari et al. 2024).
SHORTEST_TAIL = 5

#: Most weights that a tail is fitted to, so that memory is bounded; reached at about 7,300 draws.
LONGEST_TAIL = 256


@dataclass(frozen=True)
class ImportanceResult:
    """What k draws say about each of n items; float64 arrays, in nats.

    bound (n,): log 1/k sum w, a stochastic lower bound of log p(x). samples: k.
    se (n,): its standard error by the delta method, sqrt((k / ess - 1) / (k - 1)); NaN for k = 1. It is itself an
        estimate from the weights seen, too small where a few of them dominate (see ``pareto_k``).
    ess (n,): effective sample size (sum w)^2 / sum w^2, between 1 and k (Kong 1992).
    pareto_k (n,): shape of a generalised Pareto tail fitted to the largest weights (Vehtari et al. 2024). Below 0.5
        their variance is finite; above 0.7 neither ``bound`` nor ``se`` should be believed. NaN where there are too few
        weights (k < 21), -inf where the largest are all alike.
    jackknife_bias (n,): estimate of E[bound] - log p(x), mostly negative; -inf where all weight is in one group. It
        is reported, never subtracted: a corrected figure would be no bound. NaN for k = 1.
    curve_k (s,): 1, 2, 5, 10, 20, 50 ... up to k, and k itself.
    curve (s, n): the bound for that many draws, averaged over the disjoint groups of them; the first row is the
        evidence lower bound (ELBO), the last is ``bound``.
    """

    bound: np.ndarray
    se: np.ndarray
    samples: int
    ess: np.ndarray
    pareto_k: np.ndarray
    jackknife_bias: np.ndarray
    curve_k: np.ndarray = field(repr=False)
    curve: np.ndarray = field(repr=False)
    kind: str = "lower_bound"


class WeightStream:
    """The sums that `ImportanceResult` needs, from log-weights that arrive in chunks; memory O(n), for any k.

    samples: how many draws there will be in all. index: numbers of the items (n,) for messages; their places in the
    batch where None. Raises UsageError for fewer than one draw.
    """

    def __init__(self, samples: int, index: np.ndarray | None = None) -> None:
        if samples < 1:
            raise UsageError(f"expected at least one sample, got {samples}")
        self.samples = samples
        self.seen = 0
        self._index = index
        groups = min(samples, GROUPS)
        self._edges = [j * samples // groups for j in range(groups + 1)]
        # One weight more than the tail holds: it is the threshold of the tail.
        self._kept = tail_length(samples) + 1
        self._top: np.ndarray = np.zeros((0, 0))
        self._groups: np.ndarray = np.zeros((0, 0))
        self._log_squares: np.ndarray = np.zeros(0)
        self._curve = [_Curve(size) for size in curve_sizes(samples)]

    def add(self, log_weights: Any) -> None:
        """Take in log-weights (c, n), nats, an array or a tensor on the CPU; -infinity is a weight of zero.

        Raises EvaluationError for NaN and +infinity; UsageError for more draws than were announced, and for
        another shape than (c, n).
        """
        chunk = np.asarray(log_weights, np.float64)
        if chunk.ndim != 2 or (self.seen and chunk.shape[1] != self._top.shape[1]):
            expected = f"(c, {self._top.shape[1]})" if self.seen else "(c, n)"
            raise UsageError(f"expected log-weights of shape {expected}, got {tuple(chunk.shape)}")
        count = len(chunk)
        if self.seen + count > self.samples:
            raise UsageError(f"expected {self.samples} draws in all, got {self.seen + count}")
        if count == 0:
            return
        self._require_weights(chunk)
        if not self.seen:
            nothing = np.full(chunk.shape[1], -np.inf)
            self._log_squares = nothing
            self._groups = np.tile(nothing, (len(self._edges) - 1, 1))
            self._top = chunk[:0]
        self._log_squares = np.logaddexp(self._log_squares, log_sum_exp(2 * chunk))
        for group, (first, last) in enumerate(zip(self._edges, self._edges[1:])):
            part = chunk[max(first - self.seen, 0) : max(last - self.seen, 0)]
            if len(part):
                self._groups[group] = np.logaddexp(self._groups[group], log_sum_exp(part))
        self._top = np.concatenate([self._top, chunk])
        # Not at every draw: selecting costs more than keeping twice as many.
        if len(self._top) >= 2 * self._kept:
            self._top = _largest(self._top, self._kept)
        for point in self._curve:
            point.add(chunk)
        self.seen += count

    def result(self) -> ImportanceResult:
        """Raises UsageError before all draws have arrived; EvaluationError for items whose weights are all zero."""
        if self.seen != self.samples:
            raise UsageError(f"expected {self.samples} draws in all, got {self.seen}; add the others first")
        k = self.samples
        log_sum = log_sum_exp(self._groups)
        zero = np.isneginf(log_sum)
        if zero.any():
            raise EvaluationError(
                f"all {k} weights of {self._item(zero)} are zero, and so for {int(zero.sum())} of {len(zero)} items; "
                "use another proposal or more samples"
            )
        bound = log_sum - math.log(k)
        # Rounding may carry the ratio past its limits, 1 and k, and a variance below zero.
        ess = np.exp(2 * log_sum - self._log_squares).clip(1.0, float(k))
        se = np.sqrt((k / ess - 1) / (k - 1)) if k > 1 else np.full_like(bound, np.nan)
        curve = np.stack([point.mean() for point in self._curve[:-1]] + [bound])
        sizes = np.array([point.size for point in self._curve])
        top = np.sort(_largest(self._top, self._kept), axis=0)[::-1]
        return ImportanceResult(bound, se, k, ess, fit_pareto_k(top), self._jackknife(bound), sizes, curve)

    def _jackknife(self, bound: np.ndarray) -> np.ndarray:
        """Delete-group jackknife for groups of unequal size (Busing, Meijer, van der Leeden 1999, section 2)."""
        k, groups = self.samples, len(self._groups)
        if groups < 2:
            return np.full_like(bound, np.nan)
        bias = -(groups - 1) * bound
        for group, (first, last) in enumerate(zip(self._edges, self._edges[1:])):
            # A sum over the others, not total minus own: where this group dominates, that would cancel.
            left = k - (last - first)
            bias = bias + (left / k) * (log_sum_exp(np.delete(self._groups, group, axis=0)) - math.log(left))
        return bias

    def _require_weights(self, chunk: np.ndarray) -> None:
        wrong = np.isnan(chunk) | np.isposinf(chunk)
        bad = wrong.any(0)
        if bad.any():
            first = int(np.flatnonzero(bad)[0])
            raise EvaluationError(
                f"expected log-weights that are numbers, got {chunk[:, first][wrong[:, first]][0]} for "
                f"{self._item(bad)}, and so for {int(bad.sum())} of {len(bad)} items; a mean without them would be "
                "another figure, so there is none"
            )

    def _item(self, bad: np.ndarray) -> str:
        first = int(np.flatnonzero(bad)[0])
        return f"item {first} of the batch" if self._index is None else f"item {int(self._index[first])}"


class _Curve:
    """The mean over disjoint groups of ``size`` consecutive draws of the bound from one group."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.groups = 0
        self._sum: np.ndarray | float = 0.0
        self._filled = 0
        self._partial: np.ndarray | None = None

    def add(self, chunk: np.ndarray) -> None:
        while len(chunk):
            whole = len(chunk) // self.size
            if not self._filled and whole:
                taken = whole * self.size
                sums = log_sum_exp(chunk[:taken].reshape(whole, self.size, -1), 1) if self.size > 1 else chunk[:taken]
                self._close(sums.sum(0), whole)
            else:
                taken = min(self.size - self._filled, len(chunk))
                part = log_sum_exp(chunk[:taken])
                self._partial = part if self._partial is None else np.logaddexp(self._partial, part)
                self._filled += taken
                if self._filled == self.size:
                    self._close(self._partial, 1)
                    self._filled, self._partial = 0, None
            chunk = chunk[taken:]

    def _close(self, sums: np.ndarray, groups: int) -> None:
        self._sum = self._sum + sums
        self.groups += groups

    def mean(self) -> np.ndarray:
        return np.asarray(self._sum) / self.groups - math.log(self.size)


def log_sum_exp(values: np.ndarray, axis: int = 0) -> np.ndarray:
    """log sum exp along an axis, without overflow; -infinity where all are."""
    top = values.max(axis, keepdims=True)
    # A difference of infinities is no number.
    top = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        return np.squeeze(top, axis) + np.log(np.exp(values - top).sum(axis))


def curve_sizes(samples: int) -> list[int]:
    """1, 2, 5, 10, 20, 50 ... up to ``samples``, which is always the last."""
    sizes = [m * 10**e for e in range(len(str(samples))) for m in (1, 2, 5)]
    return [size for size in sizes if size < samples] + [samples]


def tail_length(samples: int) -> int:
    """How many of the largest weights make the tail: min(k / 5, 3 sqrt k), rounded up (Vehtari et al. 2024), and at
    most ``LONGEST_TAIL``: a shorter tail is a noisier one, not another one."""
    return min(math.ceil(min(samples / 5, 3 * math.sqrt(samples))), LONGEST_TAIL)


def _largest(values: np.ndarray, count: int) -> np.ndarray:
    """The ``count`` largest of each column, in no order; all where there are fewer."""
    if len(values) <= count:
        return values
    return np.partition(values, len(values) - count, axis=0)[len(values) - count :].copy()


def fit_pareto_k(largest: Any) -> np.ndarray:
    """Shape of the generalised Pareto tail of weights: (n,), float64.

    largest: log-weights (M + 1, n), descending; the last is the threshold that the others exceed. The estimator is
    the one of Zhang and Stephens 2009 (posterior mean of a profile likelihood on a grid), drawn towards 0.5 with the
    weight of ten observations as in Vehtari et al. 2024, appendix C.

    NaN for fewer than five exceedances; -inf where all of them are zero up to rounding, as with a perfect proposal.
    """
    largest = np.asarray(largest, np.float64)
    length = len(largest) - 1
    if length < SHORTEST_TAIL:
        return np.full(largest.shape[1], np.nan)
    # Scale does not matter to the shape, so the largest weight may be 1.
    weights = np.exp(largest - largest[:1])
    excess = (weights[:-1] - weights[-1:])[::-1]
    alike = excess[-1] < 1e-12
    excess = np.where(alike, np.linspace(0, 1, length)[:, None], excess)

    with np.errstate(all="ignore"):  # ties make figures that are no numbers, and are reported as such
        points = 30 + int(math.sqrt(length))
        grid = np.arange(1, points + 1)
        # Ties with the threshold may make the quartile zero; the grid only has to stay finite then.
        quartile = excess[int(length / 4 + 0.5) - 1].clip(min=1e-290)
        theta = 1 / excess[-1] + (1 - np.sqrt(points / (grid - 0.5)))[:, None] / (3 * quartile)
        # One grid point at a time: (points, M, n) at once would be the largest thing in memory.
        shape = np.stack([np.log1p(-row * excess).mean(0) for row in theta])
        profile = length * (np.log(-theta / shape) - shape - 1)
        chances = np.exp(profile - profile.max(0))
        mean_theta = (chances * theta).sum(0) / chances.sum(0)
        fitted = np.log1p(-mean_theta * excess).mean(0)
        drawn = (length * fitted + 10 * 0.5) / (length + 10)
    return np.where(alike, -np.inf, drawn)
