"""Network in C: weights, constants and a layer table for the runtime in ``runtime/``.

A self-test and build files are included. What the records hold is in ``c_steps``; here they become
text, in the templates of ``c_templates/``, with the runtime's files that the network needs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files as resources
from importlib.resources.abc import Traversable

import numpy as np
import numpy.typing as npt

from nas_engine.costs.memory import LAYER_RECORD_BYTES
from nas_engine.costs.plan import MemoryPlan
from nas_engine.escaping import (
    build_file_word,
    c_comment,
    c_string,
    markdown_text,
    terminal_line,
    utf8,
)
from nas_engine.exporters.c_steps import LARGEST, TARGET, CStep, c_steps
from nas_engine.exporters.exporter import ExportError, ExportSubject
from nas_engine.exporters.row_stages import ROW_PARTS, ROWS_OF_POOL, RowStage, row_stages
from nas_engine.exporters.settings import DEFAULT_PREFIX
from nas_engine.exporters.sizes import packed_bytes, step_bytes, step_macs
from nas_engine.integer.model import IntegerConvolution, IntegerModel
from nas_engine.names import Format
from nas_engine.network.kernels import KERNELS


@dataclass(frozen=True, slots=True, kw_only=True)
class CExporter:
    """Writes the folder ``c`` of an export."""

    name: str = Format.C
    """Name on the command line."""

    def missing(self) -> str | None:
        """Return ``None``: writing C needs no package; a compiler is needed only to build it."""
        return None

    def files(self, subject: ExportSubject) -> Mapping[str, bytes]:
        """Return the files of the C export by their path; the same subject gives the same bytes.

        Raises:
            ExportError: A number that does not fit its field of a layer record, or a memory plan
                that the kernels cannot work with.
        """
        model, prefix = subject.model, subject.settings.prefix
        stages = row_stages(model, subject.plan)
        steps = c_steps(model, subject.plan, stages)
        parts = [step.kernel.name for step in steps]
        parts += [part for stage in stages for part in stage.parts]
        runtime = {
            own_names(name, prefix): own_names(content.decode(), prefix).encode()
            for name, content in runtime_files(parts).items()
        }
        own = "" if prefix == DEFAULT_PREFIX else f"{prefix}_"
        values = {
            "PREFIX": prefix,
            "UPPER": prefix.upper(),
            "TITLE": _title(subject),
            "OWN": own,
            "OWN_UPPER": own.upper(),
        }
        sources = [
            build_file_word(name) for name in (f"{prefix}.c", *runtime) if name.endswith(".c")
        ]
        headers = [
            build_file_word(name) for name in (f"{prefix}.h", *runtime) if name.endswith(".h")
        ]
        values |= _header_values(subject)
        values |= _source_values(model, steps, stages, prefix)
        values |= _test_values(subject)
        values |= {
            "OBJECTS": " ".join(f"{name[:-2]}.o" for name in sources),
            "HEADERS": " ".join(headers),
            "OBJECTS_C": " ".join(sources),
            "SOURCES": "".join(f"    {name}\n" for name in sources),
            "ZEPHYR": " ".join(f"c/{name}" for name in sources),
            "ALIASES": ""
            if not own
            else "".join(f"{name}: {own}{name}\n\n" for name in ("objects", "test", "clean")),
            "PHONY": " ".join(
                [
                    "objects",
                    "test",
                    "clean",
                    *(f"{own}{name}" for name in ("objects", "test", "clean") if own),
                ]
            ),
            "FILES": "\n".join(
                f"| `{name}` | {_about(name.removeprefix(own))} |" for name in runtime
            ),
            "FIGURES": "\n".join(f"| {what} | {value} |" for what, value in _facts(subject)),
            "LAYERS_TABLE": "\n".join(_table_row(model, step) for step in steps),
            "PROVENANCE": "\n\n".join(_provenance_as_markdown(model)) or "Nothing is recorded.",
        }
        templates = {
            f"{prefix}.h": "model.h",
            f"{prefix}.c": "model.c",
            "main.c": "main.c",
            "Makefile": "Makefile",
            "CMakeLists.txt": "CMakeLists.txt",
            "README.md": "README.md",
        }
        folder = _folder("c_templates")
        image = "rows" if subject.plan.image_rows else "whole"
        for name, part in (
            ("RUN", f"run_{'rows' if stages else 'layers'}.c"),
            ("INVOKE", f"invoke_{image}.c"),
            ("INTERFACE", f"interface_{image}.h"),
            ("USE", f"use_{image}.md"),
        ):
            values[name] = render(folder.joinpath(f"{part}.in"), values, prefix).decode().rstrip()
        written = {
            name: render(folder.joinpath(f"{template}.in"), values, prefix)
            for name, template in templates.items()
        }
        return {f"c/{name}": content for name, content in (written | runtime).items()}


def render(template: Traversable, values: Mapping[str, str], prefix: str = DEFAULT_PREFIX) -> bytes:
    """Return a template with every ``@NAME@`` replaced.

    Its own names become those of an export with the prefix.

    Raises:
        KeyError: The template has a name that no value is given for.
    """
    text = own_names(template.read_text(encoding="utf-8"), prefix)
    return utf8(re.sub("@([A-Z_0-9]+)@", lambda match: values[match[1]], text))


def own_names(text: str, prefix: str) -> str:
    """Return text of the runtime with the names of an export with a prefix.

    For example, ``nas_dense`` becomes ``cat_nas_dense``.

    With the default prefix they stay as they are. An export that has another shares no symbol,
    macro, file or section with any other: each brings the runtime of its own version.
    """
    if prefix == DEFAULT_PREFIX:
        return text
    return re.sub(
        r"\b(nas|NAS)_(?!engine\b|@)",
        lambda found: f"{prefix if found[1] == 'nas' else prefix.upper()}_{found[0]}",
        text,
    )


def runtime_files(kernels: Iterable[str]) -> dict[str, bytes]:
    """Return the files of the runtime that some kernels need, by name.

    These are the kernels' own files and those they include.

    A header that comes along brings the ``.c`` file of the same name with it, if there is one.

    Raises:
        ExportError: A kernel without a file.
    """
    folder = _folder("runtime")
    waiting = ["nas_runtime.h"]
    for kernel in sorted(set(kernels)):
        if kernel not in (*KERNELS, *ROW_PARTS) or not folder.joinpath(f"{kernel}.c").is_file():
            raise ExportError(
                TARGET, f"there is no kernel {kernel!r}; expected one of {', '.join(KERNELS)}"
            )
        waiting.append(f"{kernel}.c")
    found: dict[str, bytes] = {}
    while waiting:
        name = waiting.pop()
        if name in found or not folder.joinpath(name).is_file():
            continue
        found[name] = folder.joinpath(name).read_bytes()
        waiting += re.findall(r'^\s*#\s*include\s+"([^"]+)"', found[name].decode(), re.MULTILINE)
        if name.endswith(".h"):
            waiting.append(f"{name[:-2]}.c")
    return dict(sorted(found.items()))


def _folder(name: str) -> Traversable:
    return resources("nas_engine.exporters").joinpath(name)


def _header_values(subject: ExportSubject) -> dict[str, str]:
    model = subject.model
    image = model.tensor(model.image)
    facts = [f" * {what}: {value}" for what, value in _facts(subject)]
    for name, text in model.provenance.items():
        first, *rest = text.strip().splitlines()
        facts += [f" * {name}: {first}", *(f" *   {line}".rstrip() for line in rest)]
    return {
        "FACTS": "\n".join(" * " + c_comment(line[3:]) for line in facts),
        "HEIGHT": str(image.height),
        "WIDTH": str(image.width),
        "CHANNELS": str(image.channels),
        "CLASSES": str(len(model.classes)),
        "LAYERS": str(len(model.nodes)),
        "ARENA": str(subject.plan.arena_bytes),
        "IMAGE_BY_ROWS": str(int(subject.plan.image_rows)),
    }


def _facts(subject: ExportSubject) -> list[tuple[str, str]]:
    model = subject.model
    image = model.tensor(model.image)
    return [
        (
            "Input",
            f"uint8 {image.height} x {image.width} x {image.channels} (height, width, channels)",
        ),
        ("Classes", f"{len(model.classes)}"),
        ("Layers", f"{len(model.nodes)}"),
        ("Multiply-accumulates", f"{sum(step_macs(model, step) for step in model.nodes):,}"),
        ("Arena (RAM)", f"{subject.plan.arena_bytes:,} B{_schedule(subject.plan)}"),
        ("Packed bytes (Flash)", f"{packed_bytes(model):,} B"),
    ]


def _schedule(plan: MemoryPlan) -> str:
    """Return what a plan by rows asks of the caller, in words; empty for one by layers."""
    by_rows = sum(len(one.stages) for one in plan.segments)
    if not by_rows:
        return ""
    image = "the image comes row by row" if plan.image_rows else "the image is whole"
    return f"; {by_rows} unit{'s' * (by_rows > 1)} by rows, {image}"


def _title(subject: ExportSubject) -> str:
    image = subject.model.tensor(subject.model.image)
    return (
        f"Network for {image.height} x {image.width} x {image.channels} images, "
        f"{len(subject.model.classes)} classes"
    )


def _source_values(
    model: IntegerModel, steps: Sequence[CStep], stages: Sequence[RowStage], prefix: str
) -> dict[str, str]:
    names = (c_string(name) for name in model.classes)
    parts = {part for stage in stages for part in stage.parts}
    calls = {"nas_rows_pool": "nas_rows_pool(stage, call)", "nas_rows": "nas_rows_run(stage, call)"}
    chosen = [call for name, call in calls.items() if name in parts]
    run = " : ".join(chosen)
    if len(chosen) > 1:
        run = f"(stage->flags & NAS_ROWS_POOL) != 0 ? {run}"
    unpack = "            nas_rows_unpack(stage, call);\n" if "nas_rows_unpack" in parts else ""
    return {
        "INCLUDES": own_names(f'#include "nas_{"rows" if stages else "runtime"}.h"', prefix),
        "STAGES": own_names(_stages_table(stages), prefix),
        "STAGE_COUNT": str(len(stages)),
        "RUN_STAGE": own_names(run, prefix),
        "UNPACK": own_names(unpack, prefix),
        "ARRAYS": "\n".join(part for step in steps for part in _arrays(step, prefix)),
        "RECORDS": "\n".join(_record(step, prefix) for step in steps),
        "INFOS": "\n".join(_info(model, step) for step in steps),
        "NAMES": ",\n".join(f"    {name}" for name in names),
        "RECORD_BYTES": str(LAYER_RECORD_BYTES),
        "INPUT_OFFSET": str(steps[0].source.offset),
        "LOGITS_OFFSET": str(steps[-1].target.offset),
    }


def _stages_table(stages: Sequence[RowStage]) -> str:
    """Return the table of stages, empty where there are none."""
    if not stages:
        return ""
    rows = "".join(
        f"    /* {c_comment(stage.unit.name)} */\n    {stage.record},\n" for stage in stages
    )
    return (
        "\n/* Units that run by rows, in the order of their layers. */\n"
        f"static const nas_rows stages[{len(stages)}] = {{\n{rows}}};\n"
    )


def _arrays(step: CStep, prefix: str) -> Iterator[str]:
    """Yield the definitions of a convolution's arrays."""
    if step.packed is None or not isinstance(step.step, IntegerConvolution):
        return
    section = own_names('NAS_SECTION(".rodata.nas_packed', prefix) + f'.{step.label}")'
    shape = "x".join(map(str, step.step.weights.shape))
    yield (
        f"/* {c_comment(step.step.name)}: weights {shape}, {step.weight_bits} bits, layout "
        f"{step.kernel.layout} */"
    )
    for what, words in (("weights", step.packed.weights), ("constants", step.packed.constants)):
        yield (
            f"static const uint32_t {what}_{step.label}[{len(words)}] {section} = "
            f"{{\n{_words(words)}\n}};"
        )
    if (addition := step.step.addition) is not None:
        numbers = ", ".join(
            str(number)
            for pair in (addition.first, addition.second, addition.out)
            for number in pair
        )
        yield (
            f"static const {own_names('nas_addition', prefix)} addition_{step.label} {section} = "
            f"{{{numbers}}};"
        )
    yield ""


