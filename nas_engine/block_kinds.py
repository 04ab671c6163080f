"""Block kinds: one row of a table per kind of unit that a stage may repeat.

A unit has three *places* for layers; a kind may leave the first empty. Everything that is counted,
scored or drawn of a unit follows from its row here: which layers it has, what enters and leaves
each, which of them the QE-Score counts, what a shortcut adds.

- ``inverted-residual`` (Sandler et al., MobileNetV2, 2018): 1x1 expand, k x k depth-wise, 1x1
  project without activation; the input is added where the shapes allow.
- ``depthwise-separable`` (Howard et al., MobileNet, 2017; without an activation behind the 1x1
  layer, as MobileNetV2's first block and MnasNet's SepConv): the same without the expansion.
- ``residual`` (He et al., 2016, basic block): two k x k convolutions, and the input added before
  the last activation; a 1x1 convolution takes it to the output's shape where the channels change or
  the unit has a stride.
"""

from __future__ import annotations

from dataclasses import dataclass

PLACES = 3
"""Places for layers in every unit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockLayer:
    """Layer of a unit."""

    name: str
    """Last part of its name: ``expand`` of ``s1.b1.expand``."""
    title: str
    """Name in texts."""
    tensor: str
    """Name of its output: ``expanded`` of ``s1.b1 expanded``."""
    letter: str
    """Label where there is room for one letter; the letters of all names differ."""
    kind: str
    """``conv``, ``pointwise`` (1x1) or ``depthwise``; the others have the stage's kernel."""
    inputs: str
    """Channels that enter: those of the unit's input (``in``) or output (``out``), or the
    bottleneck (``mid``)."""
    outputs: str
    """Channels that leave, named like ``inputs``."""
    strided: bool = False
    """True if the stride of the unit is applied here."""
    reads_input: bool = False
    """True if the input of the unit enters; else the output of the layer before does."""
    reshaping: bool = False
    """True if only units that change the shape of their input have the layer."""
    scored: bool = True
    """True if it is on the chain of convolutions that the QE-Score counts."""

    @property
    def has_kernel(self) -> bool:
        """True if it has the kernel of the stage; else it is 1x1."""
        return self.kind != "pointwise"


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockKind:
    """Kind of unit."""

    name: str
    """Name in files."""
    layers: tuple[BlockLayer | None, ...]
    """Layer at each of the ``PLACES``, ``None`` where there is none."""
    order: tuple[int, ...] = tuple(range(PLACES))
    """Places in the order in which their layers run."""
    has_bottleneck: bool
    """True if the bottleneck is a gene; else it follows from the layers."""
    activated: bool = False
    """True if the output goes through the activation, behind the sum: it is then unsigned."""
    pools_shortcut: bool = False
    """True if the shortcut of a unit with a stride may go through an average pool, in spaces that
    have it (the authors' code)."""

    @property
    def reshapes_shortcut(self) -> bool:
        """True if units that change the shape of their input have a layer in their shortcut."""
        return any(layer is not None and layer.reshaping for layer in self.layers)

    @property
    def bottleneck(self) -> str:
        """Channels between its second and third layer: ``mid`` where they are a gene."""
        last = self.layers[-1]
        assert last is not None
        return last.inputs

    def rows(self, *, reshapes: bool) -> tuple[tuple[int, BlockLayer], ...]:
        """Return place and layer of each layer that a unit has, in the order in which they run."""
        return tuple(
            (place, layer)
            for place in self.order
            if (layer := self.layers[place]) and (reshapes or not layer.reshaping)
        )


INVERTED_RESIDUAL = "inverted-residual"
"""The kind of a stage that names none."""

BLOCK_KINDS: dict[str, BlockKind] = {
    kind.name: kind
    for kind in (
        BlockKind(
            name=INVERTED_RESIDUAL,
            layers=(
                BlockLayer(
                    name="expand",
                    title="expand",
                    tensor="expanded",
                    letter="E",
                    kind="pointwise",
                    inputs="in",
                    outputs="mid",
                    reads_input=True,
                ),
                BlockLayer(
                    name="depthwise",
                    title="depth-wise",
                    tensor="filtered",
                    letter="D",
                    kind="depthwise",
                    inputs="mid",
                    outputs="mid",
                    strided=True,
                ),
                BlockLayer(
                    name="project",
                    title="project",
                    tensor="output",
                    letter="P",
                    kind="pointwise",
                    inputs="mid",
                    outputs="out",
                ),
            ),
            has_bottleneck=True,
            pools_shortcut=True,
        ),
        BlockKind(
            name="depthwise-separable",
            layers=(
                None,
                BlockLayer(
                    name="depthwise",
                    title="depth-wise",
                    tensor="filtered",
                    letter="D",
                    kind="depthwise",
                    inputs="in",
                    outputs="in",
                    strided=True,
                    reads_input=True,
                ),
                BlockLayer(
                    name="project",
                    title="project",
                    tensor="output",
                    letter="P",
                    kind="pointwise",
                    inputs="in",
                    outputs="out",
                ),
            ),
            has_bottleneck=False,
        ),
        BlockKind(
            name="residual",
            layers=(
                BlockLayer(
                    name="shortcut",
                    title="shortcut",
                    tensor="shortcut",
                    letter="S",
                    kind="pointwise",
                    inputs="in",
                    outputs="out",
                    strided=True,
                    reads_input=True,
                    reshaping=True,
                    scored=False,
                ),
                BlockLayer(
                    name="conv1",
                    title="first convolution",
                    tensor="middle",
                    letter="1",
                    kind="conv",
                    inputs="in",
                    outputs="out",
                    strided=True,
                    reads_input=True,
                ),
                BlockLayer(
                    name="conv2",
                    title="second convolution",
                    tensor="output",
                    letter="2",
                    kind="conv",
                    inputs="out",
                    outputs="out",
                ),
            ),
            order=(1, 0, 2),
            has_bottleneck=False,
            activated=True,
        ),
    )
}
"""Block kinds by name; the position in the table is the kind's gene."""

KIND_NAMES = tuple(BLOCK_KINDS)
"""Names in the order of the table."""

LAYERS_OF_UNITS: dict[str, BlockLayer] = {
    layer.name: layer for kind in BLOCK_KINDS.values() for layer in kind.layers if layer is not None
}
"""Layers of all kinds by the last part of their names."""
