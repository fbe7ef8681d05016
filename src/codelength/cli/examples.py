"""Real command lines for the help of each command; a test parses them all."""

from __future__ import annotations

EXAMPLES: dict[str, tuple[str, ...]] = {
    "demo": (
        "codelength demo",
        "codelength demo -o out/demo --json out/demo/figures.json",
    ),
    "train": (
        "codelength train made-digits -o runs/digits",
        "codelength train vae-mnist -o runs/mnist --max-minutes 60",
        "codelength train made-digits -o runs/small --set made.hidden=[64] --seed 1",
        "codelength train made-digits -o runs/digits --resume",
    ),
    "pack": (
        "codelength pack scans/ scans.clen",
        "codelength pack scans/ --estimate",
        "codelength pack scans/ scans.clen --profile small --jobs 4 --json figures.json",
        "codelength pack 'mnist:test[:1000]' digits.clen --no-compare --block 64 --report digits.html",
    ),
    "append": (
        "codelength append scans.clen more-scans/",
        "codelength append scans.clen more-scans/ --replace --json figures.json",
    ),
    "unpack": (
        "codelength unpack scans.clen scans-again/",
        "codelength unpack scans.clen one.png --name plate-3/07.png",
    ),
    "evaluate": (
        "codelength evaluate made-digits --data threshold-digits:test",
        "codelength evaluate vae-mnist --data mnist:test --limit 100 --estimator importance",
        "codelength evaluate runs/digits --data items.npy --per-item figures.csv --json figures.json",
        "codelength evaluate made-digits --data threshold-digits:test --against runs/digits",
    ),
    "sample": (
        "codelength sample made-digits --count 64 -o samples.png",
        "codelength sample vae-mnist --count 1000 -o samples.npy --seed 7",
        "codelength sample made-digits --count 9 -o completed.png --inpaint digit.png --mask mask.png",
    ),
    "compress": (
        "codelength compress scans/ scans.clen --model runs/scans",
        "codelength compress binarized-mnist:test digits.clen --model made-binarized-mnist --no-embed-model",
        "codelength compress 'mnist:test[:1000]' digits.clen --model vae-mnist --json figures.json",
        "codelength compress scans/ scans.clen --model runs/scans --block 0.5s",
        "codelength compress - - --model made-digits < digits.npy > digits.clen",
    ),
    "decompress": (
        "codelength decompress scans.clen scans-again/",
        "codelength decompress scans.clen some.npy --range 100:200",
        "codelength decompress scans.clen one.png --range 5",
        "codelength decompress scans.clen -o scans-again/ --name 'plate-3/*.png' --force",
        "codelength decompress - - --range 100:200 < scans.clen > some.npy",
    ),
    "inspect": (
        "codelength inspect scans.clen",
        "codelength inspect scans.clen --list",
        "codelength inspect scans.clen --json -",
        "codelength inspect - < scans.clen",
    ),
    "verify": (
        "codelength verify scans.clen",
        "codelength verify scans.clen scans/",
        "codelength verify scans.clen --json -",
        "codelength verify - scans/ < scans.clen",
    ),
    "models": (
        "codelength models",
        "codelength models -q",
    ),
    "datasets": (
        "codelength datasets",
        "codelength datasets -q",
    ),
}


def epilog(command: str) -> str:
    """The examples as the end of a help page, each on a line of its own that is not filled."""
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in EXAMPLES[command])])
