"""Allocation problem of a searched network on its device.

SRAM and Flash to the byte, and the limits of the search.

Free are the widths that the search was free to choose: those of all layers but stem and classifier,
one per layer or one per inverted residual as the space ties them. Peak SRAM is a maximum over the
steps of the schedule; each of its terms is one linear constraint (``nas_engine.costs.sram`` has the
formulas), so the constraints allow what the memory plan then finds, and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from nas_engine.allocation.problem import (
    ACTIVATIONS,
    WEIGHTS,
    AllocationProblem,
    Constraint,
    Floats,
    Levels,
    Variable,
)
from nas_engine.architecture import Architecture
from nas_engine.costs.compute import extra_bitops
from nas_engine.costs.flash import fixed_flash, weight_bytes
from nas_engine.costs.sram import classifier_live, head_live, stem_live
from nas_engine.encoding import GeneView, architecture_frame, decode, encode
from nas_engine.evolution.problem import UNLIMITED, SearchProblem
from nas_engine.layers import KINDS, LayerTable, macs_per_layer, unroll
from nas_engine.network.from_architecture import graph_of

SRAM, FLASH = "peak SRAM", "Flash"
"""The two resources of a device."""


def device_problem(search: SearchProblem, architecture: Architecture) -> AllocationProblem:
    """Return the problem of choosing a network's widths within the limits of its search.

    The limits include the budgets.

    Args:
        search: Budgets, device rules and space that the network was searched with.
        architecture: A network of that space; its own widths do not matter.
    """
    return _Builder(search, architecture).problem()


def levels_of(problem: AllocationProblem, architecture: Architecture) -> Levels:
    """Return the widths that a network has, as levels of its ``device_problem``.

    Raises:
        InputError: A width that the device or the space does not allow.
    """
    widths = dict(zip(architecture.layer_names(), architecture.layer_bits(), strict=True))
    first = [widths[variable.layers[0]] for variable in problem.variables]
    return problem.levels(
        [
            bits.w if v.kind == WEIGHTS else bits.a
            for v, bits in zip(problem.variables, first, strict=True)
        ]
    )


def with_levels(
    problem: AllocationProblem, architecture: Architecture, levels: Levels
) -> Architecture:
    """Return the network with the widths of an allocation."""
    frame = architecture_frame(architecture)
    genes = encode(frame, [architecture])
    view = GeneView(frame, genes)
    rows = {name: row for row, name in enumerate(architecture.layer_names())}
    for variable, width in zip(problem.variables, problem.bits(levels), strict=True):
        target = view.w_bits if variable.kind == WEIGHTS else view.a_bits
        target[[rows[layer] for layer in variable.layers], 0] = width
    return decode(frame, genes[:, 0])


class _Builder:
    """Variables of one network, and its constraints as sums over them."""

    def __init__(self, search: SearchProblem, architecture: Architecture) -> None:
        frame = architecture_frame(architecture)
        self.search, self.architecture = search, architecture
        self.table: LayerTable = unroll(frame, encode(frame, [architecture]))
        self.names = architecture.layer_names()
        graph = graph_of(architecture)
        self.inputs = {node.name: graph.tensor(node.input).elements for node in graph.layers}
        self.end = search.space.end_bits
        residual_layers = [
            self.names[i : i + 3] for i, name in enumerate(self.names) if name.endswith(".expand")
        ]
        apart: list[tuple[str, ...]] = [(layer,) for row in residual_layers for layer in row]
        self.groups = [*(residual_layers if search.space.tie_block_bits else apart), ("head",)]
        self.residuals = residual_layers
        self.bare = AllocationProblem(self._variables())
        self.variable_of = {
            (variable.kind, layer): index
            for index, variable in enumerate(self.bare.variables)
            for layer in variable.layers
        }

    def problem(self) -> AllocationProblem:
        search = self.search
        constraints = [self._flash(), *self._sram()]
        if search.limits.bitops < UNLIMITED:
            products = np.outer(np.arange(9.0), np.arange(9.0))
            fixed = float(extra_bitops(search.memory_model, self.table)[0])
            constraints.append(
                self._pairs("BitOps", "", search.limits.bitops, fixed, lambda kind: products)
            )
        if search.limits.cycles < UNLIMITED:
            costs = {kind: np.nan_to_num(search.cycles_per_mac[kind]) for kind in KINDS}
            constraints.append(
                self._pairs("cycles", "", search.limits.cycles, 0.0, costs.__getitem__)
            )
        pairs = search.allowed[np.ix_(search.weight_options, search.activation_options)]
        if not pairs.all():
            forbidden = (~search.allowed).astype(np.float64)
            constraints.append(
                self._pairs(
                    "pairs of widths that the device forbids",
                    "",
                    0.0,
                    0.0,
                    lambda kind: forbidden,
                    macs=False,
                )
            )
        remedy = "give the search a larger --sram or --flash"
        return AllocationProblem(self.bare.variables, constraints, remedy=remedy)

    def _variables(self) -> Iterator[Variable]:
        weights = dict(zip(self.names, self.table.weights[:, 0], strict=False))
        for kind, options, elements in (
            (WEIGHTS, self.search.weight_options, weights),
            (ACTIVATIONS, self.search.activation_options, self.inputs),
        ):
            for layers in self.groups:
                name = layers[0].removesuffix(".expand") if len(layers) > 1 else layers[0]
                count = int(sum(elements[layer] for layer in layers))
                yield Variable(
                    name=f"{name} {kind}", kind=kind, layers=layers, bits=options, elements=count
                )

    def _choices(self, kind: str, layer: str) -> slice | None:
        """Return the positions of a layer's choices, ``None`` where its width is fixed."""
        index = self.variable_of.get((kind, layer))
        if index is None:
            return None
        return slice(
            int(self.bare.first[index]), int(self.bare.first[index] + self.bare.counts[index])
        )

    def _flash(self) -> Constraint:
        model, linear = self.search.memory_model, np.zeros(self.bare.n)
        fixed = float(fixed_flash(model, self.table)[0])
        for layer, count in zip(self.names, self.table.weights[:, 0], strict=False):
            at = self._choices(WEIGHTS, layer)
            if at is None:
                fixed += float(weight_bytes(model, count, float(self.end)))
            else:
                linear[at] += [
                    float(weight_bytes(model, count, float(bits)))
                    for bits in self.bare.choice_bits[at]
                ]
        return Constraint(
            name=FLASH,
            resource=FLASH,
            unit="B",
            limit=self.search.flash_bytes,
            fixed=fixed,
            linear=linear,
        )

    def _sram(self) -> Iterator[Constraint]:
        """Yield the terms of the peak; every size is an array over the widths 0 to 8, ``(9,)``."""
        model, table, bits = self.search.model, self.table, np.arange(9.0)
        units = model.units(table)
        yield self._peak("stem", 0.0, (self._after(0), stem_live(model, table, bits)))
        for index, (expand, depthwise, project) in enumerate(self.residuals):
            unit = units.residual(index)
            scratch = [
                float(part[0])
                for part in (unit.expand_scratch, unit.depthwise_scratch, unit.project_scratch)
            ]
            stream, after = model.size(unit.stream[0], bits), model.size(unit.stream[1], bits)
            held = model.size(unit.held, bits)
            yield self._peak(
                expand, scratch[0], (expand, stream), (depthwise, model.size(unit.expanded, bits))
            )
            yield self._peak(
                depthwise,
                scratch[1],
                (expand, held),
                (depthwise, model.depthwise_input(unit, bits)),
            )
            working = (
                (depthwise, model.depthwise_beside(unit, bits)),
                (project, model.depthwise_output(unit, bits)),
            )
            yield self._peak(depthwise, scratch[1], (expand, held), *working)
            filtered = (project, model.size(unit.filtered, bits))
            yield self._peak(project, scratch[2], filtered, (expand, model.merge(held, 0.0)))
            yield self._peak(
                project, scratch[2], filtered, (self._after(index + 1), model.merge(0.0, after))
            )
        out = float(self.end) if table.frame.classes else 8.0
        yield self._peak("head", 0.0, ("head", head_live(model, table, bits, out)))
        if table.frame.classes:
            yield self._peak("classifier", float(classifier_live(model, table, float(self.end))[0]))

    def _after(self, residual: int) -> str:
        """Return the layer that takes the input of an inverted residual.

        Behind the last inverted residual it is the head.
        """
        return self.residuals[residual][0] if residual < len(self.residuals) else "head"

    def _peak(self, step: str, fixed: float, *terms: tuple[str, Any]) -> Constraint:
        """Return one term of the peak: inputs of layers that live together.

        With its granules at the widths 0 to 8, or at any.
        """
        granule, linear = self.search.model.granule, np.zeros(self.bare.n)
        for layer, sizes in terms:
            at = self._choices(ACTIVATIONS, layer)
            assert at is not None
            linear[at] += np.broadcast_to(sizes, (9,))[self.bare.choice_bits[at]] * granule
        return Constraint(
            name=f"{SRAM} at {step}",
            resource=SRAM,
            unit="B",
            limit=self.search.sram_bytes,
            fixed=fixed * granule,
            linear=linear,
        )

    def _pairs(
        self,
        name: str,
        unit: str,
        limit: float,
        fixed: float,
        cost: Callable[[str], Floats],
        *,
        macs: bool = True,
    ) -> Constraint:
        """Return a limit on a sum over layers.

        Each term is MACs times a table of (weight bits, activation bits), or the table alone.
        """
        linear, quadratic = np.zeros(self.bare.n), np.zeros((self.bare.n, self.bare.n))
        counts = macs_per_layer(self.table)[:, 0] if macs else np.ones(len(self.names))
        for row, layer in enumerate(self.names):
            table = counts[row] * cost(_kind(layer))
            w, a = self._choices(WEIGHTS, layer), self._choices(ACTIVATIONS, layer)
            if w is None or a is None:
                fixed += float(table[self.end, self.end])
                continue
            part = table[np.ix_(self.bare.choice_bits[w], self.bare.choice_bits[a])]
            quadratic[w, a] += part
            quadratic[a, w] += part.T
        return Constraint(
            name=name,
            resource=name,
            unit=unit,
            limit=limit,
            fixed=fixed,
            linear=linear,
            quadratic=quadratic,
        )


def _kind(layer: str) -> str:
    """Return the kind of a layer, one of ``KINDS``, from its name."""
    return {"stem": "conv", "classifier": "dense"}.get(
        layer, "depthwise" if layer.endswith(".depthwise") else "pointwise"
    )
