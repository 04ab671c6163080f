"""Perturbations of a trained network: effects of single choices, loss of whole allocations.

The choices and allocations are those of an allocation problem.

Rounding is to nearest, without training: the change that allocators are to predict. Weights are
symmetric with the step of least squared error per output channel, or per tensor as in the published
code of CLADO (Deng et al., arXiv:2307.05657); activations have one step per tensor, fitted to
calibration images, and no sign where the tensor is never negative.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from nas_engine.allocation.problem import ACTIVATIONS, WEIGHTS, AllocationProblem, Levels
from nas_engine.datasets.records import Labels, Pixels
from nas_engine.errors import InputError
from nas_engine.quantization.lsq import activation_range, least_error_step, weight_limit
from nas_engine.quantization.prepare import SAMPLE
from nas_engine.training.loop import prepared
from nas_engine.training.steps import Change, Layer
from nas_engine.training.subject import Subject, chunks_of

WEIGHT_RULES = ("per-channel", "per-tensor")
"""How many steps a weight has."""

BASES = ("widest", "float")
"""Reference of changes: every variable at its widest choice (chosen here: it is the network that
would be deployed), or no variable quantised at all (the paper's)."""

CHUNK = 64
"""Images of one pass, few enough for the result of a step to stay in the cache (chosen here)."""

_FLOAT = -1
"""Owner of a tensor that is not quantised."""


class Perturbations:
    """The choices of a problem as changes of a subject.

    Args:
        subject: The network.
        problem: Its variables name layers of the subject.
        images: Byte images that the steps of activations are fitted to, ``(n, H, W, c)``; some
            hundred.
        weight_rule: One of ``WEIGHT_RULES``.
        base: One of ``BASES``.
        fixed: Widths of weights and input, ``(w, a)``, of layers whose weights or inputs the
            problem leaves out; they always hold.
        default_activation_bits: Width of all other inputs that the problem leaves out; ``None``
            leaves them in float.
        chunk: Images of one pass.

    Raises:
        InputError: A layer that the network does not have, or that two variables of one kind name;
            an unknown option.
    """

    def __init__(
        self,
        subject: Subject,
        problem: AllocationProblem,
        images: Pixels,
        *,
        weight_rule: str = WEIGHT_RULES[0],
        base: str = BASES[0],
        fixed: Mapping[str, tuple[int, int]] | None = None,
        default_activation_bits: int | None = None,
        chunk: int = CHUNK,
    ) -> None:
        for what, value, expected in (
            ("weight rule", weight_rule, WEIGHT_RULES),
            ("base", base, BASES),
        ):
            if value not in expected:
                raise InputError(f"{what} is {value!r}; expected one of: {', '.join(expected)}")
        if chunk < 1 or not len(images):
            raise InputError(
                f"{len(images)} calibration images in chunks of {chunk}; expected at least 1 and 1"
            )
        if default_activation_bits is not None and not 2 <= default_activation_bits <= 8:
            raise InputError(
                f"width of other activations is {default_activation_bits}; expected a number from "
                "2 to 8, or none"
            )
        self.subject, self.problem, self.weight_rule, self.base, self.chunk = (
            subject,
            problem,
            weight_rule,
            base,
            chunk,
        )
        self._fixed = dict(fixed or {})
        self._default = default_activation_bits
        self._weights: dict[tuple[str, int], Tensor] = {}
        self._samples: dict[int, Tensor] = {}
        self._negative: dict[int, bool] = {}
        self._quantisers: dict[tuple[int, int], Callable[[Tensor], Tensor]] = {}
        owners = {kind: self._owners(kind) for kind in (WEIGHTS, ACTIVATIONS)}
        self._places: list[list[tuple[Layer, int]]] = [[] for _ in problem.variables]
        """For each variable its layers with the positions where it changes them."""
        self.always = (
            *self._place_weights(owners[WEIGHTS]),
            *self._place_activations(owners[ACTIVATIONS]),
        )
        """Layer, position and width of what the problem leaves out and has a fixed width."""
        self.starts: tuple[int, ...] = tuple(
            min(position for _, position in places) for places in self._places
        )
        """Position of the first step that each variable changes."""
        self._calibrate(images)
        self._reference = {
            position: self._changed(layer, position, bits) for layer, position, bits in self.always
        }
        self._changes: dict[tuple[int, int], dict[int, Change]] = {}
        self.reference: Mapping[int, Change] = self._reference | (
            self.changes(problem.widest) if base == BASES[0] else {}
        )
        """Changes of the network that losses count from."""

    def _owners(self, kind: str) -> dict[str, int]:
        """Return the variable of each layer that has one."""
        found: dict[str, int] = {}
        for index, variable in enumerate(self.problem.variables):
            for name in variable.layers if variable.kind == kind else ():
                self._layer(name)
                if name in found:
                    raise InputError(
                        f"the {kind} of layer '{name}' belong to two variables; expected one"
                    )
                found[name] = index
        for name, widths in self._fixed.items():
            self._layer(name)
            if any(type(width) is not int or not 2 <= width <= 8 for width in widths):
                raise InputError(
                    f"fixed widths of layer '{name}' are {widths}; expected two numbers from 2 to "
                    "8, of weights and input"
                )
        return found

    def _layer(self, name: str) -> Layer:
        if name not in self.subject.layers:
            raise InputError(
                f"the network has no layer '{name}'; expected one of: "
                f"{', '.join(self.subject.layers)}"
            )
        return self.subject.layers[name]

    def _place_weights(self, owners: Mapping[str, int]) -> list[tuple[Layer, int, int]]:
        """Find the layers of each variable.

        Return layer, position and width of those that always have one.
        """
        for name, layer in self.subject.layers.items():
            if name in owners:
                self._places[owners[name]].append((layer, layer.step))
        fixed = {name: bits for name, (bits, _) in self._fixed.items() if name not in owners}
        return [
            (self.subject.layers[name], self.subject.layers[name].step, bits)
            for name, bits in fixed.items()
        ]

    def _place_activations(self, owners: Mapping[str, int]) -> list[tuple[Layer, int, int]]:
        """Find the tensors of each variable.

        Return layer, position and width of those that always have one.

        They are quantised where a tensor is made, for all that read it, unless layers that read it
        may have different widths: then where each reads.
        """
        always: list[tuple[Layer, int, int]] = []
        readers: dict[int, list[Layer]] = {}
        for layer in self.subject.layers.values():
            readers.setdefault(layer.tensor, []).append(layer)

        def owner(layer: Layer) -> tuple[int, int | None]:
            if layer.name in owners:
                return owners[layer.name], None
            return _FLOAT, self._fixed[layer.name][
                1
            ] if layer.name in self._fixed else self._default

        for layers in readers.values():
            together = len({owner(layer) for layer in layers}) == 1
            for layer in layers[:1] if together else layers:
                index, bits = owner(layer)
                position = layer.tensor if together else layer.own_tensor
                if index != _FLOAT:
                    self._places[index].append((layer, position))
                elif bits is not None:
                    always.append((layer, position, bits))
        return always

    @torch.no_grad()
    def _calibrate(self, images: Pixels) -> None:
        """Keep a sample of every tensor that enters a layer, from the float network."""
        tensors = {layer.tensor for layer in self.subject.layers.values()}
        share = SAMPLE // -(-len(images) // self.chunk)
        seen: dict[int, list[Tensor]] = {position: [] for position in tensors}

        def watch(position: int, value: Tensor) -> None:
            if position in tensors:
                values = value.flatten()
                seen[position].append(
                    values[:: max(1, values.numel() // max(share, 1)) | 1].clone()
                )
                self._negative[position] = self._negative.get(position, False) or bool(
                    value.min() < 0
                )

        for _, x in self.chunks(images):
            self.subject.forward(x, watch=watch)
        self._samples = {position: torch.cat(parts).view(1, -1) for position, parts in seen.items()}

    def _weight(self, layer: Layer, bits: int) -> Tensor:
        key = (layer.name, bits)
        if key not in self._weights:
            self._weights[key] = layer.fold(self.rounded_weight(layer, bits))
        return self._weights[key]

    @torch.no_grad()
    def rounded_weight(self, layer: Layer, bits: int) -> Tensor:
        """Return the weight of a layer rounded to a width, before the factors of the batch norm."""
        limit = weight_limit(bits)
        weight = (
            layer.weight if self.weight_rule == WEIGHT_RULES[0] else layer.weight.reshape(1, -1)
        )
        step = least_error_step(weight, -limit, limit)
        return ((weight / step).round_().clamp_(-limit, limit) * step).view_as(layer.weight)

    @torch.no_grad()
    def quantiser(self, tensor: int, bits: int) -> Callable[[Tensor], Tensor]:
        """Return the function that rounds the tensor at a position of the subject to a width."""
        key = (tensor, bits)
        if key not in self._quantisers:
            low, high = activation_range(bits, self._negative[tensor])
            step = float(least_error_step(self._samples[tensor], low, high))

            def quantise(x: Tensor) -> Tensor:
                return (x / step).round_().clamp_(low, high).mul_(step)

            self._quantisers[key] = quantise
        return self._quantisers[key]

    def change(self, variable: int, level: int) -> Mapping[int, Change]:
        """Return what a choice puts in, by position in the subject."""
        key = (variable, level)
        if key not in self._changes:
            bits = self.problem.variables[variable].bits[level]
            self._changes[key] = {
                position: self._changed(layer, position, bits)
                for layer, position in self._places[variable]
            }
        return self._changes[key]

    def _changed(self, layer: Layer, position: int, bits: int) -> Change:
        return (
            self._weight(layer, bits)
            if position == layer.step
            else self.quantiser(layer.tensor, bits)
        )

    def is_reference(self, variable: int, level: int) -> bool:
        """Return whether a choice changes nothing, being that of the reference network."""
        return self.base == BASES[0] and level == len(self.problem.variables[variable].bits) - 1

    def places(self, variable: int) -> tuple[tuple[Layer, int], ...]:
        """Return the layers of a variable with the positions where it changes them.

        Of activations it is one for each tensor.
        """
        return tuple(self._places[variable])

    def changes(self, levels: Levels) -> dict[int, Change]:
        """Return what an allocation puts in, by position; fixed widths hold too."""
        found = dict(self._reference)
        for variable, level in enumerate(levels):
            found.update(self.change(variable, int(level)))
        return found

    def chunks(self, images: Pixels) -> Iterator[tuple[slice, Tensor]]:
        """Yield the position and the network input of each part of the images.

        The images are bytes, ``(N, H, W, c)``; the input is ``(n, c, h, w)``.
        """
        for part in chunks_of(len(images), self.chunk):
            yield part, prepared(images[part], self.subject.shape[1], self.subject.device)

    @torch.no_grad()
    def logits(self, levels: Levels, images: Pixels) -> npt.NDArray[np.float32]:
        """Return the logits ``(N, classes)`` of an allocation for byte images ``(N, H, W, c)``."""
        changes = self.changes(levels)
        return np.concatenate(
            [self.subject.forward(x, changes).cpu().numpy() for _, x in self.chunks(images)]
        )

    @torch.no_grad()
    def evaluate(self, levels: Levels, images: Pixels, labels: Labels) -> tuple[float, float]:
        """Return mean cross-entropy in nats and top-1 accuracy in percent of an allocation."""
        logits = torch.from_numpy(self.logits(levels, images))
        truth = torch.tensor(np.asarray(labels, np.int64))
        loss = functional.cross_entropy(logits.double(), truth)
        return float(loss), 100.0 * float((logits.argmax(1) == truth).double().mean())

    def fingerprint(self, images: Pixels, labels: Labels) -> dict[str, str]:
        """Return what a measurement depends on, by what a message calls it."""
        weights = hashlib.sha256()
        for layer in self.subject.layers.values():
            for tensor in (layer.weight, layer.scale, layer.bias):
                weights.update(
                    b"" if tensor is None else tensor.detach().cpu().contiguous().numpy().tobytes()
                )
        steps = hashlib.sha256()
        for position in sorted(self._samples):
            steps.update(self._samples[position].cpu().numpy().tobytes())
        data = zlib.crc32(
            np.asarray(labels, np.int64).tobytes(),
            zlib.crc32(np.ascontiguousarray(images).tobytes()),
        )
        options = (
            f"{self.weight_rule}, {self.base}, {sorted(self._fixed.items())}, {self._default}, "
            f"{self.chunk}"
        )
        return {
            "network": weights.hexdigest(),
            "problem": self.problem.fingerprint,
            "calibration images": steps.hexdigest(),
            "images": f"{len(images)} {data:08x}",
            "options": options,
        }
