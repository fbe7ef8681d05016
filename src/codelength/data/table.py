"""The named data sets as the tables of ``docs/data.md``."""

from __future__ import annotations

from codelength.data.fetch import File
from codelength.data.registry import REGISTRY, Entry, files


def table() -> str:
    """Two Markdown tables: the data sets, and the files that they are made of."""
    lines = [
        "| name | items of `train` / `valid` / `test` | shape | symbols | preprocessing | remarks |",
        "| --- | --- | --- | ---: | --- | --- |",
    ]
    for entry in REGISTRY.values():
        counts = " / ".join(
            f"{entry.count(split):,}" if split in entry.splits else "-" for split in ("train", "valid", "test")
        )
        lines.append(
            f"| `{entry.name}` | {counts} | {_shape(entry)} | {entry.space.symbols} | {entry.preprocessing} "
            f"| {entry.title}{'; ' if entry.note else ''}{entry.note} |"
        )
    lines += [
        "",
        "| source | licence | citation | files, where from, and who vouches for the hash |",
        "| --- | --- | --- | --- |",
    ]
    # One line for those that differ in name alone.
    sources = {entry.source.home: entry.source for entry in reversed(REGISTRY.values())}
    for source in reversed(sources.values()):
        kinds = [
            f"`{file.path.split('/')[-1]}`{' (downloaded)' if file.urls else ''}: {file.basis}"
            for file in _examples(files(source))
        ]
        lines.append(
            f"| [{source.name.split('/')[0]}]({source.home}) | {source.licence} | {source.citation} "
            f"| {'; '.join(kinds) or 'bundled with scikit-learn; hash of the items checked'} |"
        )
    return "\n".join(lines)


def _examples(listed: list[File]) -> list[File]:
    """The first file for each way of vouching and each ending."""
    seen: dict[tuple[str, str], File] = {}
    for file in listed:
        seen.setdefault((file.basis, file.path.rsplit(".", 1)[-1]), file)
    return list(seen.values())


def _shape(entry: Entry) -> str:
    return "x".join("any" if size is None else str(size) for size in entry.space.shape)
