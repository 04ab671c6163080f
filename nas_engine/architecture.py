"""Architecture: one network of stem, blocks and head with its bits, and its YAML file. Immutable.

Two notations are read: YAML of this project (exact round trip) and the structure literals that the
authors of QE-Score publish (a Python or JSON list of ``ConvKXBNRELU`` and ``SuperQuantResK1DWK1``
blocks, alone or under the key ``structure`` or ``best_structures``).
"""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from nas_engine.block_kinds import BLOCK_KINDS, INVERTED_RESIDUAL, BlockKind, BlockLayer
from nas_engine.errors import FileFormatError, InputError, UnknownNameError
from nas_engine.names import IMAGE_INPUTS, SCHEDULES, ImageInput, Schedule
from nas_engine.records import Count, read
from nas_engine.sealed import Seal, check_seal, warn
from nas_engine.strict_yaml import Fields, parse_mapping, read_checked

FORMAT = "nas-search/architecture/1"
"""First key of an architecture file; the number changes when the meaning of a key does."""

NONE = "none"
"""Value of ``head:`` and ``classifier:`` where there is none."""

MAX_CHANNELS = 8192
"""Widest layer accepted; far beyond any microcontroller, it keeps every size below 2**53 and so
exact in float64."""

_BITS = re.compile(r"w([2-8])a([2-8])")
_RANGES = {
    "kernel": (1, 7),
    "stride": (1, 2),
    "channels": (1, MAX_CHANNELS),
    "resolution": (1, 1024),
    "bits": (2, 8),
}


def _check(what: str, kind: str, value: int) -> None:
    low, high = _RANGES[kind]
    if type(value) is not int or not low <= value <= high or (kind == "kernel" and value % 2 == 0):
        raise InputError(
            f"{what} is {value!r}; expected {'an odd' if kind == 'kernel' else 'a whole'} number "
            f"from {low} to {high}"
        )


