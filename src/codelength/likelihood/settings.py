"""What an evaluation is asked to do, checked before anything is read."""

from __future__ import annotations

from dataclasses import dataclass

from codelength.errors import UsageError

ESTIMATORS = ("elbo", "importance", "annealed")
#: Where importance sampling draws latents from (``joint.PROPOSALS``), and where annealing begins.
PROPOSALS = ("posterior", "prior", "widened", "student", "defensive")
STARTS = ("posterior", "prior")
ARITHMETICS = ("float", "frozen")
#: Draws (annealed: chains) per item where none are asked for.
SAMPLES = {"elbo": 1, "importance": 100, "annealed": 16}
TEMPERATURES = 100
LEAPFROG = 10


@dataclass(frozen=True)
class Settings:
    """How a model is evaluated. The first seven are for bounds; exact models answer exactly whatever they say.

    estimator, samples: ``elbo``, the mean of the log-weights of so many draws per item; ``importance``, the log of
        their mean weight; ``annealed``, annealed importance sampling with so many chains per item.
    proposal: of importance sampling. ``posterior`` draws latents on their grid, as files are coded; the others are
        for continuous latents, in floating point (``likelihood.importance`` describes them).
    start, temperatures, leapfrog: of annealing: where chains begin, temperatures above the start, leapfrog steps at
        each (``likelihood.annealed``).
    two_sided: bound so many items that the model draws itself from both sides, beside the estimate; 0 for none.
    arithmetic: ``frozen`` or ``float``; None for what the model is at hand in.
    limit: evaluate so many items, chosen at random with ``seed``; all of them where None.
    seed: of every draw. device: of what is evaluated in floating point.
    max_memory: bytes that may be taken; None for no limit.

    Raises UsageError for a name that does not exist and a count that is not positive.
    """

    estimator: str = "elbo"
    samples: int = SAMPLES["elbo"]
    proposal: str = "posterior"
    start: str = "posterior"
    temperatures: int = TEMPERATURES
    leapfrog: int = LEAPFROG
    two_sided: int = 0
    arithmetic: str | None = None
    limit: int | None = None
    seed: int = 0
    device: str = "cpu"
    max_memory: int | None = None

    def __post_init__(self) -> None:
        _known_estimator(self.estimator)
        if self.proposal not in PROPOSALS:
            raise UsageError(f"expected one of the proposals {', '.join(PROPOSALS)}, got {self.proposal!r}")
        if self.start not in STARTS:
            raise UsageError(f"expected a start of {' or '.join(STARTS)}, got {self.start!r}")
        if self.arithmetic is not None and self.arithmetic not in ARITHMETICS:
            raise UsageError(f"expected the arithmetic {' or '.join(ARITHMETICS)}, got {self.arithmetic!r}")
        _at_least_one("sample", self.samples)
        _at_least_one("temperature", self.temperatures)
        _at_least_one("leapfrog step", self.leapfrog)
        if self.two_sided < 0:
            raise UsageError(f"expected a number of two-sided items, or 0 for none, got {self.two_sided}")
        if self.limit is not None and self.limit < 1:
            raise UsageError(f"expected a limit of at least one item, got {self.limit}")

    @classmethod
    def of(
        cls,
        estimator: str = "elbo",
        samples: int | None = None,
        *,
        proposal: str | None = None,
        start: str | None = None,
        temperatures: int | None = None,
        leapfrog: int | None = None,
        two_sided: int | None = None,
        arithmetic: str | None = None,
        limit: int | None = None,
        seed: int = 0,
        device: str = "cpu",
        max_memory: int | None = None,
    ) -> Settings:
        """The settings with what is None left to the estimator. Raises UsageError for what another estimator than the
        one asked for has, for two-sided bounds of no items, and as the class does."""
        _known_estimator(estimator)
        of_annealed = {"start": start, "temperatures": temperatures, "leapfrog": leapfrog, "two_sided": two_sided}
        for names, owner in (({"proposal": proposal}, "importance"), (of_annealed, "annealed")):
            for name, value in names.items():
                if value is not None and estimator != owner:
                    raise UsageError(
                        f"{name.replace('_', '-')} is an option of the estimator {owner}, and the estimator is "
                        f"{estimator}; leave it out, or choose {owner}"
                    )
        if two_sided is not None:
            _at_least_one("two-sided item", two_sided)
        return cls(
            estimator=estimator,
            samples=SAMPLES[estimator] if samples is None else samples,
            proposal="posterior" if proposal is None else proposal,
            start="posterior" if start is None else start,
            temperatures=TEMPERATURES if temperatures is None else temperatures,
            leapfrog=LEAPFROG if leapfrog is None else leapfrog,
            two_sided=0 if two_sided is None else two_sided,
            arithmetic=arithmetic,
            limit=limit,
            seed=seed,
            device=device,
            max_memory=max_memory,
        )

    @property
    def on_the_grid(self) -> bool:
        """Whether latents are drawn where files have them, so that frozen arithmetic serves."""
        return self.estimator == "elbo" or (self.estimator == "importance" and self.proposal == "posterior")


def _known_estimator(name: str) -> None:
    if name not in ESTIMATORS:
        raise UsageError(f"expected one of the estimators {', '.join(ESTIMATORS)}, got {name!r}")


def _at_least_one(what: str, count: int) -> None:
    if count < 1:
        raise UsageError(f"expected at least one {what}, got {count}")
