"""A frozen network: named inputs, a list of operations, one output. Validated before it is run."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np

from codelength.errors import ProgramError, UnknownFeature
from codelength.exact import arithmetic as executors
from codelength.exact.arithmetic import NUMPY, REFERENCE, ArithmeticFault
from codelength.exact.operations import (
    FLOAT32_EXACT,
    OPERATIONS,
    Operation,
    Tensors,
    Type,
    require,
)

MAX_OPERATIONS = 4096
#: Numbers of one value, and of all values of a network while it is being validated, for one item.
MAX_VALUE = 1 << 28
MAX_VALUES = 1 << 26
#: Values (items times the largest value of the network) that one parallel pass may hold at once.
PASS_VALUES = 1 << 24
#: What an operation costs even if it has nothing to do.
OPERATION_WORK = 1 << 12


def float_bytes(kind: Type) -> int:
    """Bytes of the floats that hold each number of a value exactly."""
    return 8 if executors.is_wide(kind.largest) else 4


@dataclass(frozen=True)
class Network:
    """Values are numbered: the inputs first, then the result of each operation. ``output`` is one of them."""

    inputs: tuple[str, ...]
    operations: tuple[Operation, ...]
    output: int

    def infer(self, inputs: dict[str, Type], tensors: Tensors) -> list[Type]:
        """Types of all values. Raises ProgramError where an index, a shape or a bound does not hold."""
        types = []
        require(len(set(self.inputs)) == len(self.inputs), "a network names an input twice")
        for name in self.inputs:
            require(name in inputs, f"a network asks for {name!r}, which is not known where it stands")
            types.append(inputs[name])
            require(types[-1].largest <= FLOAT32_EXACT, f"the input {name!r} can leave 2^24")
        channels = 0
        for operation in self.operations:
            for operand in operation.operands:
                require(0 <= operand < len(types), f"a {operation.name} names value {operand} before it exists")
            types.append(operation.infer(types, tensors))
            size = math.prod(types[-1].shape)
            channels += sum(types[-1].shape[:1])
            require(size <= MAX_VALUE and channels <= MAX_VALUES, "its values are larger than any that are allowed")
        require(0 <= self.output < len(types), f"the output names value {self.output}, which does not exist")
        return types

    def measure(self, types: list[Type], tensors: Tensors) -> int:
        """Roughly what one parallel pass costs an item, in multiplications (docs/format.md, "Limits").

        Raises ProgramError if its values together are larger than allowed.
        """
        require(sum(math.prod(t.shape) for t in types) <= MAX_VALUES, "its values are larger than any that are allowed")
        outs = types[len(self.inputs) :]
        return sum(o.work(out, tensors) + OPERATION_WORK for o, out in zip(self.operations, outs))

    def pass_bytes(self, types: list[Type]) -> int:
        """Bytes that one parallel pass needs for an item: its values, each kept until its last use, with one being
        changed beside them; and the output as it comes and as its user arranges it."""
        parts = [()] * len(self.inputs) + [getattr(operation, "parts", ()) for operation in self.operations]
        sizes = [math.prod(kind.shape) * (8 if cut else float_bytes(kind)) for kind, cut in zip(types, parts)]
        last = self._last_uses
        now = widest = sum(sizes[: len(self.inputs)])
        for k, operation in enumerate(self.operations):
            position = len(self.inputs) + k
            now += sizes[position]
            widest = max(widest, now)
            now -= sum(sizes[v] for v in set(operation.operands) if last[v] == position and v != self.output)
        return widest + max(sizes) + 2 * sizes[self.output]

    def follows(self, name: str) -> list[bool]:
        """For each value: whether its numbers can depend on those of the input ``name``."""
        depends = [mine == name for mine in self.inputs]
        for operation in self.operations:
            depends.append(any(depends[source] for source in operation.sources))
        return depends

    def run(self, inputs: dict[str, np.ndarray], types: list[Type], tensors: Tensors) -> np.ndarray:
        """The output (n, *shape) as integers carried in a floating or integer array.

        Uses the current executor; if one of its run-time checks fails, the reference executor gives the answer.
        """
        try:
            return self._run(executors.current(), inputs, types, tensors)
        except ArithmeticFault:
            return self._run(REFERENCE, inputs, types, tensors)

    def passes(
        self, inputs: dict[str, np.ndarray], types: list[Type], tensors: Tensors, count: int
    ) -> Iterator[np.ndarray]:
        """The outputs (n, *shape) for ``count`` items, in passes of bounded memory; one pass where there are none."""
        largest = max((math.prod(t.shape) for t in types), default=1)
        step = max(1, min(1024, PASS_VALUES // max(largest, 1)))
        for start in range(0, count, step) or [0]:
            yield self.run({name: value[start : start + step] for name, value in inputs.items()}, types, tensors)

    def _run(self, arithmetic: Any, inputs: dict[str, np.ndarray], types: list[Type], tensors: Tensors) -> np.ndarray:
        values = [arithmetic.enter(inputs[name]) for name in self.inputs]
        return self._evaluate(arithmetic, values, types, tensors, {self.output})[self.output]

    def all_values(self, inputs: dict[str, np.ndarray], types: list[Type], tensors: Tensors) -> list[np.ndarray]:
        """Every value (n, *shape), inputs first, on numpy."""
        count = len(next(iter(inputs.values())))
        return self._context(NUMPY, inputs, types, tensors, count, [False] * len(types), set(range(len(types))))

    def context_values(
        self, inputs: dict[str, np.ndarray], types: list[Type], tensors: Tensors, count: int
    ) -> list[Any]:
        """The values (count, *shape) that do not depend on the item ``x`` but that others which do are made of, and the
        output; None for all others. They are what an engine needs before its first step.
        """
        depends = self.follows("x")
        kept = {self.output}
        for operation, on_item in zip(self.operations, depends[len(self.inputs) :]):
            kept.update(operation.sources if on_item else ())
        kept = {value for value in kept if not depends[value]}
        inside = [math.prod(kind.shape) for kind, on_item in zip(types, depends) if not on_item]
        step = max(1, PASS_VALUES // max(inside, default=1))
        parts = []
        for start in range(0, count, step) or [0]:
            some = {name: np.asarray(value)[start : start + step] for name, value in inputs.items()}
            try:
                values = self._context(
                    executors.current(), some, types, tensors, min(step, count - start), depends, kept
                )
            except ArithmeticFault:
                values = self._context(REFERENCE, some, types, tensors, min(step, count - start), depends, kept)
            parts.append(values)
        return [None if same[0] is None else np.concatenate(same) for same in zip(*parts)]

    def _context(
        self,
        arithmetic: Any,
        inputs: dict[str, np.ndarray],
        types: list[Type],
        tensors: Tensors,
        n: int,
        depends: list[bool],
        kept: set[int],
    ) -> list[Any]:
        # A constant asks any operand for the number of items, so those that are not evaluated have that many.
        absent = np.empty((n, 0))
        values: list[Any] = [
            absent if on_item else arithmetic.enter(np.asarray(inputs[name]).reshape(n, *kind.shape))
            for name, kind, on_item in zip(self.inputs, types, depends)
        ]
        return self._evaluate(arithmetic, values, types, tensors, kept, [absent if d else None for d in depends])

    def _evaluate(
        self,
        arithmetic: Any,
        values: list[Any],
        types: list[Type],
        tensors: Tensors,
        kept: set[int],
        absent: list[Any] | None = None,
    ) -> list[Any]:
        """All values, given those of the inputs; None for those that are not kept. absent: what stands for each value
        that is not to be evaluated, None for those that are."""
        last = self._last_uses
        followers = {v: rounding for v, rounding in self._followers.items() if v not in kept}
        for operation in self.operations:
            position = len(values)
            if absent is not None and absent[position] is not None:
                values.append(absent[position])
            elif position in followers:
                rounding = types[followers[position]].prepared
                values.append(operation.run(arithmetic, values, tensors, types[position], rounding))  # type: ignore[call-arg]
            elif operation.rounds and operation.operands[0] in followers:
                values.append(values[operation.operands[0]])  # rounded already
            else:
                values.append(operation.run(arithmetic, values, tensors, types[position]))
            for operand in operation.operands:
                if last[operand] == position and operand not in kept:
                    values[operand] = None
        return [arithmetic.leave(value) if v in kept else None for v, value in enumerate(values)]

    @cached_property  # as the next, for every pass
    def _followers(self) -> dict[int, int]:
        """For results that only a rounding uses, where it can be done in one go with them: that rounding."""
        users: dict[int, list[int]] = {}
        for position, operation in enumerate(self.operations, start=len(self.inputs)):
            for operand in operation.operands:
                users.setdefault(operand, []).append(position)
        found = {}
        for position, operation in enumerate(self.operations, start=len(self.inputs)):
            alone = users.get(position, [])
            if operation.fuses and len(alone) == 1 and self.operations[alone[0] - len(self.inputs)].rounds:
                found[position] = alone[0]
        return found

    @cached_property
    def _last_uses(self) -> list[int]:
        """Of each value, the operation that uses it last; itself where none does."""
        last = list(range(len(self.inputs) + len(self.operations)))
        for position, operation in enumerate(self.operations, start=len(self.inputs)):
            for operand in operation.operands:
                last[operand] = position
        return last

    @property
    def features(self) -> set[int]:
        return {operation.feature for operation in self.operations}

    def to_json(self) -> dict[str, Any]:
        return {
            "inputs": list(self.inputs),
            "operations": [operation.to_json() for operation in self.operations],
            "output": self.output,
        }

    @staticmethod
    def from_json(record: Any) -> Network:
        record = read_object(record, {"inputs", "operations", "output"}, "a network")
        inputs, operations = record["inputs"], record["operations"]
        require(isinstance(inputs, list) and all(isinstance(i, str) for i in inputs), "inputs are not names")
        require(isinstance(operations, list) and len(operations) <= MAX_OPERATIONS, "operations are not a short list")
        require(is_integer(record["output"]), "an output is not a number")
        return Network(tuple(inputs), tuple(_operation(o) for o in operations), record["output"])


def _operation(record: Any) -> Operation:
    require(isinstance(record, dict) and isinstance(record.get("op"), str), "an operation without a name")
    kind = OPERATIONS.get(record["op"])
    if kind is None:
        raise UnknownFeature(f"this model needs the operation {record['op']!r}, which this version does not know")
    return read_record(kind, {k: v for k, v in record.items() if k != "op"}, f"operation {record['op']!r}")


def read_record(kind: type, record: dict[str, Any], what: str) -> Any:
    """Build a dataclass from JSON, every field present and of its annotated kind, none unknown."""
    arguments: dict[str, Any] = {}
    known = {field.name: field for field in fields(kind)}
    for key in record:
        require(key in known, f"{what} has an unknown field {key!r}")
    for name, field in known.items():
        if name not in record:
            require(field.default is not _missing(), f"{what} lacks the field {name!r}")
            continue
        value, annotation = record[name], str(field.type)
        if annotation.startswith("int"):
            require(is_integer(value), f"{what} has a {name} that is not an integer")
        elif annotation.startswith("bool"):
            require(isinstance(value, bool), f"{what} has a {name} that is not true or false")
        elif annotation.startswith("str"):
            require(isinstance(value, str), f"{what} has a {name} that is not a string")
        elif annotation.startswith("tuple[int"):
            require(
                isinstance(value, list) and all(is_integer(v) for v in value),
                f"{what} has a {name} that is not a list of integers",
            )
            value = tuple(value)
        else:
            raise AssertionError(f"no rule for the annotation {annotation}")
        arguments[name] = value
    return kind(**arguments)


def _missing() -> Any:
    from dataclasses import MISSING

    return MISSING


def is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def read_object(record: Any, keys: set[str], what: str, optional: frozenset[str] | set[str] = frozenset()) -> Any:
    """A JSON object with exactly these keys (and perhaps the optional ones), or ProgramError."""
    require(isinstance(record, dict), f"{what} is not an object")
    for key in record:
        require(key in keys or key in optional, f"{what} has an unknown field {key!r}")
    for key in keys:
        require(key in record, f"{what} lacks the field {key!r}")
    return record


__all__ = ["Network", "ProgramError", "is_integer", "read_object", "read_record"]
