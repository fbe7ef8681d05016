"""An independent range coder as judge: on the same frequencies it needs the same space."""

import constriction
import numpy as np
import pytest

from codelength.coding.categories import push_shared
from codelength.coding.frequencies import Leaf, intervals, push_elements
from codelength.coding.stack import Stack


def bytes_of(array):
    return 4 * len(array)


def test_categorical_sizes_agree():
    rng = np.random.default_rng(0)
    freqs = rng.multinomial(2**24 - 40, rng.dirichlet(np.ones(40))) + 1
    x = rng.choice(40, size=5000, p=freqs / 2**24).astype(np.int32)
    coder = constriction.stream.stack.AnsCoder()
    coder.encode_reverse(x, constriction.stream.model.Categorical(freqs / 2**24, perfect=False))
    stack = Stack(lanes=1)
    push_shared(freqs, x[:, None], 24, stack)
    assert bytes_of(stack.to_words()) == pytest.approx(bytes_of(coder.get_compressed()), abs=8)


def test_gaussian_sizes_agree():
    rng = np.random.default_rng(1)
    means = np.round(rng.uniform(20, 230, 5000) * 64)
    log_scales = np.round(rng.uniform(0, 3, 5000) * 256)
    scales = np.exp(log_scales / 256)
    x = np.clip(np.round(rng.normal(means / 64, scales)), 0, 255).astype(np.int32)
    coder = constriction.stream.stack.AnsCoder()
    model = constriction.stream.model.QuantizedGaussian(0, 255)
    coder.encode_reverse(x, model, means / 64, scales)
    params = np.stack([means, log_scales], axis=1)[:, None]
    for lanes in (1, 4):
        stack = Stack(lanes)
        push_elements(Leaf("gaussian", 256), params, x[:, None], stack)
        # constriction rounds the parameters and leaves its floor under the masses otherwise than we do
        ours = bytes_of(stack.to_words()) - 5 * lanes
        assert ours == pytest.approx(bytes_of(coder.get_compressed()), rel=1e-3, abs=8)


def test_bernoulli_sizes_agree():
    rng = np.random.default_rng(2)
    logits = np.round(rng.normal(0, 3000, (40, 100, 1)))
    x = (rng.random((40, 100)) < 1 / (1 + np.exp(-logits[..., 0] / 1024))).astype(np.int32)
    leaf = Leaf("bernoulli", 2)
    _, zeros = intervals(leaf, logits, np.zeros_like(x))
    coder = constriction.stream.stack.AnsCoder()
    model = constriction.stream.model.Bernoulli(perfect=False)
    coder.encode_reverse(x.T.ravel(), model, 1 - zeros.T.ravel() / 2**24)
    stack = Stack(lanes=1)
    push_elements(leaf, logits, x, stack)
    assert bytes_of(stack.to_words()) == pytest.approx(bytes_of(coder.get_compressed()), abs=8)
