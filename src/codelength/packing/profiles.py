"""How much time a profile gives to coding."""

from __future__ import annotations

from dataclasses import dataclass

from codelength.errors import UsageError


@dataclass(frozen=True)
class Profile:
    """sizes: of adaptive programs that may be tried; the last is the usual one, those before it are for small piles."""

    name: str
    sizes: tuple[str, ...]

    @property
    def rate(self) -> float:
        """Samples per second that a core is expected to code."""
        return RATES[self.sizes[-1]]


#: Samples per second of programs of each size, about. Figures of the program and none of the machine: what is tried
#: depends on them, and the same data is to give the same archive on all machines.
RATES = {"fast": 1.2e6, "balanced": 0.4e6, "small": 0.2e6}
PROFILES = {
    "fast": Profile("fast", ("fast",)),
    "balanced": Profile("balanced", ("fast", "balanced")),
    "small": Profile("small", ("fast", "balanced", "small")),
}
DEFAULT = "balanced"


def profile_of(name: str) -> Profile:
    """Raises UsageError for a name that is none."""
    if name not in PROFILES:
        raise UsageError(f"expected one of the profiles {', '.join(PROFILES)}, got {name!r:.40}")
    return PROFILES[name]
