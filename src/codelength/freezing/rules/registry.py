"""The registry of rules: for modules by their type, for functions and methods by their name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from torch import nn

from codelength.errors import FreezeError
from codelength.freezing.emitter import Emitter
from codelength.freezing.quantity import Quantity


@dataclass
class Call:
    """A call of a function or method in a traced network.

    name: of the function; node: of the call in the graph; args, kwargs: values of tensors are quantities; largest: of
    the real results that calibration saw; target: the fraction of the output, where the result reaches it through sums
    only; last: whether only the output uses the result.
    """

    emitter: Emitter
    name: str
    node: str
    args: Any
    kwargs: dict[str, Any]
    largest: float
    target: int | None
    last: bool

    def argument(self, place: int, name: str, default: Any) -> Any:
        """The argument at a place or of a name, or what stands for it where it was left out."""
        return self.args[place] if len(self.args) > place else self.kwargs.get(name, default)


class NoRule(Exception):
    """A rule does not cover these arguments."""


ModuleRule = Callable[[Emitter, str, Any, Quantity], Quantity]
FunctionRule = Callable[[Call], Any]
M = TypeVar("M", bound=ModuleRule)
F = TypeVar("F", bound=FunctionRule)

MODULES: dict[type[nn.Module], ModuleRule] = {}
FUNCTIONS: dict[str, FunctionRule] = {}


def for_modules(*kinds: type[nn.Module]) -> Callable[[M], M]:
    """Register ``rule(emitter, name, module, x)`` for modules of these types and of those derived from them."""

    def register(rule: M) -> M:
        MODULES.update(dict.fromkeys(kinds, rule))
        return rule

    return register


def for_functions(*names: str) -> Callable[[F], F]:
    """Register ``rule(call)`` for functions and methods of these names; it raises ``NoRule`` for other arguments."""

    def register(rule: F) -> F:
        FUNCTIONS.update(dict.fromkeys(names, rule))
        return rule

    return register


def apply_module(emitter: Emitter, name: str, module: nn.Module, x: Any) -> Quantity:
    """Emit what a module does to x. Raises FreezeError where no rule does."""
    for kind in type(module).__mro__:
        if kind in MODULES:
            return MODULES[kind](emitter, name, module, x)
    raise FreezeError(
        f"expected modules that have an exact rule, but {name} ({type(module).__name__}) has none: " + _reason(module)
    )


def apply_function(call: Call) -> Any:
    """Emit what a function or a method does. Raises FreezeError where no rule does."""
    name = call.name
    if name.startswith("_assert"):  # fx notes which arguments were left out
        return None
    rule = FUNCTIONS.get(name)
    try:
        if rule is not None:
            return rule(call)
    except NoRule:
        pass
    raise FreezeError(
        f"expected operations that have an exact rule, but {call.node} ({name}) has none; use layers, relu, sums, "
        "gates, concatenation, functions of one variable, and nn.Embedding for a row chosen by an index"
    )


def _reason(module: nn.Module) -> str:
    if isinstance(module, nn.LayerNorm | nn.GroupNorm | nn.InstanceNorm1d | nn.InstanceNorm2d | nn.MultiheadAttention):
        return "its statistics depend on the data, which cannot be repeated exactly at the cost of a table"
    return "give it an exact rule, or write it with layers, relu, sums, gates and tables of one variable"
