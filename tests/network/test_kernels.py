"""The kernel chosen for a bare graph is the one that the exported C runs and the manifest names."""

from __future__ import annotations

import re

import numpy as np
import pytest

from nas_engine.costs.plan import plan_graph
from nas_engine.encoding import decode, space_frame
from nas_engine.evolution.operators import sample
from nas_engine.exporters.manifest import manifest
from nas_engine.exporters.to_c import CExporter
from nas_engine.network.from_architecture import graph_of
from nas_engine.network.kernels import KERNELS, kernel_of
from nas_engine.testing.networks import untrained
from search_spaces import load_space
from tests.exporters.c_exports import subject_of


@pytest.mark.parametrize("name", ["mobilenet-32", "residual-32", "hybrid-32"])
def test_graph_plan_and_c_have_the_same_kernels(name: str) -> None:
    space = load_space(name)
    frame = space_frame(space, 8, 3)
    genes = sample(space, frame, 3, np.random.default_rng(5))
    for i in range(genes.shape[1]):
        network = decode(frame, genes[:, i])
        graph, subject = graph_of(network), subject_of(untrained(network))
        over = {tensor.name: tensor.in_place_of for tensor in plan_graph(graph).tensors}
        chosen = [
            kernel_of(
                node,
                graph.tensor(node.input),
                graph.tensor(node.output),
                in_place=over[node.output] == node.input,
            )
            for node in graph.nodes
        ]
        assert {kernel.name for kernel in chosen} <= set(KERNELS)
        source = CExporter().files(subject)["c/model.c"].decode()
        assert re.findall(r"^    \{(nas_\w+), ", source, re.M) == [each.name for each in chosen]
        layers = manifest(subject.model, subject.plan, device=None)["layers"]
        named = [(one["storage"]["function"], one["storage"].get("layout", "")) for one in layers]
        assert named == [(each.name, each.layout) for each in chosen]
