"""Where frozen networks run."""

from __future__ import annotations

from codelength.errors import UsageError


def use_device(name: str) -> None:
    """Run frozen networks on a device of torch for the rest of this context (``codelength.exact.arithmetic``); on the
    CPU they need no torch.

    A command is a context of its own. Raises UsageError if the device is not there.
    """
    if name == "cpu":
        return
    import torch

    from codelength.exact import arithmetic as executors
    from codelength.freezing.torch_executor import TorchArithmetic

    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"cannot use the device {name!r}: {str(error).splitlines()[0]}") from None
    executors.choose(TorchArithmetic(name))