def _record(step: CStep, prefix: str) -> str:
    """Return the ``nas_layer`` of a step, below one line about it.

    The fields are in the order of nas_runtime.h.
    """
    label = step.label
    pointers = (
        f"weights_{label}, (const int32_t *)constants_{label}" if step.packed else "NULL, NULL"
    )
    pointers += f", &addition_{label}" if step.shortcut else ", NULL"
    kernel = "NULL" if step.kernel.name == ROWS_OF_POOL else own_names(step.kernel.name, prefix)
    return "\n".join(
        [
            f"    /* {c_comment(_summary(step))} */",
            f"    {{{kernel}, {pointers},",
            *(f"     {', '.join(map(str, line))}," for line in step.numbers),
            f"     {own_names(' | '.join(step.flags), prefix) or '0'}}},",
        ]
    )


def _summary(step: CStep) -> str:
    """Return one line about a step: name, kind, bits and shapes."""
    source, target, window = step.source.tensor, step.target.tensor, step.step
    weights = f"{step.weight_bits}-bit weights, " if step.packed else ""
    shapes = " to ".join(
        f"{'x'.join(map(str, tensor.shape))} of {tensor.bits} bits" for tensor in (source, target)
    )
    added = f", adds {step.shortcut.name!r} of {step.shortcut.bits} bits" if step.shortcut else ""
    return (
        f"{window.name}: {step.kind} {window.kernel_height}x{window.kernel_width} "
        f"stride {window.stride}, {weights}{shapes}{added}"
    )


