"""Networks as graphs: topology, shapes, kinds and widths, without weights."""

from nas_engine.network.graph import (
    KINDS,
    MAX_SIZE,
    Graph,
    NetworkError,
    Node,
    NodeKind,
    Tensor,
    check_graph,
)

__all__ = [
    "KINDS",
    "MAX_SIZE",
    "Graph",
    "NetworkError",
    "Node",
    "NodeKind",
    "Tensor",
    "check_graph",
]
