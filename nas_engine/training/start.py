"""Float weights to start a quantised training from.

They are of the same network, whatever widths it had.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from nas_engine.architecture import Architecture, Bits, parse_architecture
from nas_engine.errors import FileFormatError
from nas_engine.models.graph_network import GraphNetwork
from nas_engine.quantization.prepare import insert_quantisers, is_quantised
from nas_engine.reading import parsing
from nas_engine.training.networks import load_network
from nas_engine.training.state import FOREIGN, STAGES, read_content

_ANY = Bits(8, 8)


def same_structure(first: Architecture, second: Architecture) -> bool:
    """Return True if two networks differ in their widths alone.

    Either can then take the other's float weights.
    """
    return _without_widths(first) == _without_widths(second)


def _without_widths(architecture: Architecture) -> Architecture:
    blocks = tuple(
        replace(block, bits=tuple((_ANY,) * len(row) for row in block.bits))
        for block in architecture.blocks
    )
    classifier = (
        None if architecture.classifier is None else replace(architecture.classifier, bits=_ANY)
    )
    stem = replace(architecture.stem, bits=_ANY)
    head = None if architecture.head is None else replace(architecture.head, bits=_ANY)
    return replace(architecture, stem=stem, blocks=blocks, head=head, classifier=classifier)


def with_widths_of(network: GraphNetwork, architecture: Architecture) -> GraphNetwork:
    """Return a float copy of a network's weights in a network with other widths.

    Quantisers are not copied.

    Args:
        network: Float or quantised.
        architecture: Of the same structure.
    """
    assert same_structure(network.architecture, architecture)
    copy, state = GraphNetwork(architecture), network.state_dict()
    copy.load_state_dict({name: state[name] for name in copy.state_dict()})
    return copy.eval()


def load_start(path: Path, architecture: Architecture) -> GraphNetwork:
    """Return the float network of a file with the widths of an architecture, on the CPU.

    Raises:
        FileFormatError: A damaged file, quantised weights, or weights of another network.
    """
    network = load_network(path)
    remedy = (
        "expected the float weights of the network in best.yaml; put them back, or remove the file "
        "to train from scratch"
    )
    if is_quantised(network):
        raise FileFormatError(path, f"holds a quantised network; {remedy}")
    if not same_structure(network.architecture, architecture):
        raise FileFormatError(path, f"holds another network than best.yaml; {remedy}")
    return with_widths_of(network, architecture)


def load_backbone(path: Path, architecture: Architecture) -> GraphNetwork:
    """Return the float network of a file whose layers have the shapes of an architecture's.

    The classifier, the widths, strides and the resolution may be others.

    Raises:
        FileFormatError: A damaged file, quantised weights, or a layer that is missing or of another
            shape.
    """
    network = load_network(path)
    if is_quantised(network):
        raise FileFormatError(path, "holds a quantised network; expected float weights")
    shapes = [
        {name: tuple(unit.weight.shape) for name, unit in each.units() if unit.bias is None}
        for each in (network, GraphNetwork(architecture))
    ]
    theirs, own = shapes
    for name in [*own, *theirs]:
        if theirs.get(name) != own.get(name):
            came, expected = (
                "no layer" if shape is None else "x".join(map(str, shape))
                for shape in (theirs.get(name), own.get(name))
            )
            raise FileFormatError(
                path,
                f"has {came} where this network has {expected} ('{name}'); --init-from takes a run "
                "of the same network but for its classes; leave it out, or train the same "
                "best.yaml on the other data first",
            )
    return network


def copy_backbone(source: GraphNetwork, network: GraphNetwork) -> None:
    """Copy all tensors but those of the classifier into a network with layers of the same shapes.

    Both are in float; widths do not matter.
    """
    state = {
        name: value
        for name, value in source.state_dict().items()
        if not name.startswith("classifier.")
    }
    network.load_state_dict(state, strict=False)


def network_of_checkpoint(path: Path) -> GraphNetwork:
    """Return the (averaged) network of an unfinished training, with quantisers if inserted.

    Raises:
        FileFormatError: A damaged file.
    """
    content = read_content(path)
    network = GraphNetwork(parse_architecture(content["architecture"], path))
    if content["stage"] == STAGES[1]:
        insert_quantisers(network)
    with parsing(path, FOREIGN):
        network.load_state_dict(
            content["network"] if content["average"] is None else content["average"]
        )
    return network.eval()


def random_network(architecture: Architecture, seed: int) -> GraphNetwork:
    """Return a float network that was never trained."""
    torch.manual_seed(seed)
    return GraphNetwork(architecture).eval()
