"""Allocation problem of a searched network on its device.

SRAM and Flash to the byte, and the limits of the search.

Free are the widths that the search was free to choose: those of all layers but stem and classifier,
one per layer or one per unit as the space ties them, and one for two layers that take the same
tensor. Peak SRAM is a maximum over the
rows of the schedule (``nas_engine.costs.schedule``); each of them is one linear constraint, so the
constraints allow what the memory plan then finds, and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product

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
from nas_engine.block_kinds import PLACES, BlockLayer
from nas_engine.costs.flash import fixed_flash, weight_bytes
from nas_engine.costs.memory import share
from nas_engine.costs.plan import live_per_layer
from nas_engine.costs.schedule import (
    JOINED,
    Row,
    Rows,
    bit_costs,
    joined_costs,
    joins,
    largest_rows,
    of_block,
    stem_rows,
    takes,
    term_sizes,
    terms_of,
    ways_of,
)
from nas_engine.costs.sram import head_out_bits
from nas_engine.costs.tensors import LAYER_WIDTHS, TENSORS, BitCosts, Width
from nas_engine.encoding import GeneView, architecture_frame, decode, encode, layer_rows
from nas_engine.errors import InputError
from nas_engine.evolution.limits import LIMITS, Limit
from nas_engine.evolution.problem import SearchProblem
from nas_engine.layers import KINDS, LayerTable, macs_per_layer, unroll
from nas_engine.names import Memory, Schedule
from nas_engine.network.from_architecture import graph_of

SRAM, FLASH = "peak SRAM", "Flash"
"""The two resources of a device."""


def device_problem(search: SearchProblem, architecture: Architecture) -> AllocationProblem:
    """Return the problem of choosing a network's widths within the limits of its search.

    The limits include the budgets.

    Activations keep the network's own widths where those fit by chains of blocks alone, which the
    schedules of blocks do not count.

    Args:
        search: Budgets, device rules and space that the network was searched with.
        architecture: A network of that space. Its own widths choose schedules, are those around
            which limits on time are sums, and stay where it fits in chains alone.
    """
    problem = _Builder(search, architecture).problem()
    if _fits_in_chains(search, architecture, problem):
        return _Builder(search, architecture, keep_activations=True).problem()
    return problem


def _fits_in_chains(
    search: SearchProblem, architecture: Architecture, problem: AllocationProblem
) -> bool:
    """Return whether a network's own widths fit its memory plan, but not the sums of a problem."""
    if search.memory_model != Memory.ARENA or architecture.schedule == "layers":
        return False
    try:
        costs = problem.costs(levels_of(problem, architecture))
    except InputError:
        return False
    over = any(
        one.resource == SRAM and cost > one.limit
        for one, cost in zip(problem.constraints, costs, strict=True)
    )
    return over and max(live_per_layer(architecture)) <= search.arena_bytes


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
    rows = dict(zip(architecture.layer_names(), layer_rows(frame, architecture), strict=True))
    for variable, width in zip(problem.variables, problem.bits(levels), strict=True):
        target = view.w_bits if variable.kind == WEIGHTS else view.a_bits
        target[[rows[layer] for layer in variable.layers], 0] = width
    return decode(frame, genes[:, 0])


