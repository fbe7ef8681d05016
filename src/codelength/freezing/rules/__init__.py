"""How torch modules, functions and methods become operations: one rule for each, found by type or by name."""

from codelength.freezing.rules import constants, layers, pointwise, shapes
from codelength.freezing.rules.registry import MODULES, Call, apply_function, apply_module

__all__ = ["MODULES", "Call", "apply_function", "apply_module", "constants", "layers", "pointwise", "shapes"]
