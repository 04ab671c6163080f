"""Instructions per multiply-accumulate of the C kernels on an emulated core, each layer compared
with the integer reference.

python -m benchmarks.kernels [--core cortex-m4] [--compiler zig] [--emulator unicorn]

Every row is a real layer: packed, exported, linked for 256 KiB of SRAM and 1 MiB of Flash, and run.
Instructions are those of the whole layer, unpacking and requantisation included, divided by its
multiply-accumulates (taps in the padding included). They are not cycles: caches, wait states and
dual issue are not modelled.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.harness import Row, main
from benchmarks.sections import needed_sections
from nas_engine.costs.plan import MemoryPlan, plan_graph
from nas_engine.exporters.exporter import ExportSubject
from nas_engine.exporters.packing import pack_layer
from nas_engine.exporters.sizes import step_macs
from nas_engine.exporters.to_c import CExporter
from nas_engine.integer.lowering import lower
from nas_engine.integer.model import IntegerConvolution, IntegerModel
from nas_engine.integer.reference import Images
from nas_engine.integer.store import GoldenVectors
from nas_engine.testing.networks import Untrained
from nas_engine.verification.backend import BackendRun
from nas_engine.verification.cortex_m import OBJECTS, CortexM
from nas_engine.verification.elf import Elf

ANCHORS = "CMSIS-NN 2.04 (s8), 3.75 (s4); depth-wise 3 x 3 8.35; first convolution 4.86"
"""Instructions per MAC of CMSIS-NN 99f736a (July 2026) on the same layers, -O3, counted in the same
way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One layer to be measured."""

    kind: str
    """``"pointwise"``, ``"depthwise"`` or ``"conv"`` (k x k, the first of a network: it reads the
    image)."""
    size: int
    """Height and width of its input; 1 of a dense layer."""
    channels: tuple[int, int]
    """Channels in and out."""
    bits: tuple[int, int]
    """Width of weights, and of activations, in and out; the image has 8."""
    kernel: int = 1
    """Height and width of the kernel."""
    stride: int = 1
    """Stride."""

    @property
    def most(self) -> float | None:
        """Instructions per MAC that it must not exceed; our goals, ``None`` where there is none."""
        if self.size == 1:
            return 1.25
        if self.kind == "pointwise":
            return 1.40 if self.bits[0] in (2, 4, 8) else 1.70
        if self.kind == "conv":
            return 2.60
        return 3.50 if (self.kernel, self.stride) == (3, 1) else None

    @property
    def name(self) -> str:
        """Text of the row."""
        inside, outside = self.channels
        shape = f"{inside}" if self.kind == "depthwise" else f"{inside} -> {outside}"
        stride = f" stride {self.stride}" if self.stride > 1 else ""
        window = "" if self.kind == "pointwise" else f" {self.kernel} x {self.kernel}{stride}"
        kind = "dense" if self.size == 1 else self.kind
        return (
            f"{kind}{window}, {shape} channels, {self.size} x {self.size}, w{self.bits[0]} "
            f"a{self.bits[1]}"
        )


def _pointwise(w: int, a: int) -> Layer:
    return Layer(kind="pointwise", size=14, channels=(64, 128), bits=(w, a))


def _depthwise(w: int, kernel: int = 3, stride: int = 1) -> Layer:
    return Layer(
        kind="depthwise", size=14, channels=(128, 128), bits=(w, 8), kernel=kernel, stride=stride
    )


def _dense(inputs: int, outputs: int) -> Layer:
    return Layer(kind="pointwise", size=1, channels=(inputs, outputs), bits=(8, 8))


def _first(w: int) -> Layer:
    return Layer(kind="conv", size=160, channels=(3, 16), bits=(w, 8), kernel=3, stride=2)


LAYERS = (
    *(
        _pointwise(w, a)
        for w, a in ((8, 8), (4, 8), (4, 4), (2, 8), (3, 8), (5, 8), (6, 8), (7, 8))
    ),
    *(_depthwise(w) for w in (8, 4)),
    _depthwise(8, kernel=5),
    _depthwise(8, stride=2),
    *(_first(w) for w in (8, 4)),
    *(_dense(*channels) for channels in ((64, 64), (256, 256), (1024, 512))),
)


def network_of(layer: Layer) -> IntegerModel:
    """Return a network of a layer, what makes its input, and what makes logits of its output."""
    w, a = layer.bits
    built = Untrained((layer.size, layer.size, layer.channels[0]), np.random.default_rng(0))
    if layer.kind != "conv":
        built.layer(
            "input", layer.channels[0], 1, 1, 8, a, kind="depthwise"
        )  # unsigned, as behind an activation
    kind = "depthwise" if layer.kind == "depthwise" else "conv"
    out = built.layer("measured", layer.channels[1], layer.kernel, layer.stride, w, a, kind=kind)
    built.pool("pool", out.height, 1)
    built.layer("classifier", 2, 1, 1, 8, 8, signed=True)
    return lower(built.network(), {"weights": "random, seed 0"})


def write_export(
    model: IntegerModel, images: Images, folder: Path, plan: MemoryPlan | None = None
) -> GoldenVectors:
    """Write the C export and the memory plan of a network, and return what must come out.

    Without a plan all runs by layers.
    """
    golden, plan = GoldenVectors.of(model, images), plan or plan_graph(model)
    files = CExporter().files(ExportSubject(model=model, golden=golden, plan=plan, manifest={}))
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    (folder / "memory_plan.json").write_text(json.dumps(plan.as_json()), encoding="utf-8")
    return golden


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One layer, run."""

    layer: Layer
    """The layer."""
    kernel: str
    """C function."""
    per_mac: float
    """Instructions per multiply-accumulate."""
    code: int
    """Bytes of the kernel and the functions it calls, without weights."""
    differing: int
    """Tensors and logits that differ from the reference."""
    version: str
    """Emulator and compiler."""


