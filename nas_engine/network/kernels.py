"""C kernels: which function of the runtime runs a node, and how its weights lie in Flash.

The choice follows from the node's kind and window, from its shapes and widths, and from whether it
works in place: never from weights. Planner, packer and C ask this one table.
"""

from __future__ import annotations

from dataclasses import dataclass

from nas_engine.network.graph import Node, Tensor

POOL_KERNEL = "nas_average_pool"
"""C function of average pools."""

DEPTHWISE_KERNELS = {3: "nas_depthwise_3x3", 5: "nas_depthwise_5x5"}
"""C functions of depth-wise layers by height and width of the kernel."""

KERNELS = (
    "nas_pointwise_w8",
    "nas_pointwise_w4",
    "nas_pointwise_stream",
    "nas_pointwise_rows",
    "nas_convolution_stream",
    *DEPTHWISE_KERNELS.values(),
    "nas_depthwise",
    POOL_KERNEL,
)
"""C functions of nas_runtime.h. Each stands in the file of its name; what that includes comes
along."""

NATIVE_TAPS = {8: 8, 4: 8}
"""Taps of one round of the inner loop that multiplies weights as they stand in Flash, by width."""


NATIVE_PIXELS = 16
"""Output pixels from which it takes fewer instructions to unpack weights of 4 bits for three pixels
at once, where inputs are bytes: 9 take fewer natively, 16 about as many (``python -m
benchmarks.kernels``)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """C function of a node and the layout of its weights."""

    name: str
    """One of ``KERNELS``."""
    layout: str = ""
    """Layout of the weights, see ``nas_engine.exporters.packing``; empty without weights."""

    @property
    def native(self) -> bool:
        """True: multiplied straight from the packed words; False: unpacked by tiles before."""
        return self.layout.startswith("words")

    @property
    def tiled(self) -> bool:
        """True if it holds tiles of channels in scratch, weights or constants."""
        return self.layout in ("stream-pairs", "words-w8")


def kernel_of(node: Node, source: Tensor, target: Tensor, *, in_place: bool = False) -> Kernel:
    """Return the kernel of a node.

    Args:
        node: A convolution, a depth-wise convolution or an average pool.
        source: Its input.
        target: Its output.
        in_place: Whether the output is written over the input; depth-wise layers and pools do not
            ask.
    """
    if node.kind == "average_pool":
        return Kernel(name=POOL_KERNEL)
    if node.kind == "depthwise":
        name = DEPTHWISE_KERNELS.get(node.kernel_height, "nas_depthwise")
        return Kernel(name=name, layout="stream")
    if node.taps > 1:
        return Kernel(name="nas_convolution_stream", layout="stream-pairs")
    if in_place:
        return Kernel(name="nas_pointwise_rows", layout="stream-pairs")
    bits, multiple = node.weight_bits, NATIVE_TAPS.get(node.weight_bits)
    few = source.bits < 8 or target.height * target.width < NATIVE_PIXELS
    fits = multiple and source.channels % multiple == 0 and target.channels % 2 == 0
    if fits and (bits == 8 or few):
        return Kernel(name=f"nas_pointwise_w{bits}", layout=f"words-w{bits}")
    return Kernel(name="nas_pointwise_stream", layout="stream-pairs")
