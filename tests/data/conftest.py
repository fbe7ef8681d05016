import os
from pathlib import Path

import pytest

STORED = os.environ.get("CODELENGTH_DATA")


@pytest.fixture
def stored() -> Path:
    """The folder of real data sets, where this machine has one."""
    if not STORED:
        pytest.skip("needs CODELENGTH_DATA, a folder with the real data sets")
    return Path(STORED)