def measure(layer: Layer, backend: CortexM) -> Measured:
    """Export a layer, run it on the emulated core, and compare every tensor of one image with the
    reference.
    """
    model = network_of(layer)
    noise = np.random.default_rng(1).integers(
        0, 256, (1, layer.size, layer.size, layer.channels[0]), np.uint8
    )
    step = next(step for step in model.nodes if step.name == "measured")
    assert isinstance(step, IntegerConvolution)
    kernel = pack_layer(step, model.tensor(step.input), model.tensor(step.output)).kernel.name
    with tempfile.TemporaryDirectory(prefix="nas-search-") as name:
        folder = Path(name)
        golden = write_export(model, noise, folder)
        result = backend.run(folder, model, noise, folder / "work")
        code = sum(needed_sections(read_objects(folder / "work"), [kernel]).values())
    return Measured(
        layer=layer,
        kernel=kernel,
        per_mac=result.instructions[step.name] / step_macs(model, step),
        code=code,
        differing=_differing(result, golden),
        version=result.version,
    )


def read_objects(work: Path) -> dict[str, Elf]:
    """Return the objects of a firmware by name."""
    return {
        path.stem: Elf(path.read_bytes(), path.name)
        for path in sorted((work / OBJECTS).glob("*.o"))
    }


def _differing(result: BackendRun, golden: GoldenVectors) -> int:
    tensors = sum(golden.checksums[name] != value for name, value in result.checksums.items())
    return tensors + int((golden.logits != result.logits).sum())


def run(
    core: str = "cortex-m7",
    compiler: str = "",
    emulator: str = "",
    layers: Sequence[Layer] = LAYERS,
) -> list[Row]:
    backend = CortexM(core=core, compiler=compiler or None, emulator=emulator or None)
    rows, versions = [], set()
    for layer in layers:
        found = measure(layer, backend)
        versions.add(found.version)
        most = layer.most
        rows.append(
            Row(
                what=f"{layer.name}: `{found.kernel}`",
                measured=(
                    f"{found.per_mac:.2f} instructions/MAC, {found.code:,} B of code, "
                    f"{found.differing} differing"
                ),
                at_least="0 differing" if most is None else f"at most {most:.2f}, 0 differing",
                reached=(most is None or found.per_mac <= most) and found.differing == 0,
            )
        )
    measured_on = "; ".join(sorted(versions))
    rows.append(Row(what="for comparison", measured=ANCHORS, at_least="-", reached=True))
    rows.append(
        Row(
            what="measured with",
            measured=measured_on,
            at_least="one emulator, one compiler",
            reached=len(versions) == 1,
        )
    )
    return rows


if __name__ == "__main__":
    main("kernels", run, core="cortex-m7", compiler="", emulator="")