@dataclass(frozen=True, slots=True)
class Bits:
    """Widths of one convolution: its weights, and the activations that enter it.

    Written ``w4a8``.
    """

    w: int
    """Weight bits, 2 to 8."""
    a: int
    """Input activation bits, 2 to 8."""

    def __post_init__(self) -> None:
        _check("weight bits", "bits", self.w)
        _check("activation bits", "bits", self.a)

    def __str__(self) -> str:
        return f"w{self.w}a{self.a}"

    @staticmethod
    def parse(text: object) -> Bits:
        """Return the widths a text such as ``"w4a8"`` names.

        Raises:
            InputError: Anything else.
        """
        match = _BITS.fullmatch(str(text))
        if match is None:
            raise InputError(
                f"bits are {text!r}; expected w2a2 to w8a8, such as w4a8 (4-bit weights, 8-bit "
                "input)"
            )
        return Bits(int(match[1]), int(match[2]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Convolution:
    """The stem or the head: one convolution with its bits."""

    kernel: int
    """Height and width of the kernel, odd."""
    stride: int
    """1 or 2."""
    channels: int
    """Output channels."""
    bits: Bits
    """Widths of weights and input."""

    def __post_init__(self) -> None:
        _check("kernel", "kernel", self.kernel)
        _check("stride", "stride", self.stride)
        _check("channels", "channels", self.channels)


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One row of the network's table: units of one kind that share their sizes.

    Raises:
        InputError: Values that no block can have.
    """

    kind: str = INVERTED_RESIDUAL
    """Kind of its units, a name of ``nas_engine.block_kinds``."""
    kernel: int
    """Kernel size of its layers that are not 1x1."""
    stride: int
    """Stride of the first unit; the others have 1."""
    bottleneck: int = 0
    """Channels between the last two layers of a unit; 0 for a kind where they follow from the
    others."""
    channels: int
    """Output channels."""
    bits: tuple[tuple[Bits, ...], ...]
    """One row per unit, at least one: widths of its layers in order (inverted residual: expand,
    depth-wise, project). A 1x1 shortcut comes between the two convolutions of a residual, where
    the unit has one."""

    def __post_init__(self) -> None:
        if self.kind not in BLOCK_KINDS:
            raise UnknownNameError("block kind", self.kind, BLOCK_KINDS)
        _check("kernel", "kernel", self.kernel)
        _check("stride", "stride", self.stride)
        _check("channels", "channels", self.channels)
        kind = self.row
        if kind.has_bottleneck and self.bottleneck == 0:
            raise InputError(
                f"bottleneck is 0, or is missing; add it, a whole number from 1 to {MAX_CHANNELS:,}"
            )
        if kind.has_bottleneck:
            _check("bottleneck", "channels", self.bottleneck)
        elif self.bottleneck:
            raise InputError(
                f"bottleneck is {self.bottleneck!r}; a block of kind '{self.kind}' has none, leave "
                "it out"
            )
        if not self.bits:
            raise InputError(f"bits of a block: {self._expected(reshapes=True)}")
        for unit, row in enumerate(self.bits):
            least, most = (len(kind.rows(reshapes=it)) for it in (False, unit == 0))
            if not least <= len(row) <= most:
                raise InputError(f"bits of a block: {self._expected(reshapes=unit == 0)}")
            if len({bits.a for bits, layer in self._layers(row) if layer.reads_input}) > 1:
                names = " and ".join(layer.name for _, layer in self._layers(row)[:2])
                raise InputError(
                    f"bits of a block: {names} read the same input at "
                    f"{' and '.join(f'a{bits.a}' for bits in row[:2])}; expected equal"
                )

    def _expected(self, *, reshapes: bool) -> str:
        layers = [layer for _, layer in self.row.rows(reshapes=reshapes)]
        words = {2: "two", 3: "three"}
        few = len(self.row.rows(reshapes=False))
        count = words[few] if few == len(layers) else f"{words[few]} or {words[len(layers)]}"
        return (
            f"expected at least one row of {count} ({', '.join(layer.title for layer in layers)})"
        )

    def _layers(self, row: tuple[Bits, ...]) -> list[tuple[Bits, BlockLayer]]:
        reshapes = len(row) > len(self.row.rows(reshapes=False))
        return [
            (bits, layer)
            for bits, (_, layer) in zip(row, self.row.rows(reshapes=reshapes), strict=True)
        ]

    @property
    def row(self) -> BlockKind:
        """Row of the table of block kinds."""
        return BLOCK_KINDS[self.kind]

    @property
    def depth(self) -> int:
        """Number of units."""
        return len(self.bits)

    def unit_layers(self, unit: int) -> tuple[tuple[int, BlockLayer], ...]:
        """Return place and layer of each layer of one unit, counted from 0."""
        least = len(self.row.rows(reshapes=False))
        return self.row.rows(reshapes=len(self.bits[unit]) > least)


@dataclass(frozen=True, slots=True, kw_only=True)
class Classifier:
    """Global average pool and dense layer at the end."""

    KEYS: ClassVar[Mapping[str, str]] = {"class_count": "classes"}

    class_count: int
    """Number of outputs."""
    bits: Bits
    """Widths of the weights and of the pooled vector (and so of the head's output)."""

    def __post_init__(self) -> None:
        if type(self.class_count) is not int or not 1 <= self.class_count <= 65536:
            raise InputError(
                f"classes is {self.class_count!r}; expected a whole number from 1 to 65,536"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """A whole network: stem, blocks, head, and a classifier unless its authors count none.

    Raises:
        InputError: Values that no network can have.

    Example:
        >>> w8a8 = Bits(8, 8)
        >>> bits = ((Bits(4, 8), w8a8, w8a8),)
        >>> block = Block(kernel=3, stride=2, bottleneck=48, channels=24, bits=bits)
        >>> stem = Convolution(kernel=3, stride=2, channels=16, bits=w8a8)
        >>> head = Convolution(kernel=1, stride=1, channels=64, bits=w8a8)
        >>> classifier = Classifier(class_count=2, bits=w8a8)
        >>> network = Architecture(
        ...     resolution=96, stem=stem, blocks=(block,), head=head, classifier=classifier
        ... )
        >>> parse_architecture(dump_architecture(network)) == network
        True
    """

    KEYS: ClassVar[Mapping[str, str]] = {"image": "input"}

    resolution: int
    """Height and width of the input image in pixels."""
    input_channels: int = 3
    """Channels of the input image."""
    stem: Convolution
    """First convolution."""
    blocks: tuple[Block, ...]
    """Blocks from input to output, at least one."""
    head: Convolution | None
    """Last 1x1 convolution, stride 1; ``None`` where the last block is pooled, as in ResNets."""
    classifier: Classifier | None
    """Classifier, or ``None``: the authors' structures have none, so none is counted."""
    pooled_shortcut: bool = False
    """True if a stride-2 residual with equal channels has a shortcut through a 2x2 average pool
    (the authors' code)."""
    schedule: Schedule = "layers"
    """How it runs; SRAM follows from it, no value does."""
    image: ImageInput = "whole"
    """How its image comes; key ``input`` of files."""
    room: Count | None = None
    """Bytes that its arena may take under schedule ``auto``, which then runs as few units by rows
    as fit; ``None`` for the smallest arena."""

    def __post_init__(self) -> None:
        _check("resolution", "resolution", self.resolution)
        _check("input_channels", "channels", self.input_channels)
        if self.schedule not in SCHEDULES:
            raise UnknownNameError("schedule", self.schedule, SCHEDULES)
        if self.image not in IMAGE_INPUTS:
            raise UnknownNameError("input", self.image, IMAGE_INPUTS)
        if self.room is not None and (type(self.room) is not int or self.room < 1):
            raise InputError(f"room is {self.room!r}; expected a number of bytes, such as 61440")
        if not self.blocks:
            raise InputError("blocks is empty; expected at least one block")
        if self.head is None and self.classifier is None:
            raise InputError(
                "has neither head nor classifier; add one, such as 'classifier: {classes: 10, "
                "bits: w8a8}'"
            )
        if self.head is not None and (self.head.kernel, self.head.stride) != (1, 1):
            raise InputError(
                f"the head is {self.head.kernel}x{self.head.kernel} with stride "
                f"{self.head.stride}; expected 1x1 with stride 1"
            )
        channels = self.stem.channels
        for stage, block in enumerate(self.blocks, 1):
            reshapes = channels != block.channels or block.stride > 1
            if len(block.bits[0]) != len(block.row.rows(reshapes=reshapes)):
                layers = ", ".join(layer.name for _, layer in block.row.rows(reshapes=reshapes))
                raise InputError(
                    f"block {stage}: the first row of its bits has {len(block.bits[0])} widths; "
                    f"from {channels} to {block.channels} channels with stride {block.stride} a "
                    f"'{block.kind}' has the layers {layers}"
                )
            channels = block.channels

    def at_resolution(self, resolution: int) -> Architecture:
        """Return the same network for another input size."""
        return replace(self, resolution=resolution)

    @property
    def feature_channels(self) -> int:
        """Channels behind its last convolution, which are pooled for the classifier."""
        return self.blocks[-1].channels if self.head is None else self.head.channels

    @property
    def _ends(self) -> tuple[tuple[str, Bits], ...]:
        """Names and widths of the layers behind the blocks, in order."""
        ends = (("head", self.head), ("classifier", self.classifier))
        return tuple((name, layer.bits) for name, layer in ends if layer is not None)

    def layer_names(self) -> tuple[str, ...]:
        """Return the name of each layer in order: ``stem``, ``s1.b1.expand`` ...

        Then ``head`` and ``classifier``, whichever there is.
        """
        names = ["stem"]
        for stage, block in enumerate(self.blocks, 1):
            names += [
                f"s{stage}.b{unit + 1}.{layer.name}"
                for unit in range(block.depth)
                for _, layer in block.unit_layers(unit)
            ]
        return (*names, *(name for name, _ in self._ends))

    def layer_bits(self) -> tuple[Bits, ...]:
        """Return the widths of each layer, in the order of ``layer_names``."""
        inner = [bits for block in self.blocks for row in block.bits for bits in row]
        return (self.stem.bits, *inner, *(bits for _, bits in self._ends))


def dump_architecture(architecture: Architecture) -> str:
    """Return the YAML text of a network; ``parse_architecture`` reads back an equal object."""

    def convolution(name: str, conv: Convolution) -> str:
        return (
            f"{name}: {{kernel: {conv.kernel}, stride: {conv.stride}, channels: {conv.channels}, "
            f"bits: {conv.bits}}}"
        )

    lines = [
        *(_bits_note(kind) for kind in dict.fromkeys(block.kind for block in architecture.blocks)),
        f"format: {FORMAT}",
        f"resolution: {architecture.resolution}",
        f"input_channels: {architecture.input_channels}",
        f"pooled_shortcut: {str(architecture.pooled_shortcut).lower()}",
        convolution("stem", architecture.stem),
        *_differing("schedule", architecture.schedule, "layers"),
        *_differing("input", architecture.image, "whole"),
        *_differing("room", architecture.room, None),
        "blocks:",
    ]
    for block in architecture.blocks:
        keys: dict[str, object] = {"kind": block.kind} if block.kind != INVERTED_RESIDUAL else {}
        keys |= {"kernel": block.kernel, "stride": block.stride}
        keys |= {"bottleneck": block.bottleneck} if block.bottleneck else {}
        keys |= {"channels": block.channels}
        lines += [f"{'  ' if i else '- '}{key}: {keys[key]}" for i, key in enumerate(keys)]
        lines += ["  bits:", *(f"  - [{', '.join(map(str, row))}]" for row in block.bits)]
    head, last = architecture.head, architecture.classifier
    lines.append(convolution("head", head) if head else f"head: {NONE}")
    lines.append(
        f"classifier: {f'{{classes: {last.class_count}, bits: {last.bits}}}' if last else NONE}"
    )
    return "\n".join(lines) + "\n"


def _differing(key: str, value: object, default: object) -> tuple[str, ...]:
    """Return the line of a key whose value a file need not say, none if it has that value."""
    return () if value == default else (f"{key}: {value}",)


def _bits_note(name: str) -> str:
    """Return the comment that says what the rows of a block's bits are."""
    every, most = (
        ", ".join(layer.title for _, layer in BLOCK_KINDS[name].rows(reshapes=reshapes))
        for reshapes in (False, True)
    )
    block, unit = (
        ("a block", "inverted residual")
        if name == INVERTED_RESIDUAL
        else (f"a {name} block", "unit")
    )
    where = f" (where the shape changes: {most})" if most != every else ""
    return (
        f"# Bits are wXaY: X-bit weights, Y-bit input. Rows of {block}'s bits: {every}{where}; one "
        f"row per {unit}."
    )


def read_architecture(path: str | os.PathLike[str], mends: str | None = None) -> Architecture:
    """Return the network of a file, in YAML or as a published structure literal.

    Args:
        path: The file.
        mends: The command that writes it anew, for a file of a run directory: what does not fit its
            digest is refused. ``None`` for a file that was given by its path: it is taken, with a
            ``ChangedFileWarning``; likewise YAML that does not say whether there is a
            classifier, because the beginning of a file does not either.

    Raises:
        UnreadableError: Missing, or the operating system refuses.
        FileFormatError: Cut off, an unknown key, a value out of range; names the key. Content that
            does not fit its digest.
    """
    return read_checked(path, mends, lambda text: _parsed(text, path, given=mends is None))


def _parsed(text: str, path: object, *, given: bool) -> Architecture:
    network = parse_architecture(text, path)
    if (
        given
        and check_seal(text) is Seal.MISSING
        and FORMAT in text
        and not re.search(r"\bclassifier\b", text)
    ):
        warn(
            path,
            "has no key 'classifier' (is it cut off?); taken as a network without one, which is "
            "written 'classifier: none'",
        )
    return network


def parse_architecture(text: str, path: object = "architecture") -> Architecture:
    """Return the network that a text describes; ``path`` only serves the messages.

    Raises:
        FileFormatError: As in ``read_architecture``.
    """
    literal = _parse_literal(text, path) if text.lstrip()[:1] in ("[", "{", "(") else None
    try:
        return (
            _from_literal(literal)
            if literal is not None
            else _from_yaml(Fields(parse_mapping(text, path), path))
        )
    except FileFormatError:
        raise
    except InputError as error:
        raise FileFormatError(path, str(error)) from error


def _from_yaml(fields: Fields) -> Architecture:
    if (found := fields.take("format", None)) != FORMAT:
        raise fields.error(
            "format",
            f"is {found!r}; expected '{FORMAT}' (an architecture file, as best.yaml in a run "
            "directory)",
        )
    values = {key: fields.take(key) for key in fields}
    fields.take("head")
    for end, missing in (("head", None), ("classifier", NONE)):
        if values.get(end, missing) is None:
            raise fields.error(
                end,
                f"holds nothing (is the file cut off?); write '{NONE}' for a network without one",
            )
        if values.get(end) == NONE:
            del values[end]
    return read(Architecture, Fields(values, fields.path), "format", defaults=True)


def _parse_literal(text: str, path: object) -> Any:
    if text.lstrip()[0] == "{" and re.match(r"\s*\{\s*[a-z]\w*\s*:", text):
        return None  # YAML in flow style: keys without quotes
    plain = re.sub(
        r"\b(null|true|false|inf|NaN)\b",
        lambda m: {"true": "True", "false": "False"}.get(m[1], "None"),
        text,
    )
    try:
        return ast.literal_eval(plain.strip())
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as error:
        raise FileFormatError(
            path, "is neither an architecture file nor a structure literal (is it cut off?)"
        ) from error


def _from_literal(literal: Any) -> Architecture:
    resolution = 224
    if isinstance(literal, dict):
        resolution = literal.get("resolution", resolution)
        structures = literal.get("best_structures")
        literal = literal.get(
            "structure", structures[0] if isinstance(structures, Sequence) and structures else None
        )
    if (
        not isinstance(literal, Sequence)
        or len(literal) < 3
        or not all(isinstance(part, dict) for part in literal)
    ):
        raise InputError(
            "expected a list of blocks, alone or under the key 'structure' or 'best_structures': "
            "stem, super-blocks, head"
        )
    expected = ["ConvKXBNRELU", *["SuperQuantResK1DWK1"] * (len(literal) - 2), "ConvKXBNRELU"]
    for i, (part, name) in enumerate(zip(literal, expected, strict=True)):
        if part.get("class") != name:
            raise InputError(f"block {i} is of class {part.get('class')!r}; expected {name}")
        if i and part.get("in") != literal[i - 1].get("out"):
            raise InputError(
                f"block {i} takes {part.get('in')!r} channels, block {i - 1} gives "
                f"{literal[i - 1].get('out')!r}; expected equal"
            )

    def value(index: int, key: str) -> Any:
        if key not in literal[index]:
            raise InputError(f"block {index} has no key '{key}'; add it")
        return literal[index][key]

    def convolution(index: int) -> Convolution:
        k, s, out, w, a = (value(index, key) for key in ("k", "s", "out", "nbitsW", "nbitsA"))
        return Convolution(kernel=k, stride=s, channels=out, bits=Bits(w, a))

    def block(index: int) -> Block:
        depth, w, a = (value(index, key) for key in ("L", "nbitsW", "nbitsA"))
        if type(depth) is not int or not all(
            isinstance(bits, Sequence) and len(bits) == 3 * depth for bits in (w, a)
        ):
            raise InputError(
                f"block {index}: L is {depth!r}; expected a whole number, and 3 x L widths each in "
                "nbitsW and nbitsA"
            )
        cells = [Bits(*pair) for pair in zip(w, a, strict=True)]
        rows = tuple((cells[i], cells[i + 1], cells[i + 2]) for i in range(0, len(cells), 3))
        k, s, btn, out = (value(index, key) for key in ("k", "s", "btn", "out"))
        return Block(kernel=k, stride=s, bottleneck=btn, channels=out, bits=rows)

    return Architecture(
        resolution=resolution,
        input_channels=value(0, "in"),
        stem=convolution(0),
        blocks=tuple(block(i) for i in range(1, len(literal) - 1)),
        head=convolution(len(literal) - 1),
        classifier=None,
        pooled_shortcut=True,
    )
