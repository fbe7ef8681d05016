"""The operations of frozen networks, each one class with all of its rules (docs/format.md, "Operations")."""

from codelength.exact.operation import (
    FLOAT32_EXACT,
    FLOAT64_EXACT,
    MAX_SHIFT,
    Operation,
    Tensors,
    Type,
    require,
)
from codelength.exact.operations.layers import Convolution, Linear, accumulate_bounds
from codelength.exact.operations.moving import (
    Concat,
    DepthToSpace,
    Permute,
    Reshape,
    Slice,
    SpaceToDepth,
    SumPool,
    Upsample,
)
from codelength.exact.operations.pointwise import Add, Offset, Product, Relu, Requantise, Table
from codelength.exact.operations.vectors import Constant, Embed, Spread

_ALL: tuple[type[Operation], ...] = (
    *(Linear, Convolution, Requantise, Relu, Offset, Table, Add, Product, Embed, Spread, Concat, Slice),
    *(Reshape, Permute, Upsample, DepthToSpace, SpaceToDepth, SumPool, Constant),
)
OPERATIONS: dict[str, type[Operation]] = {kind.name: kind for kind in _ALL}

__all__ = [
    "FLOAT32_EXACT",
    "FLOAT64_EXACT",
    "MAX_SHIFT",
    "OPERATIONS",
    "Operation",
    "Tensors",
    "Type",
    "accumulate_bounds",
    "require",
    *(kind.__name__ for kind in _ALL),
]
