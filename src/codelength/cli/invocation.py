"""How this command was called."""

from contextvars import ContextVar

#: The command line, as a shell would read it, for the JSON of its results.
command_line: ContextVar[str] = ContextVar("command_line", default="codelength")
