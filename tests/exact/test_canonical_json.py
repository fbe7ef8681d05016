"""One value, one byte string."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codelength.exact.canonical import MAX_INTEGER, dumps, loads

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-MAX_INTEGER, MAX_INTEGER) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(VALUES)
def test_what_is_written_is_read_and_is_the_only_way_to_write_it(value):
    data = dumps(value)
    assert loads(data) == value
    assert json.loads(data) == value
    for other in (json.dumps(value, indent=1), json.dumps(value) + " ", json.dumps(value, sort_keys=True)):
        if other.encode() != data:
            with pytest.raises(ValueError):
                loads(other.encode())


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"1.0",
        b"1e5",
        b"-0",
        b"01",
        b"+1",
        b"NaN",
        b"Infinity",
        b"-Infinity",
        b"9223372036854775808",
        b"-9223372036854775808",
        b"1" + b"0" * 5000,
        b'{"a":1,"a":2}',
        b'{"b":1,"a":2}',
        b'{"a": 1}',
        b"[1, 2]",
        b"[1]\n",
        b"\xef\xbb\xbf[]",
        b'"\xc3\xa9"',
        b'"\\u00E9"',
        b'"\\u0041"',
        b'"\\/"',
        b'"\\u000a"',
        b'"\x7f"',
        b"[" * 66 + b"]" * 66,
        b"[" * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
        b'{"":' * 100_000,
        b"truefalse",
    ],
)
def test_anything_else_is_refused(data):
    with pytest.raises(ValueError):
        loads(data)


def test_the_documented_forms():
    assert dumps({"é": 1, "B": [True, None, -3], "a": "\n\x01\x7f\U0001f600"}) == (
        b'{"B":[true,null,-3],"a":"\\n\\u0001\\u007f\\ud83d\\ude00","\\u00e9":1}'
    )
    assert loads(b"[" * 65 + b"]" * 65)


@pytest.mark.parametrize("value", [1.0, float("nan"), {1: 2}, b"x", MAX_INTEGER + 1, {"a": object()}])
def test_what_has_no_canonical_form_is_not_written(value):
    with pytest.raises(ValueError):
        dumps(value)
