"""Roles of a unit's layers where it runs by rows.

What makes rows of the ring, what reads the ring, what follows. Costs, the memory plan and the C
runtime's stage records (``nas_rows``) are readers of these.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nas_engine.network.graph import Node

RING = " ring"
"""End of the name of a ring that holds rows of a tensor which is also whole in the arena."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Roles:
    """Layers of a unit by what they do."""

    source: str
    """Tensor whose rows enter."""
    take: Node | None = None
    """Layer that makes the rows of the ring: a 1x1 layer of one row of the source, or a convolution
    of several; without one rows of the source are those of the ring."""
    side: Node | None = None
    """1x1 layer of a shortcut."""
    window: Node
    """Layer that reads the ring, or the whole source: the stem, a depth-wise layer, the second
    convolution of a residual block, the pool behind the head."""
    project: Node | None = None
    """1x1 layer behind a depth-wise one."""

    @property
    def takes_window(self) -> bool:
        """True if rows of the ring are made of several rows of the source."""
        return self.take is not None and self.take.taps > 1

    @property
    def last(self) -> Node:
        """Layer that makes the output."""
        return self.project or self.window

    @property
    def pools(self) -> bool:
        """True for a head with its pool."""
        return self.window.kind == "average_pool"

    @property
    def adds_source(self) -> bool:
        """True if the source is added to the output."""
        return self.last.shortcut == self.source

    def ring(self, *, whole: bool) -> str:
        """Return the name of the ring.

        Args:
            whole: Whether the source lies in the arena whole.
        """
        return self.window.input + RING * (whole and self.window.input == self.source)

    @property
    def filtered(self) -> str:
        """Tensor of which one row waits: in front of a projection, or of a pool."""
        return self.window.output if self.project is not None else self.window.input


def _is_1x1(node: Node, source: str, stride: int = 1) -> bool:
    plain = node.kind == "conv" and node.taps == 1 and not any(node.padding)
    return plain and node.stride == stride and node.input == source


def roles_of(nodes: Sequence[Node]) -> Roles | None:
    """Return the roles of the nodes of a unit, ``None`` for one that runs by layers alone."""
    first, source, shortcut = nodes[0], nodes[0].input, nodes[-1].shortcut
    found: Roles | None = None
    match [node.kind for node in nodes]:
        case ["conv"] if shortcut is None:
            found = Roles(source=source, window=first)
        case ["conv", "average_pool"] if _is_1x1(first, source):
            found = Roles(source=source, take=first, window=nodes[1])
        case ["depthwise", "conv"] if shortcut in (None, source):
            found = Roles(source=source, window=first, project=nodes[1])
        case ["conv", "depthwise", "conv"] if shortcut in (None, source) and _is_1x1(first, source):
            found = Roles(source=source, take=first, window=nodes[1], project=nodes[2])
        case ["conv", "conv"] if shortcut == source and first.taps > 1:
            found = Roles(source=source, take=first, window=nodes[1])
        case ["conv", "conv", "conv"] if (
            shortcut == nodes[1].output
            and first.taps > 1
            and _is_1x1(nodes[1], source, first.stride)
        ):
            found = Roles(source=source, take=first, side=nodes[1], window=nodes[2])
    return found if found is not None and _is_chain(found) else None


def _is_chain(roles: Roles) -> bool:
    """Return whether each layer reads what the one before makes, and sums come last."""
    inner = (roles.take, roles.side, roles.window if roles.project else None)
    return (
        all(node is None or node.shortcut is None for node in inner)
        and (roles.take is None or roles.window.input == roles.take.output)
        and (roles.project is None or _is_1x1(roles.project, roles.window.output))
        and (not roles.takes_window or roles.window.stride == 1)
    )
