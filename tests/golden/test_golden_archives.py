"""Archives that were written once: still decoded to the same bytes, and still written as the same bytes."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from golden_digest import contents_of, digest
from golden_manifest import GOLDEN, Golden
from golden_plans import write_planned

import codelength as cl
from codelength.errors import CodelengthError, UnknownFeature
from codelength.laws.frozen import FrozenModel
from second_reader import open_archive

golden_archives = pytest.mark.parametrize("golden", GOLDEN, ids=str)


@golden_archives
def test_archives_are_those_of_the_manifest(golden: Golden) -> None:
    assert hashlib.sha256(golden.path.read_bytes()).hexdigest() == golden.sha256


@golden_archives
def test_the_package_decodes_and_writes_the_same_bytes(golden: Golden, tmp_path: Path) -> None:
    cl.decompress(golden.path, tmp_path / "all", model=golden.model_path)
    original = open_archive(golden.path, golden.model_path)
    source, suffix = tmp_path / "all", "" if original.header["kind"] == "folder" else ".npy"
    if original.header["kind"] != "folder":
        source, suffix = tmp_path / "all" / original.header["name"], ".npz" if "members" in original.header else ".npy"
    extracted = tmp_path / f"again{suffix}"
    cl.decompress(golden.path, extracted, model=golden.model_path)
    assert digest(contents_of(extracted)) == golden.contents

    again = tmp_path / "again.clen"
    if golden.plans:
        write_planned(source, again, golden.plans)
        assert again.read_bytes() == golden.path.read_bytes()
        return
    assert original.model_file is not None
    model = FrozenModel.from_bytes(original.model_file)
    cl.compress(source, again, model, embed_model=golden.model is None, **golden.options)
    assert again.read_bytes() == golden.path.read_bytes()


@pytest.mark.parametrize("name", ["empty", "strangers"])
def test_an_archive_that_its_model_codes_nothing_of_needs_no_model(name: str, tmp_path: Path) -> None:
    golden = next(golden for golden in GOLDEN if golden.name == name)
    cl.decompress(golden.path, tmp_path / "all.npy")
    assert digest(contents_of(tmp_path / "all.npy")) == golden.contents
    original = open_archive(golden.path)
    assert original.model_file is None and "features" not in original.header


def with_feature(model: bytes, feature: int) -> bytes:
    """A model file that claims to need one feature more."""
    end = 14 + int.from_bytes(model[10:14], "little")
    structure = model[14:end].replace(b'"features":[', b'"features":[%d,' % feature)
    data = model[:10] + len(structure).to_bytes(4, "little") + structure + model[end:-16]
    return data + hashlib.blake2b(data, digest_size=16).digest()


def knows(model: bytes, feature: int) -> bool:
    try:
        FrozenModel.from_bytes(with_feature(model, feature))
    except UnknownFeature:
        return False
    except CodelengthError:
        return True
    return True


def test_every_feature_that_the_package_knows_is_in_an_archive() -> None:
    model = open_archive(GOLDEN[0].path).model_file
    assert model is not None
    used = set().union(*(golden.features for golden in GOLDEN))
    assert used == {feature for feature in range(300) if knows(model, feature)}
