"""What laws ask of the classes that they are built on, in writing.

Each protocol is kept twice: by modules in torch, for training and estimation (``networks.conditionals``,
``networks.coupling``, ``networks.autoregressive``, ``distributions``), and by integers, for coding
(``exact.conditional``, ``exact.steps``, ``exact.autoregressive``, ``coding.frequencies``). ``A`` is the type of arrays:
tensors or numpy's. What only one of the two can do stands in a protocol of its own, ``Float..`` or ``Integer..``.
Where coding is asked of floats they raise NotFrozen.

n: items. D: elements of an item. context: see ``laws.contract``, one row for each item. stack: a
``coding.stack.Stack``. Nats are natural logarithms of probabilities; code lengths are -log2 of them, in bits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np

from codelength.laws.contract import Context

if TYPE_CHECKING:
    from codelength.coding.stack import Stack

A = TypeVar("A")
A_co = TypeVar("A_co", covariant=True)


# ------------------------------------------------------------------------------------------------------------- leaves


class Leaf(Protocol):
    """A family of distributions of single symbols 0 .. symbols - 1."""

    @property
    def family(self) -> str:
        """Its name in a program: "bernoulli", "categorical", "logistic_mixture", "gaussian" or "beta_binomial"."""
        ...

    @property
    def symbols(self) -> int:
        """How many values an element has."""
        ...

    @property
    def components(self) -> int:
        """Of a mixture; 1 for other families."""
        ...

    @property
    def parameters(self) -> int:
        """p, how many numbers a network gives for each element."""
        ...


class FloatLeaf(Leaf, Protocol[A]):
    """A leaf in floating point. Where a network's outputs are scaled before they are parameters, ``gain_bits`` and
    ``offsets`` say how (``distributions``); one whose symbols are a grid of latents states ``standard``."""

    def log_prob(self, params: A, x: A) -> A:
        """params (.., p), x (..) -> nats (..)."""
        ...

    def sample(self, params: A, generator: Any) -> A:
        """params (.., p) -> symbols (..), int64. generator: a torch.Generator, or None for torch's own."""
        ...

    def initial_parameters(self, frequencies: A) -> A:
        """frequencies (.., symbols), positive -> params (.., p) of a distribution like them."""
        ...


class IntegerLeaf(Leaf, Protocol):
    """A leaf whose parameters and frequencies are integers."""

    @property
    def bits(self) -> int:
        """log2 of the total of the frequencies."""
        ...

    @property
    def fraction_bits(self) -> tuple[int, ...]:
        """For each parameter: its real value is the integer times 2^-fraction_bits."""
        ...


# ----------------------------------------------------------------------------------------------------------- elements


class Elements(Protocol[A]):
    """The distribution of n items whose elements are independent: a leaf with the parameters of every element."""

    def log_prob(self, x: A) -> A:
        """x (n, *shape) -> nats (n,), summed over the elements."""
        ...

    def push(self, stack: Stack, x: A) -> None:
        """Put x (n, *shape) on the stack, last element first. Raises NotRepresentable for symbols that the leaf does
        not have, NotFrozen in floating point."""
        ...

    def pop(self, stack: Stack) -> A:
        """Items (n, *shape), the mirror image of ``push``. Raises StackExhausted, NotFrozen in floating point."""
        ...

    def lengths(self, x: A) -> A:
        """x (n, *shape) -> code lengths in units of 2^-20 bits, int64 (n,). Raises NotFrozen in floating point."""
        ...

    def median(self) -> A:
        """Items (n, *shape) of a probable symbol in each place, such as the median. Raises NotFrozen in floating
        point."""
        ...


class FloatElements(Elements[A], Protocol[A]):
    """Elements that can be drawn from a generator of random numbers."""

    def sample(self, generator: Any) -> A:
        """Items (n, *shape), int64."""
        ...

    def draw(self, generator: Any) -> tuple[A, A]:
        """Items (n, *shape), and their nats (n,)."""
        ...


