"""What of the machine a process uses: threads and memory."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextvars import ContextVar

from codelength.errors import UsageError
from codelength.sizes import show_size

#: Bytes below which `limit_memory` refuses. What training and freezing import late takes some 200 MiB alone, and
#: libraries that run out of memory while they are loaded hang or abort rather than raise.
LEAST_MEMORY = 512 * 2**20

_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMBA_NUM_THREADS",
)


_tell: ContextVar[Callable[[str], None] | None] = ContextVar("tell", default=None)


def tell_notices(tell: Callable[[str], None] | None) -> None:
    """For the rest of this context, call ``tell`` with what people should know while they wait, with each thing once.

    None: tell nobody.
    """
    told: set[str] = set()

    def once(text: str) -> None:
        if text not in told:
            told.add(text)
            assert tell is not None
            tell(text)

    _tell.set(None if tell is None else once)


def notice(text: str) -> None:
    """Say why something takes its time, to whoever asked by ``tell_notices``; silent otherwise."""
    tell = _tell.get()
    if tell is not None:
        tell(text)


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


#: Threads that work on blocks where nothing is said: each needs memory of its own.
_MOST_JOBS = 8


def usual_jobs() -> int:
    """Threads to use where nothing is said: as many as there are cores for this process, within reason."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, _MOST_JOBS))


def limit_memory(count: int | None) -> None:
    """Make allocations beyond ``count`` bytes (on top of what is held now) fail in this process.

    None leaves everything as it is; so does a limit above one that the process has already. To be called when the
    libraries in use are loaded. Raises UsageError as ``check_memory_limit`` does.
    """
    check_memory_limit(count)
    if count is None:
        return
    import resource

    with open("/proc/self/statm", encoding="ascii") as file:
        held = int(file.read().split()[5]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if held + count <= sys.maxsize and (soft == resource.RLIM_INFINITY or held + count < soft):
        resource.setrlimit(resource.RLIMIT_DATA, (held + count, hard))


def check_memory_limit(count: int | None) -> None:
    """Whether ``limit_memory`` can be kept, to be asked before anything is imported; None always can.

    Raises UsageError for fewer than ``LEAST_MEMORY`` bytes, and on systems that cannot limit memory.
    """
    if count is None:
        return
    if not sys.platform.startswith("linux"):
        raise UsageError("--max-memory can be kept for this command on Linux only; leave it out")
    if count < LEAST_MEMORY:
        raise UsageError(
            f"expected --max-memory of at least {show_size(LEAST_MEMORY)} for training, got {show_size(count)}, which "
            f"is too little for its libraries alone; give more, or leave it out"
        )


def free_memory(share: float = 0.8) -> int | None:
    """Bytes that this process may well take more: a share of what the machine has free, or of what is left under the
    limits of its control group and of the process, whichever is least. None where the system does not tell."""
    found: list[int] = []
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            found += [1024 * int(line.split()[1]) for line in file if line.startswith("MemAvailable:")]
    except (OSError, ValueError, IndexError):
        pass
    found += _left_in_groups()
    try:
        import resource

        with open("/proc/self/statm", encoding="ascii") as file:
            pages = file.read().split()
        for limit, page in ((resource.RLIMIT_AS, 0), (resource.RLIMIT_DATA, 5)):
            soft = resource.getrlimit(limit)[0]
            if soft != resource.RLIM_INFINITY:
                found.append(soft - int(pages[page]) * resource.getpagesize())
    except (ImportError, OSError, ValueError, IndexError):
        pass
    return int(share * max(0, min(found))) if found else None


def _left_in_groups() -> list[int]:
    """Bytes left under each memory limit of the control groups, of either version, that this process is in."""
    found: list[int] = []
    try:
        with open("/proc/self/cgroup", encoding="utf-8") as file:
            groups = [line.rstrip("\n").split(":", 2) for line in file]
    except (OSError, ValueError):
        return found
    for _, controllers, path in (group for group in groups if len(group) == 3):
        if controllers == "":
            root, names = "/sys/fs/cgroup", ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            root = "/sys/fs/cgroup/memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        parts = [part for part in path.split("/") if part and part != ".."]
        for depth in range(len(parts) + 1):  # the limits of all groups above count, too
            folder = os.path.join(root, *parts[:depth])
            try:
                limit, used = (_number(os.path.join(folder, name)) for name in names[:2])
                with open(os.path.join(folder, "memory.stat"), encoding="ascii") as file:
                    cached = sum(int(line.split()[1]) for line in file if line.split()[0] == names[2])
            except (OSError, ValueError, IndexError):  # no such limit, or "max"
                continue
            found.append(limit - used + cached)
    return found


def _number(path: str) -> int:
    with open(path, encoding="ascii") as file:
        return int(file.read())
