"""Kernels that do nothing but call pieces which only kernels can call."""

from __future__ import annotations

from codelength.coding import beta_binomial, frequencies
from codelength.coding.compiled import kernel


@kernel
def shape(k):
    return beta_binomial.shape(k)


@kernel
def bernoulli_cut(logit, bits):
    return frequencies.bernoulli_cut(logit, bits)


@kernel
def interval(symbols, bits, binary, sums, several, single, scratch, tables, params, x):
    return frequencies.interval(symbols, bits, binary, sums, several, single, scratch, tables, params, x)


@kernel
def search(symbols, bits, binary, sums, several, single, scratch, tables, params, slot):
    return frequencies.search(symbols, bits, binary, sums, several, single, scratch, tables, params, slot)
