"""Latent variables: VAEs, dequantisation, and finite mixtures.

Coding by bits-back with asymmetric numeral systems (Townsend, Bird, Barber 2019): the latent is popped from the
stack under the posterior, which takes back the bits that its freedom is worth. Nesting one ``Marginal`` as the prior
of another gives the order of Bit-Swap (Kingma, Abbeel, Ho 2019) by construction.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from codelength.errors import NotFrozen, NotRepresentable, UsageError
from codelength.laws.arrays import library_of
from codelength.laws.contract import Context, Law, Placed

#: Values of an index that is summed over.
MAX_COMPONENTS = 4096


class Marginal(Law):
    """p(x) = sum_z p(z) p(x | z), with a posterior q(z | x).

    The latent reaches the likelihood as ``context[latent]``, beside what the prior exports; the posterior finds the
    item as ``context[item]``. A posterior that is ``Sequential`` or flows needs an ``item`` of another name than "x",
    which is what its own networks call the latent.
    ``log_prob`` is the one-sample bound log p(z) + log p(x | z) - log q(z | x), z drawn from q with
    ``context["generator"]``; with the exact responsibilities of a finite index it is the exact log-sum.
    """

    def __init__(self, latent: str, prior: Law, likelihood: Law, posterior: Law, item: str = "x") -> None:
        self.latent = latent
        self.item = item
        self.prior = prior
        self.likelihood = likelihood
        self.posterior = posterior
        self.prior.see_items_on_grid()
        self.posterior.see_items_on_grid()
        if prior.grid() is not None:
            likelihood.see_on_grid(latent, prior.grid())
        for name, grid in prior.exported_grids().items():
            likelihood.see_on_grid(name, grid)
        if isinstance(posterior, Responsibilities):
            posterior.belongs_to(latent, prior)
        exact = isinstance(posterior, Responsibilities) and prior.kind == likelihood.kind == "exact"
        self.kind = "exact" if exact else "lower_bound"

    def children(self) -> dict[str, Law]:
        return {"prior": self.prior, "likelihood": self.likelihood, "posterior": self.posterior}

    def placed(self, x: Any, context: Context) -> Iterator[Placed]:
        seen = self._seen(context, x)
        z = self.posterior.sample(len(x), seen, context.get("generator"))
        given = self._given(context, z)
        yield Placed("prior", self.prior, z, given)
        yield Placed("likelihood", self.likelihood, x, given)
        yield Placed("posterior", self.posterior, z, seen)

    def has_lengths(self) -> bool:
        return (
            isinstance(self.posterior, Responsibilities) and self.prior.has_lengths() and self.likelihood.has_lengths()
        )

    def grid(self) -> Any:
        return self.likelihood.grid()

    def see_items_on_grid(self) -> None:
        self.likelihood.see_items_on_grid()
        if self.grid() is not None:
            self.posterior.see_on_grid(self.item, self.grid())

    def _given(self, context: Context, z: Any) -> Context:
        return {**context, self.latent: z, **self.prior.exports(z, context)}

    def _seen(self, context: Context, x: Any) -> Context:
        return {**context, self.item: x}

    def log_prob(self, x: Any, context: Context) -> Any:
        if isinstance(self.posterior, Responsibilities):
            return self.posterior.evidence(x, context)
        return self._log_weight(x, context, self.posterior.held(self._seen(context, x), len(x)))

    def _log_weight(self, x: Any, context: Context, posterior: Any) -> Any:
        """log p(x, z) - log q(z | x) of one draw from ``posterior``, q at these items."""
        z, spent = posterior.draw(context.get("generator"))
        given = self._given(context, z)
        return self.prior.log_prob(z, given) + self.likelihood.log_prob(x, given) - spent

    def log_weights(self, x: Any, context: Context, count: int) -> Any:
        """Log importance weights log p(x, z) - log q(z | x) of ``count`` draws of z from q: nats (count, n).

        The log of their mean is a lower bound of log p(x) that tightens with ``count`` (Burda, Grosse, Salakhutdinov
        2016, equation 8); an exact law gives rows that are all alike.
        """
        if isinstance(self.posterior, Responsibilities):
            once = [self.log_prob(x, context)] if self.kind == "exact" else []
            return library_of(x).rows(once * count or [self.log_prob(x, context) for _ in range(count)])
        posterior = self.posterior.held(self._seen(context, x), len(x))
        return library_of(x).rows([self._log_weight(x, context, posterior) for _ in range(count)])

    def sample(self, count: int, context: Context, generator: Any) -> Any:
        z, exports = self.prior.sample_exporting(count, context, generator)
        return self.likelihood.sample(count, {**context, self.latent: z, **exports}, generator)

    def push(self, stack: Any, x: Any, context: Context, start: bool = False) -> None:
        seen = self._seen(context, x)
        z = self.posterior.median(seen, len(x)) if start else self.posterior.pop(stack, len(x), seen)
        given = self._given(context, z)
        self.likelihood.push(stack, x, given, start)
        try:
            self.prior.push(stack, z, given, start)
        except NotRepresentable as error:
            raise error.about(f"the latent {self.latent!r} of item {{}}") from None

    def pop(self, stack: Any, count: int, context: Context, start: bool = False) -> Any:
        z, exports = self.prior.pop_exporting(stack, count, context, start)
        x = self.likelihood.pop(stack, count, {**context, self.latent: z, **exports}, start)
        if not start:
            self.posterior.push(stack, z, self._seen(context, x))
        return x

    def lengths(self, x: Any, context: Context) -> Any:
        if not isinstance(self.posterior, Responsibilities):
            raise TypeError("a law with a continuous latent has no exact code length")
        return self.posterior.evidence_lengths(x, context)


def mixture(latent: str, prior: Law, likelihood: Law) -> Marginal:
    """A finite mixture, p(x) = sum_k p(k) p(x | k), exactly.

    prior: of an index (1,), independent of everything else; the likelihood finds it in its context as ``latent``.
    Raises UsageError for a prior of which the values are not known.
    """
    count = values_of(prior)
    if count is None:
        raise UsageError(
            f"expected a prior of an index, as Independent(UniformIndex(K)) is, got {type(prior).__name__}; "
            "a mixture needs to know how many values there are"
        )
    return Marginal(latent, prior, likelihood, Responsibilities(latent, count, prior, likelihood))


def values_of(prior: Law) -> int | None:
    """How many values an index has under its prior, None where that is no single independent element."""
    conditional = getattr(prior, "conditional", None)
    if conditional is None or tuple(getattr(conditional, "shape", ())) != (1,):
        return None
    leaf = getattr(conditional, "leaf", None)
    count = getattr(conditional, "count", None) if leaf is None else leaf.symbols
    return None if count is None else int(count)


class Responsibilities(Law):
    """The exact posterior of a finite index: q(k | x) = p(k) p(x | k) / p(x).

    For coding it is computed from the integer code lengths of all components alone (docs/format.md,
    "Responsibilities"), so that encoder and decoder agree to the bit. Costs one parallel pass per component.
    """

    def __init__(self, latent: str, count: int, prior: Law, likelihood: Law, codec: Any = None) -> None:
        if not 1 <= count <= MAX_COMPONENTS:
            raise UsageError(
                f"expected an index of 1 to {MAX_COMPONENTS:,} values under {latent!r}, all of which are summed over, "
                f"got {count:,}; take fewer components, or a latent with a posterior of its own"
            )
        self.latent = latent
        self.count = count
        self.prior = prior
        self.likelihood = likelihood
        self.codec = codec  # codes indices from code lengths; integer models only

    def belongs_to(self, latent: str, prior: Law) -> None:
        """Raise UsageError where this is not of the latent ``latent`` with as many values as the prior gives it."""
        values = values_of(prior)
        if self.latent != latent or (values is not None and values != self.count):
            of = "" if values is None else f" over its {values} values"
            raise UsageError(
                f"expected responsibilities of the latent {latent!r}{of}, got those of {self.latent!r} over "
                f"{self.count}; laws.marginal.mixture makes them as they should be"
            )

    def children(self) -> dict[str, Law]:
        return {}  # prior and likelihood are those of the law around it

    def _components(self, x: Any, context: Context, reading: str) -> Any:
        """Joint log-probabilities or code lengths, shape (n, K)."""
        library = library_of(x)
        columns = []
        for k in range(self.count):
            index = library.full_like(x, k, rows=len(x))
            given = {**context, self.latent: index, **self.prior.exports(index, context)}
            columns.append(getattr(self.likelihood, reading)(x, given) + getattr(self.prior, reading)(index, context))
        return library.stack(columns)

    def evidence(self, x: Any, context: Context) -> Any:
        """log p(x) = log sum_k p(k) p(x | k), nats (n,)."""
        return library_of(x).logsumexp(self._components(x, context, "log_prob"))

    def log_prob(self, x: Any, context: Context) -> Any:
        joint = self._components(context["x"], context, "log_prob")
        library = library_of(x)
        return library.pick(joint, x) - library.logsumexp(joint)

    def sample(self, count: int, context: Context, generator: Any) -> Any:
        joint = self._components(context["x"], context, "log_prob")
        return library_of(context["x"]).draw(joint, generator)

    def _coder(self) -> Any:
        if self.codec is None:
            raise NotFrozen("expected a frozen model for coding, got one in floating point; freeze it first")
        return self.codec

    def _lengths(self, context: Context) -> Any:
        return self._components(context["x"], context, "lengths")

    def evidence_lengths(self, x: Any, context: Context) -> Any:
        return self._coder().evidence(self._components(x, context, "lengths"))

    def push(self, stack: Any, x: Any, context: Context, start: bool = False) -> None:
        self._coder().push(stack, x, self._lengths(context))

    def pop(self, stack: Any, count: int, context: Context, start: bool = False) -> Any:
        return self._coder().pop(stack, self._lengths(context))

    def median(self, x_context: Context, count: int) -> Any:
        return self._lengths(x_context).argmin(1)[:, None]
