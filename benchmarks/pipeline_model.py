"""Cycles of the inner loops in LLVM's model of the Cortex-M7's pipeline, by kernel.

python -m benchmarks.pipeline_model

Each loop is what GCC made of the runtime for a Cortex-M7, disassembled, and repeated in llvm-mca
(package ``llvm``). Its model (``ARMScheduleM7.td`` of LLVM) has two issue slots, two ALUs, one
multiply-accumulate unit and no memory: no caches, wait states or bus. What it says is a model's
word, not silicon's; where models of this core disagree (``slothy`` 0.2.2 lets other pairs of
instructions issue together), a board decides.

Two orders of the loop of three pixels stand beside the one that is built: each extension of weights
right before its products, and both extensions of a word before them.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.harness import Row, main
from nas_engine.errors import InputError
from nas_engine.exporters.to_c import runtime_files
from nas_engine.network.kernels import KERNELS
from nas_engine.verification.toolchain import compile_files, find_toolchain

PROGRAM = "llvm-mca"
CORE = "cortex-m7"
ITERATIONS = 100
"""Rounds of a loop that are modelled, one after the other."""

MOST_WORDS = 4
"""Words of one load in the model: on more, llvm-mca 14 and 19 mostly crash."""

LOOPS = {
    "1x1, k x k: three pixels, two channels, w8 or unpacked": ("nas_dense_three", "work"),
    "1x1, k x k: two pixels, two channels, w8 or unpacked": ("nas_dense_row", "nas_dense_pairs_w8"),
    "1x1: two pixels, two channels, w4": ("nas_pointwise_w4", "nas_dense_pairs_w4"),
    "dense: one pixel, two channels": ("nas_dense_one", "nas_dense_one"),
    "depth-wise 3x3 stride 1, results included": ("nas_depthwise_3x3", "stride_1"),
    "depth-wise 3x3 stride 2, results included": ("nas_depthwise_3x3", "stride_2"),
    "depth-wise 3x3, two rows, results included": ("nas_depthwise_3x3", "two_rows"),
    "depth-wise 5x5 stride 1, results included": ("nas_depthwise_5x5", "stride_1"),
    "depth-wise 5x5 stride 2, results included": ("nas_depthwise_5x5", "stride_2"),
    "depth-wise 5x5, two rows, results included": ("nas_depthwise_5x5", "two_rows"),
}
"""Source file and function of each loop."""

THREE = "1x1, k x k: three pixels, two channels, w8 or unpacked"
"""The loop that other orders are compared with."""

LOOP_END = 3
"""Instructions at its end: a load, a comparison, a branch."""

PRODUCTS = {"smlad": 2, "smlabt": 1, "smlatb": 1}
"""Multiply-accumulates of an instruction."""

LOADS = ("ldrd r8, r9, [r1], #8", "ldmia.w r0!, {r10, r11, r12}")
"""Weights of two channels and inputs of three pixels: four taps, and two of them."""


def _products(weights: Sequence[tuple[str, str]]) -> list[str]:
    return [
        f"smlad r{2 + 3 * channel + pixel}, {pair}, r{10 + pixel}, r{2 + 3 * channel + pixel}"
        for channel, (pair, _) in enumerate(weights)
        for pixel in range(3)
    ]


def _even(word: str) -> str:
    return f"sxtb16 lr, {word}"


def _odd(word: str) -> str:
    return f"sxtb16 {word}, {word}, ror #8"


def orders() -> dict[str, list[str]]:
    """Return other orders of four taps of the loop of three pixels; sums and loads are the same."""
    first = _products([("lr", "r8"), ("lr", "r9")])
    second = _products([("r8", ""), ("r9", "")])
    return {
        "extensions right before products": [
            *LOADS,
            *(_even("r8"), *first[:3], _even("r9"), *first[3:]),
            *(_odd("r8"), _odd("r9"), LOADS[1], *second),
        ],
        "both extensions of a word first": [
            *LOADS,
            *(_even("r8"), _odd("r8"), *first[:3], _even("r9"), _odd("r9"), *first[3:]),
            *(LOADS[1], *second),
        ],
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Modelled:
    """One loop in the model."""

    instructions: int
    """Instructions of a round."""
    macs: int
    """Multiply-accumulates of a round."""
    cycles: float
    """Cycles of a round, the mean of many."""

    @property
    def row(self) -> str:
        """Cycles and instructions per multiply-accumulate."""
        cycles, instructions = self.cycles / self.macs, self.instructions / self.macs
        return f"{cycles:.3f} cycles, {instructions:.3f} instructions per MAC"


def _modelled(instruction: str) -> list[str]:
    """Return an instruction as the model gets it: loads of many words as several."""
    many = re.fullmatch(r"(ldm\S*) (\w+!?), \{(.*)\}", instruction)
    if many is None:
        return [instruction]
    to = many[3].split(", ")
    parts = [to[at : at + MOST_WORDS] for at in range(0, len(to), MOST_WORDS)]
    return [f"{many[1]} {many[2]}, {{{', '.join(part)}}}" for part in parts]


def model(instructions: Sequence[str]) -> Modelled:
    """Return what the model makes of a loop.

    Raises:
        InputError: The program is not installed or refuses the loop.
    """
    if shutil.which(PROGRAM) is None:
        raise InputError(f"{PROGRAM} is not on PATH; install it: apt install llvm")
    text = (
        ".syntax unified\n.thumb\nround:\n"
        + "\n".join(i for one in instructions for i in _modelled(one))
        + "\n"
    )
    command = [
        PROGRAM,
        "-mtriple=thumbv7em-none-eabi",
        f"-mcpu={CORE}",
        f"-iterations={ITERATIONS}",
    ]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    found = re.search(r"Total Cycles:\s+(\d+)", done.stdout)
    if done.returncode or found is None:
        line = (done.stderr.strip().splitlines() or ["it said nothing"])[0]
        raise InputError(f"{PROGRAM} stopped with status {done.returncode}: {line}")
    return Modelled(
        instructions=len(instructions),
        macs=sum(PRODUCTS.get(one.split()[0], 0) for one in instructions),
        cycles=int(found[1]) / ITERATIONS,
    )


def loops(disassembly: str) -> Iterator[list[str]]:
    """Yield the innermost loops of a function, as ``objdump`` prints it, with their branches."""
    lines = re.findall(r"^ *([0-9a-f]+):\t(\S+)[ \t]*([^@;\n]*)", disassembly, re.MULTILINE)
    at = {int(address, 16): number for number, (address, _, _) in enumerate(lines)}
    spans = []
    for number, (address, name, rest) in enumerate(lines):
        target = re.match(r"([0-9a-f]+)\b", rest)
        if re.match(r"b(ne|eq|cc|cs|hi|ls|lt|ge)?(\.[nw])?$", name) and target is not None:
            to = int(target[1], 16)
            if to < int(address, 16) and to in at:
                spans.append((at[to], number))
    for begin, end in spans:
        if not any(
            (begin, end) != other and begin <= other[0] <= other[1] <= end for other in spans
        ):
            body = [f"{name} {rest.strip()}" for _, name, rest in lines[begin:end]]
            yield [*body, f"{lines[end][1]} round"]


def disassembled(folder: Path) -> dict[str, str]:
    """Return the disassembly of each function of the runtime, as ``file function``."""
    for name, content in runtime_files(KERNELS).items():
        (folder / name).write_bytes(content)
    objects = compile_files(
        find_toolchain("gcc"), CORE, sorted(folder.glob("*.c")), (folder,), folder / "objects"
    )
    found = {}
    for path in objects:
        command = ["arm-none-eabi-objdump", "-d", "--no-show-raw-insn", str(path)]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        for name, body in re.findall(r"^[0-9a-f]+ <(\w+)>:\n(.*?)(?:\n\n|\Z)", text, re.M | re.S):
            found[f"{path.stem} {name}"] = body
    return found


def _products_of(loop: Sequence[str]) -> int:
    return sum(PRODUCTS.get(one.split()[0], 0) for one in loop)


def run() -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="nas-search-") as name:
        functions = disassembled(Path(name))
    built = {
        what: max(loops(functions[f"{file} {function}"]), key=_products_of)
        for what, (file, function) in LOOPS.items()
    }
    rows = []
    for what, loop in built.items():
        try:
            measured = model(loop).row
        except InputError as error:  # the program crashes on the longest one
            measured = str(error).partition(":")[0]
        rows.append(Row(what=what, measured=measured, at_least="reported", reached=True))
    three = model(built[THREE][:-LOOP_END])
    sums = "taps of three pixels and two channels without the end of the loop"
    rows.append(
        Row(what=f"{sums}, as built", measured=three.row, at_least="reported", reached=True)
    )
    for what, order in orders().items():
        found = model(order)
        rows.append(
            Row(
                what=f"{sums}, {what}",
                measured=found.row,
                at_least="no fewer cycles than as built",
                reached=found.cycles / found.macs >= three.cycles / three.macs,
            )
        )
    version = subprocess.run([PROGRAM, "--version"], capture_output=True, text=True, check=True)
    line = re.search(r"LLVM version \S+", version.stdout)
    rows.append(
        Row(
            what="modelled with",
            measured=f"{line[0] if line else PROGRAM}; {find_toolchain('gcc').version}",
            at_least="-",
            reached=True,
        )
    )
    return rows


if __name__ == "__main__":
    main("pipeline_model", run)