class _Builder:
    """Variables of one network, and its constraints as sums over them."""

    def __init__(
        self, search: SearchProblem, architecture: Architecture, *, keep_activations: bool = False
    ) -> None:
        frame = architecture_frame(architecture)
        self.search, self.architecture = search, architecture
        self.keep_activations = keep_activations
        self.table: LayerTable = unroll(frame, encode(frame, [architecture]))
        self.names = architecture.layer_names()
        self.rows = layer_rows(frame, architecture)
        graph = graph_of(architecture)
        self.inputs = {node.name: node.input for node in graph.layers}
        self.elements = {tensor.name: tensor.elements for tensor in graph.tensors}
        self.end = search.space.end_bits
        self.units = list(_units(architecture))
        self.kinds = {"stem": "conv", "classifier": "dense", "head": "pointwise"}
        for unit in self.units:
            self.kinds |= {name: layer.kind for name, layer in unit.layers}
        self.bare = AllocationProblem(self._variables())
        self.variable_of = {
            (variable.kind, layer): index
            for index, variable in enumerate(self.bare.variables)
            for layer in variable.layers
        }

    def problem(self) -> AllocationProblem:
        search = self.search
        limits = (self._limit(name, limit) for name, limit in search.most_predicted.items())
        constraints = [self._flash(), *self._sram(), *filter(None, limits)]
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
        weights = dict(zip(self.names, self.table.weights[self.rows, 0], strict=True))
        own = dict(zip(self.names, self.architecture.layer_bits(), strict=True))
        for kind, options in (
            (WEIGHTS, self.search.weight_options),
            (ACTIVATIONS, self.search.activation_options),
        ):
            kept = self.keep_activations and kind == ACTIVATIONS
            for name, layers in self._groups(kind):
                if kind == WEIGHTS:
                    count = sum(weights[layer] for layer in layers)
                else:
                    count = sum(self.elements[t] for t in {self.inputs[layer] for layer in layers})
                yield Variable(
                    name=f"{name} {kind}",
                    kind=kind,
                    layers=layers,
                    bits=(own[layers[0]].a,) if kept else options,
                    elements=int(count),
                )

    def _groups(self, kind: str) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Yield name and layers of each width of a kind that is free."""
        for unit in self.units:
            layers = tuple(name for name, _ in unit.layers)
            entering = tuple(name for name, layer in unit.layers if layer.reads_input)
            if self.search.space.tie_block_bits:
                yield unit.name, layers
            elif kind == ACTIVATIONS and len(entering) > 1:
                yield f"{unit.name}.input", entering
                yield from ((name, (name,)) for name in layers if name not in entering)
            else:
                yield from ((name, (name,)) for name in layers)
        if self.architecture.head is not None:
            yield "head", ("head",)

    def _choices(self, kind: str, layer: str) -> slice | None:
        """Return the positions of a layer's choices, ``None`` where its width is fixed."""
        index = self.variable_of.get((kind, layer))
        if index is None:
            return None
        return slice(
            int(self.bare.first[index]), int(self.bare.first[index] + self.bare.counts[index])
        )

    def _flash(self) -> Constraint:
        model, linear = self.search.model, np.zeros(self.bare.n)
        fixed = float(fixed_flash(model, self.table)[0])
        for layer, count in zip(self.names, self.table.weights[self.rows, 0], strict=True):
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
        """Yield the terms of the peak: one per row of each block's schedule.

        Where a block may run in several ways it has the one that needs the least at the widest
        activations, that by layers if its own sum is wider than its input: whatever fits it fits
        the memory plan. Where activations have no choice, it is the bytes of the memory plan
        itself, which may have chains.
        """
        chosen = {v.bits for v in self.bare.variables if v.kind == ACTIVATIONS}
        if self.search.memory_model == Memory.ARENA and all(len(bits) == 1 for bits in chosen):
            first = np.zeros(len(self.bare.variables), np.intp)
            network = with_levels(self.bare, self.architecture, first)
            live = dict(zip(self.names, live_per_layer(network), strict=True))
            most = max(live, key=live.__getitem__)
            yield Constraint(
                name=f"{SRAM} at {most}",
                resource=SRAM,
                unit="B",
                limit=self.search.arena_bytes,
                fixed=float(live[most]),
                linear=np.zeros(self.bare.n),
            )
            return
        for block in self._blocks():
            layer_of = dict(zip(LAYER_WIDTHS, map(block.places.get, range(PLACES)), strict=True))
            layer_of |= {"a": block.entering, "next": block.following}
            steps = {row.step for row in block.rows}
            for row in block.rows:
                if len(steps) == 1:  # all steps at once
                    yield self._peak(row, next(iter(block.places.values())), layer_of, block.costs)
                elif row.step in block.places:  # those of a layer that is not there are of others
                    yield self._peak(row, block.places[row.step], layer_of, block.costs)
            yield from self._sums(block)

    def _blocks(self) -> Iterator[_Placed]:
        """Yield stem, units, head and classifier with their schedules, first to last."""
        model, table = self.search.model, self.table
        costs, schedule = bit_costs(model, table), table.frame.schedule
        entering = [
            next(name for name, layer in unit.layers if layer.reads_input) for unit in self.units
        ]
        own = dict(zip(self.names, self.architecture.layer_bits(), strict=True))
        behind = "head" if table.frame.has_head else "classifier"
        widths = [own[name].a for name in (*entering, behind)]
        blocks = [
            _Placed(rows=stem_rows(model, table), costs=costs, places={0: "stem"}, entering="stem")
        ]
        for index, unit in enumerate(self.units):
            ways = ways_of(model, unit.kind, schedule)
            part = of_block(costs, tuple(ways.values()), index)
            rows = self._taken(ways, part, widens=widths[index + 1] > widths[index])
            blocks.append(
                _Placed(rows=rows, costs=part, places=unit.places, entering=entering[index])
            )
        if joins(model, table):
            rows = JOINED[self.units[0].kind][table.frame.image]
            part = of_block(joined_costs(table), (rows,), 0)
            apart = max(self._at_widest(one.rows, one.costs) for one in blocks[:2])
            outgrows = widths[1] > widths[0] and _adds(rows, part)
            if self._at_widest(rows, part) < apart and not outgrows:
                blocks[:2] = [replace(blocks[1], rows=rows, costs=part)]
        places = {0: "head", 1: "classifier"} if table.frame.class_count else {0: "head"}
        if not table.frame.has_head:
            places = {0: "classifier"}
        kind = "head" if table.frame.has_head else "pool"
        rows = self._taken(ways_of(model, kind, schedule), costs)
        blocks.append(_Placed(rows=rows, costs=costs, places=places, entering=behind))
        if table.frame.class_count:
            dense = ways_of(model, "classifier", schedule)["layers"]
            places = {0: "classifier"}
            blocks.append(_Placed(rows=dense, costs=costs, places=places, entering="classifier"))
        for block, after in zip(blocks, [*blocks[1:], None], strict=True):
            yield replace(block, following=after.entering if after else None)

    def _taken(
        self, ways: Mapping[Schedule, Rows], costs: BitCosts, *, widens: bool = False
    ) -> Rows:
        """Return the schedule that a block takes: by layers where a sum outgrows its shortcut."""
        if "rows" not in ways:
            return ways["layers"]
        by_rows, by_layers = (self._at_widest(ways[way], costs) for way in ("rows", "layers"))
        if widens and _adds(ways["rows"], costs):
            return ways["layers"]
        rows = takes(self.table.frame.schedule, by_rows, by_layers)
        return ways["rows" if rows else "layers"]

    def _at_widest(self, rows: Rows, costs: BitCosts) -> float:
        """Return the granules of a schedule where all activations have the widest option."""
        widest = share(self.search.model, float(self.search.activation_options[-1]))
        widths: dict[Width, float] = dict.fromkeys((*LAYER_WIDTHS, "next"), widest)
        sizes = term_sizes(self.search.model, terms_of((rows,)), costs, widths)
        return max(float(np.ravel(live)[0]) for live in largest_rows(rows, sizes))

    def _sums(self, block: _Placed) -> Iterator[Constraint]:
        """Yield the limit on a sum that is written over its shortcut: it is not wider."""
        if not _adds(block.rows, block.costs):
            return
        at, following = (
            self._choices(ACTIVATIONS, layer) if layer else None
            for layer in (block.entering, block.following)
        )
        if at is None:
            return
        linear, quadratic = np.zeros(self.bare.n), np.zeros((self.bare.n, self.bare.n))
        if following is None:  # the classifier's own width
            linear[at] = self.end > self.bare.choice_bits[at]
        else:
            wider = self.bare.choice_bits[following] > self.bare.choice_bits[at][:, None]
            quadratic[at, following] = wider
            quadratic[following, at] = wider.T
        name = f"sum wider than its shortcut at {block.entering}"
        yield Constraint(
            name=name,
            resource=name,
            unit="",
            limit=0.0,
            fixed=0.0,
            linear=linear,
            quadratic=quadratic,
        )

    def _peak(
        self, row: Row, step: str, layer_of: Mapping[Width, str | None], costs: BitCosts
    ) -> Constraint:
        """Return the limit on the tensors of a row.

        Args:
            row: A row of the block's schedule.
            step: Name of the layer at which they live.
            layer_of: Layer whose input has each width.
            costs: Elements of its tensors.
        """
        model, linear = self.search.model, np.zeros(self.bare.n)
        # all widths 0 to 8 of every tensor at once; those that are not free have one width
        shares = dict.fromkeys(layer_of, share(model, np.arange(9.0)))
        fixed = 0.0
        for term, sizes in term_sizes(model, row.terms, costs, shares).items():
            layer = layer_of.get(TENSORS[term].width)
            at = self._choices(ACTIVATIONS, layer) if layer else None
            if at is not None:
                linear[at] += sizes[self.bare.choice_bits[at]] * model.granule
            elif TENSORS[term].width in layer_of:
                fixed += float(sizes[head_out_bits(self.table, self.end)])
            else:
                fixed += float(np.ravel(sizes)[0])
        return Constraint(
            name=f"{SRAM} at {step}",
            resource=SRAM,
            unit="B",
            limit=self.search.arena_bytes,
            fixed=fixed * model.granule,
            linear=linear,
        )

    def _limit(self, name: str, limit: float) -> Constraint | None:
        """Return a limit of the search, ``None`` for one that widths have no part in."""
        search, row = self.search, next(row for row in LIMITS if row.name == name)
        if name == "bitops":
            products = np.outer(np.arange(9.0), np.arange(9.0))
            fixed = float(search.model.extra_bitops(self.table)[0])
            return self._pairs(row.title, "", limit, fixed, lambda kind: products)
        if name == "cycles" and search.cycle_model is None:
            costs = {kind: np.nan_to_num(search.cycles_per_mac[kind]) for kind in KINDS}
            return self._pairs(row.title, "", limit, 0.0, costs.__getitem__)
        found = self._differences(row, limit)
        assert found.quadratic is not None
        return found if found.linear.any() or found.quadratic.any() else None

    def _differences(self, row: Limit, limit: float) -> Constraint:
        """Return a limit on what a search counts, from differences of it.

        Those of widths alone and of pairs of widths that meet in a layer: of its weights and its
        input, of its input and its output, of a sum and what is added. Differences are from the
        network's own widths; far from them they leave out that tiles grow with the memory that
        other layers leave free (``allocation.tightening``).
        """
        counting = self.search.counting
        changes: list[tuple[int, ...]] = [(), *((choice,) for choice in range(self.bare.n))]
        pairs = sorted(self._meeting())
        choices = [
            range(first, first + count)
            for first, count in zip(self.bare.first, self.bare.counts, strict=True)
        ]
        changes += [both for i, j in pairs for both in product(choices[i], choices[j])]
        frame = self.table.frame
        own_levels = self._own_levels()
        genes = encode(frame, [with_levels(self.bare, self.architecture, own_levels)])
        genes = np.repeat(genes, len(changes), axis=1)
        view, position = GeneView(frame, genes), dict(zip(self.names, self.rows, strict=True))
        of_choice = np.repeat(np.arange(len(choices)), self.bare.counts)
        for column, change in enumerate(changes):
            for choice in change:
                variable = self.bare.variables[of_choice[choice]]
                bits = view.w_bits if variable.kind == WEIGHTS else view.a_bits
                for layer in variable.layers:
                    bits[position[layer], column] = self.bare.choice_bits[choice]
        found = row.cost(counting, unroll(frame, genes), view)
        fixed, linear = float(found[0]), found[1 : 1 + self.bare.n] - found[0]
        quadratic = np.zeros((self.bare.n, self.bare.n))
        at = 1 + self.bare.n
        for i, j in pairs:
            one, other = choices[i], choices[j]
            both = found[at : at + len(one) * len(other)].reshape(len(one), len(other))
            at += both.size
            more = both - found[0] - linear[one, None] - linear[other]
            least = float(more.min())
            quadratic[np.ix_(one, other)] = more - least
            quadratic[np.ix_(other, one)] = (more - least).T
            fixed += least
        for own in choices:
            least = float(linear[own].min())
            linear[own] -= least
            fixed += least
        return Constraint(
            name=row.title,
            resource=row.title,
            unit="",
            limit=limit,
            fixed=fixed,
            linear=linear,
            quadratic=quadratic,
        )

    def _own_levels(self) -> Levels:
        """Return the network's own widths, the widest where the device does not allow them."""
        try:
            return levels_of(self.bare, self.architecture)
        except InputError:
            return self.bare.widest

    def _meeting(self) -> set[tuple[int, int]]:
        """Return the pairs of variables that meet in a layer, the first one first."""
        graph, found = graph_of(self.architecture), set[tuple[int, int]]()
        reader = {node.input: node.name for node in graph.layers}
        for node in graph.layers:  # a layer in a shortcut is as wide as the sum
            if node.shortcut is not None and node.shortcut not in reader:
                reader[node.shortcut] = reader.get(node.output, node.name)
        for node in graph.layers:
            own = self.variable_of.get((WEIGHTS, node.name))
            names = [node.name, reader.get(node.output)]
            names.append(reader.get(node.shortcut) if node.shortcut else None)
            source, target, added = (
                None if name is None else self.variable_of.get((ACTIVATIONS, name))
                for name in names
            )
            for one, other in ((own, source), (source, target), (target, added)):
                if one is not None and other is not None and one != other:
                    found.add((min(one, other), max(one, other)))
        return found

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
        counts = macs_per_layer(self.table)[self.rows, 0] if macs else np.ones(len(self.names))
        for row, layer in enumerate(self.names):
            table = counts[row] * cost(self.kinds[layer])
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


def _adds(rows: Rows, costs: BitCosts) -> bool:
    """Return whether a block under a schedule writes a sum over its input."""
    added = [costs[term].added for term in terms_of((rows,))]
    return any(mask is not None and bool(mask.any()) for mask in added)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Placed:
    """A block with the schedule that it takes."""

    rows: Rows
    costs: BitCosts
    places: dict[int, str]
    """Names of the layers at its steps."""
    entering: str
    """Name of the layer that takes its input."""
    following: str | None = None
    """That of the block behind it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Unit:
    name: str
    kind: str
    places: dict[int, str]
    """Names of its layers by their places."""
    layers: tuple[tuple[str, BlockLayer], ...]
    """Names and rows of its layers, in the order in which they run."""


def _units(architecture: Architecture) -> Iterator[_Unit]:
    for stage, block in enumerate(architecture.blocks, 1):
        for index in range(block.depth):
            name = f"s{stage}.b{index + 1}"
            layers = block.unit_layers(index)
            yield _Unit(
                name=name,
                kind=block.kind,
                places={place: f"{name}.{layer.name}" for place, layer in layers},
                layers=tuple((f"{name}.{layer.name}", layer) for _, layer in layers),
            )
