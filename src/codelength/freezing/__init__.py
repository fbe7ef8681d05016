"""From torch modules to programs of integers, and back."""

from codelength.freezing.freeze import FreezeReport, freeze
from codelength.freezing.thaw import thaw

__all__ = ["FreezeReport", "freeze", "thaw"]
