"""Trained, quantised network as plain numbers: ``GraphNetwork`` to ``QuantisedNetwork``.

A ``QuantisedNetwork`` is the input of lowering to integers. The topology is the architecture's
graph; scales come from the quantisers, weights and batch norms from the layers.

Batch norm is handed over as the affine map that it is at evaluation, ``gain * x + offset``; folding
it into the integers is exact, because weights have one step per output channel
(``nas_engine.integer.lowering``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nas_engine.models.graph_network import IMAGE_SCALE, GraphNetwork
from nas_engine.network.from_architecture import IMAGE
from nas_engine.network.graph import Node
from nas_engine.network.graph import Tensor as GraphTensor
from nas_engine.quantization.lsq import ActivationQuantiser, WeightQuantiser
from nas_engine.quantization.record import QuantisedLayer, QuantisedNetwork, QuantisedTensor
from nas_engine.quantization.requantise import affine


@torch.no_grad()
def extract(network: GraphNetwork, classes: Sequence[str]) -> QuantisedNetwork:
    """Return the record of a network with quantisers; tensors carry the names of its graph.

    Raises:
        NetworkError: A weight, step or norm that is not finite.
    """
    graph, units = network.graph, dict(network.units())
    scales = {IMAGE: IMAGE_SCALE}
    for name, found in network.quantisers.items():
        scales[name] = float(found.step)
    nodes: list[Node] = []
    for node in graph.nodes:
        if node.name not in units:
            nodes.append(node)
            continue
        unit = units[node.name]
        quantiser = unit.weight_quantiser
        assert isinstance(quantiser, WeightQuantiser)
        gain, offset = map(_array, affine(unit))
        block = network.end_of(node.name)
        own = None if block is None else block.own
        layer = QuantisedLayer(
            **node.as_fields(),
            weights=_array(quantiser.levels(unit.weight)).transpose(0, 2, 3, 1).astype(np.int8),
            weight_scale=_array(quantiser.step).reshape(-1),
            gain=gain,
            offset=offset,
            own_scale=float(own.step) if isinstance(own, ActivationQuantiser) else None,
        )
        nodes.append(layer)
    tensors = (
        QuantisedTensor(
            **{field.name: getattr(tensor, field.name) for field in fields(GraphTensor)},
            scale=scales[tensor.name],
        )
        for tensor in graph.tensors
    )
    return QuantisedNetwork(
        tensors=tuple(tensors),
        nodes=tuple(nodes),
        inputs=graph.inputs,
        outputs=graph.outputs,
        classes=tuple(classes),
    )


def _array(values: Tensor) -> npt.NDArray[np.float64]:
    result: npt.NDArray[np.float64] = values.detach().to("cpu", torch.float64).numpy()
    return result
