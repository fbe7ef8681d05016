"""Make the frozen model of a finished run a packaged model of the next release.

    python -m codelength.cli.package RUN NAME DATA

Copies ``RUN/model.clm`` to ``NAME.clm``, and writes beside it, as ``NAME.json``, what ``codelength evaluate NAME --data
DATA`` says. A packaged model never changes once it has been released: archives name it by its hash.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from pathlib import Path

from codelength.cli.run import main as codelength
from codelength.errors import UsageError
from codelength.files import write_atomically
from codelength.resolve import load_model
from codelength.weights import FOLDER, MOST_BYTES, MOST_BYTES_TOGETHER, packaged


def add(run: Path, name: str, *, replace: bool = False) -> Path:
    """Copy the frozen model of a run into the package; raises UsageError if it is too large or the name is taken."""
    known = packaged()
    if name in known and not replace:
        raise UsageError(f"{name} is packaged already; a released model never changes, so choose another name")
    data = load_model(run).to_bytes()
    others = sum(entry.path.stat().st_size for entry in known.values() if entry.name != name)
    if len(data) > MOST_BYTES or others + len(data) > MOST_BYTES_TOGETHER:
        raise UsageError(
            f"expected at most {MOST_BYTES:,} bytes for a model and {MOST_BYTES_TOGETHER:,} for all, "
            f"got {len(data):,} and {others + len(data):,}"
        )
    path = FOLDER / f"{name}.clm"
    write_atomically(path, data)
    return path


def main() -> int:
    options = argparse.ArgumentParser(
        prog="python -m codelength.cli.package", description=(__doc__ or "").split("\n")[0]
    )
    options.add_argument("run", type=Path)
    options.add_argument("name")
    options.add_argument("data")
    options.add_argument("--replace", action="store_true", help="of a model that has not been released yet")
    arguments = options.parse_args()
    try:
        path = add(arguments.run, arguments.name, replace=arguments.replace)
    except UsageError as error:
        print(error, file=sys.stderr)
        return error.exit_status
    beside = path.with_suffix(".json")
    command = ["evaluate", arguments.name, "--data", arguments.data]
    status = codelength([*command, "--json", str(beside)])
    if status == 0:
        figures = json.loads(beside.read_text("utf-8"))
        figures["command"] = shlex.join(["codelength", *command])  # where the file lay when it was made is nobody's
        write_atomically(beside, (json.dumps(figures, indent=2) + "\n").encode())
    return status


if __name__ == "__main__":
    sys.exit(main())