class IntegerElements(Elements[np.ndarray], Protocol):
    """Elements with integer parameters ``params`` (n, D, p) in coding order.

    order: the row-major positions of the elements in coding order, (D,) for all items or (n, D); None: as they lie.
    """

    @property
    def leaf(self) -> IntegerLeaf: ...

    @property
    def params(self) -> np.ndarray: ...

    @property
    def order(self) -> np.ndarray | None: ...

    def element_lengths(self, x: np.ndarray) -> np.ndarray:
        """What each element of x (n, *shape) adds to ``lengths``: int64 (n, *shape)."""
        ...

    def intervals(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Starts and frequencies (n, D) of the elements of x (n, *shape), in coding order."""
        ...


# ------------------------------------------------------------------------------------------------------- conditionals


class Conditional(Protocol[A]):
    """What ``Independent`` is built on: the distribution of all elements given the context alone.

    One whose networks take latents in standard units has ``see_on_grid(name, leaf)``, see ``laws.Law.see_on_grid``.
    """

    def __call__(self, context: Context, count: int) -> Elements[A]:
        """Of ``count`` items."""
        ...


class FloatConditional(Conditional[A], Protocol[A]):
    """A torch module."""

    def forward(self, context: Context, count: int) -> FloatElements[A]:
        """What the module does when it is called."""
        ...


class IntegerConditional(Conditional[np.ndarray], Protocol):
    """A network of a program, proved when it was read."""

    def __call__(self, context: Context, count: int) -> IntegerElements:
        """Of ``count`` items."""
        ...

    def item_bytes(self, shape: tuple[int, ...]) -> int:
        """Bytes that coding needs for an item (*shape)."""
        ...


class Scheduled(Protocol[A]):
    """What ``Sequential`` is built on: the distribution of each element given those before it and the context.

    Networks call the item "x". The order is the conditional's own (``exact.schedule``), and may differ by item.
    """

    def parallel(self, x: A, context: Context) -> Elements[A]:
        """Of every element of x (n, *shape), each given those of x that come before it, in one pass."""
        ...

    def advance(self, stack: Stack, count: int, context: Context) -> A:
        """Items (count, *shape), popped element by element: the mirror image of pushing what ``parallel`` gives.
        Raises NotFrozen in floating point."""
        ...

    def median(self, count: int, context: Context) -> A:
        """Items (count, *shape) of a probable symbol in each place, given those before it. Raises NotFrozen in
        floating point."""
        ...


class FloatScheduled(Scheduled[A], Protocol[A]):
    """A torch module."""

    def parallel(self, x: A, context: Context) -> FloatElements[A]:
        """See ``Scheduled``."""
        ...

    def sample(self, count: int, context: Context, generator: Any) -> A:
        """Items (count, *shape), int64."""
        ...


class IntegerScheduled(Scheduled[np.ndarray], Protocol):
    """A scheduled network of a program, proved when it was read."""

    def parallel(self, x: np.ndarray, context: Context) -> IntegerElements:
        """See ``Scheduled``."""
        ...

    def advance(self, stack: Stack, count: int, context: Context, known: np.ndarray | None = None) -> np.ndarray:
        """known (count, D), row-major: symbols to set instead of those popped, -1 where there is none."""
        ...

    def item_bytes(self, shape: tuple[int, ...]) -> int:
        """Bytes that coding needs for an item (*shape)."""
        ...


class Features(Protocol[A_co]):
    """What ``chain.Define`` is built on."""

    def __call__(self, context: Context, count: int) -> A_co:
        """(count, units), or (count, channels, rows, columns)."""
        ...


class IntegerFeatures(Features[np.ndarray], Protocol):
    """Features of a program."""

    def item_bytes(self) -> int:
        """Bytes that computing and keeping them needs for an item."""
        ...


# -------------------------------------------------------------------------------------------------------------- steps


class Step(Protocol[A]):
    """A step of a ``Pushforward``: y = step(x) of items x (n, *shape), invertible for each context."""

    @property
    def spends(self) -> bool:
        """Whether it changes volume, so that it pushes and pops remainders on integers."""
        ...

    def determinant(self, x: A, context: Context) -> tuple[A, Any]:
        """y (n, *shape), and log |dy/dx| in nats, (n,) or a number for all items. On integers for the figure only:
        without the random part of the rounding, exact where the step spends nothing."""
        ...

    def forward(self, stack: Stack, x: A, context: Context, start: bool) -> A:
        """y (n, *shape) for whoever pushes x; with ``start``, at the first item of a block, nothing is popped. Raises
        NotRepresentable for items that ``inverse`` would not give back, NotFrozen in floating point."""
        ...

    def inverse(self, stack: Stack, y: A, context: Context, start: bool) -> A:
        """x (n, *shape) for whoever pops: the mirror image of ``forward``. Raises NotFrozen in floating point."""
        ...


class FloatStep(Step[A], Protocol[A]):
    """A torch module. The grid of the integers stands for the continuum."""

    def invert(self, y: A, context: Context) -> A:
        """x (n, *shape) that the step takes to y."""
        ...

    def drawn(self, y: A, context: Context) -> tuple[A, Any]:
        """x (n, *shape) that the step takes to y, and log |dy/dx| there in nats, (n,) or a number."""
        ...


class IntegerStep(Step[np.ndarray], Protocol):
    """A step of a program, proved when it was read."""

    def item_bytes(self) -> int:
        """Bytes that it needs for an item beyond the item itself."""
        ...


class PlacingStep(IntegerStep, Protocol):
    """A step that can go back without a stack, so that a flow of such steps has a median.

    Its twin in floating point has ``place`` too, which raises NotFrozen.
    """

    def place(self, y: np.ndarray, context: Context) -> np.ndarray:
        """x (n, *shape) near to what ``inverse`` gives, always the same."""
        ...


# ---------------------------------------------------------------------------------------------------------- low bits


class LowBits(Protocol[A]):
    """What ``Cell`` and ``Coarse`` are built on: numbers below 2^bits, all equally likely."""

    def log_prob(self, x: A, bits: int) -> A:
        """Of any low bits of items x (n, *shape): nats (n,)."""
        ...

    def sample(self, x: A, bits: int, generator: Any) -> A:
        """x 2^bits + low bits, (n, *shape)."""
        ...

    def push(self, stack: Stack, values: A, bits: int) -> None:
        """Low bits (n, *shape)."""
        ...

    def pop(self, stack: Stack, shape: tuple[int, ...], bits: int) -> A:
        """Low bits (*shape), the number of items being the first size."""
        ...
