"""The torch leaves: distributions of single symbols, for training and estimation.

Each is an object with `family`, `symbols`, `components` and `parameters` (values per element) and the methods

    log_prob(params (..., parameters), x (...))  ->  log p(x) in nats, (...)
    sample(params (..., parameters), generator)  ->  symbols (...), int64
    initial_parameters(frequencies (..., symbols))  ->  params (..., parameters) that match the frequencies

They agree in family, meaning of the parameters and clamps with the integer leaves of `codelength.coding.frequencies`.
Where a network's outputs are scaled before they are parameters, `gain_bits` and `offsets` say how, one entry per
parameter: parameter = output * 2^gain_bits + offset.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from codelength.coding.frequencies import Leaf
from codelength.distributions.bernoulli import Bernoulli
from codelength.distributions.beta_binomial import BetaBinomial
from codelength.distributions.categorical import Categorical
from codelength.distributions.logistic_mixture import LogisticMixture
from codelength.distributions.normal import Normal
from codelength.errors import RecipeError

if TYPE_CHECKING:
    from torch import Tensor

    from codelength.laws import protocols

__all__ = ["Bernoulli", "BetaBinomial", "Categorical", "LogisticMixture", "Normal", "leaf_of", "named_leaf"]


def named_leaf(name: str, symbols: int, components: int) -> Any:
    """The torch leaf of data that a recipe names; "" for bernoulli on two symbols and categorical on more.

    components: of a logistic mixture. Raises RecipeError for an unknown name, or one that does not fit the symbols.
    """
    name = name or ("bernoulli" if symbols == 2 else "categorical")
    if name == "bernoulli":
        if symbols != 2:
            raise RecipeError(f"leaf = 'bernoulli' is for two symbols, the data has {symbols}; try 'categorical'")
        return Bernoulli()
    if name == "categorical":
        return Categorical(symbols)
    if name == "logistic_mixture":
        return LogisticMixture(symbols, components)
    if name == "beta_binomial":
        return BetaBinomial(symbols)
    expected = "'bernoulli', 'categorical', 'logistic_mixture' or 'beta_binomial'"
    raise RecipeError(f"expected leaf = {expected}, got {name!r}")


def leaf_of(leaf: Leaf) -> Any:
    """The torch leaf of an integer leaf, for parameters in real units (no gain, no offset)."""
    if leaf.family == "bernoulli":
        return Bernoulli()
    if leaf.family == "categorical":
        return Categorical(leaf.symbols)
    if leaf.family == "logistic_mixture":
        return LogisticMixture(leaf.symbols, leaf.components, scaled=False)
    if leaf.family == "beta_binomial":
        return BetaBinomial(leaf.symbols)
    return Normal(leaf.symbols, scaled=False)


if TYPE_CHECKING:  # what laws ask of these classes, which mypy holds them to
    _leaves: tuple[type[protocols.FloatLeaf[Tensor]], ...] = (
        Bernoulli,
        BetaBinomial,
        Categorical,
        LogisticMixture,
        Normal,
    )
