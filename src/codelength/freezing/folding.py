"""Batch normalisation folded into the layer before it, as evaluation applies it: a scale and a shift per channel."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import fx, nn

from codelength.errors import FreezeError
from codelength.networks.convolution import CausalConv2d
from codelength.networks.masked import MaskedLinear

_LAYERS = (nn.Linear, nn.Conv2d, MaskedLinear, CausalConv2d)


def fold_batch_norms(module: fx.GraphModule) -> fx.GraphModule:
    """Replace every layer followed by batch normalisation by one layer with the weights of both.

    The network that was traced is left as it is. Raises FreezeError for a batch normalisation that follows no layer.
    """
    modules = dict(module.named_modules())
    for node in list(module.graph.nodes):
        norm = modules.get(str(node.target)) if node.op == "call_module" else None
        if not isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d):
            continue
        source = node.args[0]
        layer: Any = modules.get(str(source.target)) if source.op == "call_module" else None
        if not isinstance(layer, _LAYERS) or len(source.users) != 1:
            raise FreezeError(f"expected a layer whose only use is the batch normalisation {node.target}, found none")
        if norm.running_mean is None or norm.running_var is None:
            raise FreezeError(f"expected {node.target} to keep running statistics, it normalises by each batch")
        folded = copy.deepcopy(layer)
        with torch.no_grad():
            gain = torch.rsqrt(norm.running_var + norm.eps)
            if norm.weight is not None:
                gain = gain * norm.weight
            shift = -norm.running_mean * gain
            if norm.bias is not None:
                shift = shift + norm.bias
            bias = torch.zeros_like(gain) if layer.bias is None else layer.bias
            folded.weight = nn.Parameter(layer.weight * gain.reshape(-1, *[1] * (layer.weight.ndim - 1)))
            folded.bias = nn.Parameter(bias * gain + shift)
        name = f"{str(source.target).replace('.', '_')}_normalised"
        module.add_module(name, folded)
        source.target = name
        node.replace_all_uses_with(source)
        module.graph.erase_node(node)
    module.recompile()
    return module
