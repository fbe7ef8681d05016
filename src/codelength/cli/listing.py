"""What there is: packaged models and data sets."""

from __future__ import annotations

from codelength.cli import options
from codelength.cli.output import say
from codelength.device import use_device
from codelength.report.text import table
from codelength.sizes import show_size


def models(
    quiet: options.Quiet = False,
    resources: options.Resources = options.RESOURCES,
) -> None:
    """List the packaged models; with --quiet their names only."""
    options.prepare(resources, quiet)
    use_device(resources.device)
    resources.memory()  # refused where it is no size, as everywhere
    from codelength import api

    found = api.packaged_models()
    if quiet:
        say("\n".join(found))
        return
    rows = []
    for name, model in found.items():
        frozen = api.load(name)
        figures = model.figures
        bits = f"{figures['bits_per_dim']:.4f}" if figures else "-"
        rows.append(
            [
                name,
                "x".join("any" if side is None else str(side) for side in frozen.space.shape),
                str(frozen.space.symbols),
                show_size(len(frozen.to_bytes())),
                frozen.kind,
                figures.get("data", "-"),
                bits,
                frozen.sha256[:16],
            ]
        )
    say(table(["name", "shape", "symbols", "size", "kind", "measured on", "bits/dim", "sha256"], rows))
    say(
        "\nAnd models that learn while they code, for images of any size: adaptive-SIZE-KIND-SYMBOLSxCHANNELS, such as "
        "adaptive-balanced-photo-256x3;\nSIZE: fast, balanced, small; KIND: photo, drawn, binary"
    )


def datasets(
    quiet: options.Quiet = False,
    resources: options.Resources = options.RESOURCES,
) -> None:
    """List the data sets that can be named; with --quiet their names only."""
    options.prepare(resources, quiet)
    use_device(resources.device)
    resources.memory()  # refused where it is no size, as everywhere
    from codelength import api

    found = api.datasets()
    if quiet:
        say("\n".join(entry.name for entry in found))
        return
    rows = [
        [
            entry.name,
            " ".join(f"{split}:{count}" for split, count in entry.splits.items()),
            "x".join("any" if side is None else str(side) for side in entry.shape),
            str(entry.symbols),
            "here" if entry.available else "to download",
            entry.licence,
            entry.preprocessing,
        ]
        for entry in found
    ]
    say(table(["name", "splits", "shape", "symbols", "files", "licence", "preprocessing"], rows))
