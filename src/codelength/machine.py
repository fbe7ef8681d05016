"""What of the machine a process uses: threads, memory, devices."""

from __future__ import annotations

import os
import sys

from codelength.errors import UsageError

_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMBA_NUM_THREADS",
)


def use_threads(count: int | None) -> None:
    """Let numerical libraries use at most ``count`` threads; those that are loaded already are told directly.

    None leaves everything as it is. Results do not depend on it, except those of training.
    """
    if count is None:
        return
    if count < 1:
        raise UsageError(f"expected at least one job, got {count}")
    if "numpy" not in sys.modules:
        for variable in _THREAD_VARIABLES:
            os.environ[variable] = str(count)
        return
    try:
        import threadpoolctl
    except ImportError:
        pass
    else:
        threadpoolctl.threadpool_limits(count)
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(count)


def limit_memory(count: int | None) -> None:
    """Make allocations beyond ``count`` bytes (on top of what is held now) fail in this process.

    Raises UsageError on systems that cannot.
    """
    if count is None:
        return
    if not sys.platform.startswith("linux"):
        raise UsageError("--max-memory can be kept for this command on Linux only; leave it out")
    import resource

    with open("/proc/self/statm", encoding="ascii") as file:
        held = int(file.read().split()[5]) * resource.getpagesize()
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    resource.setrlimit(resource.RLIMIT_DATA, (held + count, hard))


def use_device(name: str) -> None:
    """Run frozen networks on a device of torch; on the CPU they need no torch. Raises UsageError if it is not there."""
    if name == "cpu":
        return
    import torch

    from codelength.freezing.torch_executor import register

    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"cannot use the device {name!r}: {str(error).splitlines()[0]}") from None
    register(name)