def _info(model: IntegerModel, step: CStep) -> str:
    target = step.target.tensor
    macs = step_macs(model, step.step)
    if macs > LARGEST["uint32"]:
        raise ExportError(
            TARGET,
            f"layer {step.step.name!r} has {macs:,} MACs; the layer record holds up to "
            f"{LARGEST['uint32']:,}",
        )
    numbers = (
        *(
            step.target.offset,
            macs,
            *target.shape,
            step.weight_bits,
            step.source.tensor.bits,
            target.bits,
        ),
        *(int(step.by_rows), int(step.kernel.native), target.low),
    )
    return (
        f"    {{{c_string(step.step.name)}, {c_string(step.kind)}, "
        f"{', '.join(map(str, numbers))}}},"
    )


def _test_values(subject: ExportSubject) -> dict[str, str]:
    image = subject.golden.images[0].ravel()
    sums = np.array(
        [subject.golden.checksums[step.output] for step in subject.model.nodes], np.uint32
    )
    return {
        "IMAGE_BYTES": str(image.size),
        "IMAGE": _rows(image, 24),
        "LOGITS": _rows(subject.golden.logits[0], 24),
        "CHECKSUMS": _words(sums),
    }


def _rows(numbers: npt.NDArray[np.uint8] | npt.NDArray[np.int8], at_once: int) -> str:
    texts = [str(number) for number in numbers.tolist()]
    return ",\n".join(
        "    " + ", ".join(texts[i : i + at_once]) for i in range(0, len(texts), at_once)
    )


