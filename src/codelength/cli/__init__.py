"""The command ``codelength``: parsing and printing over the public interface, nothing else.

Exit status: 0; 1 with one sentence on stderr where something failed; 2 with one sentence for wrong usage; 130 after an
interrupt, 128 and its number after another signal. Modules that take long to import are imported by the commands that
need them.
"""

from codelength.cli.run import main

__all__ = ["main"]
