"""Data sets pinned by hash, arrays and folders of images, each with the space its items live in."""

from codelength.data.dataset import DataSet, Member, Origin
from codelength.data.load import load_data
from codelength.data.registry import datasets

__all__ = ["DataSet", "Member", "Origin", "datasets", "load_data"]