def _words(words: npt.NDArray[np.uint32]) -> str:
    texts = [f"0x{word:08X}U" for word in words.tolist()]
    return ",\n".join("    " + ", ".join(texts[i : i + 10]) for i in range(0, len(texts), 10))


def _about(name: str) -> str:
    """Return what a file of the runtime is."""
    if name[:-2] in KERNELS:
        return "kernel"
    return "the record and the kernels" if name == "nas_runtime.h" else "shared by the kernels"


def _table_row(model: IntegerModel, step: CStep) -> str:
    window, target = step.step, step.target.tensor
    weights = "-" if step.packed is None else "native" if step.kernel.native else "unpacked"
    place = (
        "over the shortcut"
        if step.shortcut
        else "row by row"
        if step.by_rows
        else "over the input"
        if step.source.overlaps(step.target)
        else "-"
    )
    cells = (
        step.number + 1,
        markdown_text(window.name),
        f"{step.kind} {window.kernel_height}x{window.kernel_width}, stride {window.stride}",
        step.weight_bits or "-",
        step.source.tensor.bits,
        target.bits,
        "x".join(map(str, target.shape)),
        f"{step_macs(model, window):,}",
        f"{step_bytes(window):,}",
        weights,
        place,
    )
    return f"| {' | '.join(map(str, cells))} |"


def _provenance_as_markdown(model: IntegerModel) -> Iterator[str]:
    for name, text in model.provenance.items():
        lines = text.strip().splitlines()
        about = f"**{markdown_text(name)}**:"
        if len(lines) == 1:
            yield f"{about} {markdown_text(lines[0])}"
        else:
            yield "\n".join([about, "", *(f"    {terminal_line(line)}" for line in lines)])
