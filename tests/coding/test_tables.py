import hashlib
import math
from decimal import ROUND_HALF_EVEN, Decimal, localcontext

import numpy as np
import pytest

from codelength.coding import tables


def upper_tail(z: Decimal) -> Decimal:
    """Phi(-z) by the alternating series of the error function."""
    total = term = z
    k = 0
    while abs(term) > Decimal(10) ** -40:
        k += 1
        term = -term * z * z / (2 * k)
        total += term / (2 * k + 1)
    pi = Decimal("3.14159265358979323846264338327950288419716939937510582097494459230781640628620899863")
    return Decimal("0.5") - total / (2 * pi).sqrt()


DEFINITIONS = {
    "LOGISTIC": (1537, lambda j: 1 / (1 + (Decimal(j) / 64).exp())),
    "DECAY": (1537, lambda j: (-Decimal(j) / 64).exp()),
    "NORMAL": (897, lambda j: upper_tail(Decimal(j) / 128)),
    "INVERSE_SCALE": (4097, lambda j: (4 - Decimal(j) / 256).exp()),
    "LOG2": (1025, lambda j: (1 + Decimal(j) / 1024).ln() / Decimal(2).ln()),
    "EXP2": (1025, lambda j: (-Decimal(j) / 1024 * Decimal(2).ln()).exp()),
}


@pytest.mark.parametrize("name", DEFINITIONS)
def test_entries_are_their_definitions_rounded(name):
    size, definition = DEFINITIONS[name]
    table = getattr(tables, name)
    assert table.shape == (size,)
    with localcontext() as context:
        context.prec = 80
        for j in {0, 1, size // 2, size - 2, size - 1, *range(3, size, 17)}:
            exact = definition(j) * 2**30
            assert int(table[j]) == int(exact.to_integral_value(ROUND_HALF_EVEN)), j


def test_tables_are_monotone_and_end_as_the_formulas_need():
    for name in DEFINITIONS:
        steps = np.diff(getattr(tables, name))
        assert (steps >= 0).all() if name == "LOG2" else (steps <= 0).all(), name
    for name in ("LOGISTIC", "DECAY", "NORMAL"):
        assert getattr(tables, name)[-2:].tolist() == [0, 0]
    assert tables.LOGISTIC[0] == tables.NORMAL[0] == 2**29
    assert tables.DECAY[0] == tables.EXP2[0] == tables.LOG2[-1] == 2**30
    assert tables.EXP2[-1] == 2**29 and tables.LOG2[0] == 0
    assert math.isclose(tables.INVERSE_SCALE[1024], 2**30)


def test_fingerprints():
    # Pinned: a change here is a change of the file format.
    digest = hashlib.sha256()
    for name in sorted(DEFINITIONS):
        digest.update(getattr(tables, name).astype("<i8").tobytes())
    assert digest.hexdigest() == "75ed6e92f15fc08e5b07b98c7bfc72381e34c7e30da11f3c8033f1077ad59bd5"
