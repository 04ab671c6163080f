"""Memory plan of an integer model: the arena that the exported C uses.

Sizes and placement are those that the search counted with.

``nas_engine.costs.plan`` plans an architecture, before there are any weights. This is the same for
the steps that are executed; where an integer model comes from an architecture, the two agree to the
byte.
"""

from __future__ import annotations

from nas_engine.costs.plan import MemoryPlan, plan_graph
from nas_engine.integer.model import IntegerModel


def plan_memory(model: IntegerModel) -> MemoryPlan:
    """Return where every tensor and the scratch of every step lie in the arena.

    Step by step as in ``model.nodes``.

    Raises:
        NetworkError: Two tensors would need the same place: steps that do not form a chain
            with shortcuts.
    """
    return plan_graph(model)
