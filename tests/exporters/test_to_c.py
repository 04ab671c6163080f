"""The C export: what is in its files, that it compiles, and that it computes what the reference
computes.
"""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nas_engine.costs.memory import LAYER_RECORD_BYTES
from nas_engine.exporters.exporter import ExportError, ExportSubject
from nas_engine.exporters.sizes import packed_bytes, packed_bytes_per_step, step_macs
from nas_engine.exporters.to_c import CExporter, render, runtime_files
from nas_engine.integer.lowering import lower
from nas_engine.integer.model import IntegerConvolution, IntegerModel
from nas_engine.integer.reference import run, trace
from nas_engine.testing.networks import Untrained, random_images
from tests.exporters.c_exports import (
    STRICT,
    arm_compilers,
    compile_c,
    export_c,
    host_compiler,
    is_elf_host,
    sections,
    small_network,
    subject_of,
)


@pytest.fixture(scope="module")
def subject() -> ExportSubject:
    return subject_of(small_network())


@pytest.fixture(scope="module")
def folder(subject: ExportSubject, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_c(tmp_path_factory.mktemp("export"), subject)


def sources(folder: Path, prefix: str = "model") -> list[Path]:
    return [folder / f"{prefix}.c", *sorted(folder.glob("nas_*.c"))]


def self_test(folder: Path, program: Path) -> subprocess.CompletedProcess[str]:
    compile_c(
        host_compiler(),
        "-std=c99",
        "-O2",
        "-DMODEL_PRINTF",
        folder / "main.c",
        *sources(folder),
        "-o",
        program,
    )
    return subprocess.run([str(program)], capture_output=True, text=True, check=False)


class TestFiles:
    def test_same_subject_gives_same_bytes(self, subject: ExportSubject) -> None:
        assert CExporter().files(subject) == CExporter().files(subject_of(small_network()))

    def test_has_all_that_a_project_needs(self, folder: Path) -> None:
        names = {path.name for path in folder.iterdir()}
        assert {
            "model.h",
            "model.c",
            "main.c",
            "Makefile",
            "CMakeLists.txt",
            "README.md",
            "nas_runtime.h",
        } <= names

    def test_files_are_ascii_and_name_no_placeholder(self, folder: Path) -> None:
        for path in folder.iterdir():
            text = path.read_text(encoding="ascii")
            assert not [part for part in text.split("@")[1::2] if part.isupper()], path.name

    def test_only_the_kernels_that_are_used_come_along(self) -> None:
        built = Untrained((4, 4, 3), np.random.default_rng(0))
        built.layer("a", 5, 1, 1, 3, 8)
        built.pool("pool", 4, 1)
        built.layer("b", 2, 1, 1, 5, 8, signed=True)
        files = CExporter().files(subject_of(lower(built.network(), {"seed": "0"})))
        kernels = {name for name in files if name.startswith("c/nas_") and name.endswith(".c")}
        assert {"c/nas_pointwise_stream.c", "c/nas_average_pool.c"} <= kernels
        unused = {
            f"c/nas_{name}.c"
            for name in (
                "depthwise",
                "convolution_stream",
                "pointwise_w8",
                "pointwise_w4",
            )
        }
        assert not kernels & unused

    def test_every_include_of_the_runtime_is_there(self, folder: Path) -> None:
        for path in folder.glob("*.[ch]"):
            for line in path.read_text().splitlines():
                if line.startswith('#include "'):
                    assert (folder / line.split('"')[1]).is_file(), (path.name, line)

    def test_unknown_kernel(self) -> None:
        with pytest.raises(ExportError, match="no kernel 'nas_other'"):
            runtime_files(["nas_other"])

    def test_readme_and_header_say_the_figures(self, subject: ExportSubject, folder: Path) -> None:
        for name in ("README.md", "model.h"):
            text = (folder / name).read_text()
            assert f"{subject.plan.arena_bytes:,} B" in text
            assert f"{packed_bytes(subject.model):,} B" in text
        rows = [
            line
            for line in (folder / "README.md").read_text().splitlines()
            if line.startswith("| ")
        ]
        for number, step in enumerate(subject.model.nodes, 1):
            bits = step.weight_bits or "-"
            source, target = subject.model.tensor(step.input), subject.model.tensor(step.output)
            row = next(row for row in rows if row.startswith(f"| {number} | {step.name} "))
            assert f"| {bits} | {source.bits} | {target.bits} |" in row
            assert f"| {packed_bytes_per_step(subject.model)[step.name]:,} |" in row

    @pytest.mark.parametrize(
        "note",
        [
            "ends */ here\nand /* there \\\nwith é",
            "*\\ void f(void); \\*",
            "\u56fe\\",
            "??/\u2028*\\\0",
        ],
    )
    def test_provenance_cannot_leave_its_comment(self, subject: ExportSubject, note: str) -> None:
        model = replace(subject.model, provenance={"note": note})
        text = CExporter().files(replace(subject, model=model))["c/model.h"].decode("ascii")
        head = text[: text.index("#ifndef")]
        assert head.count("*/") == 1
        assert head.count("/*") == 1
        assert "\\" not in head

    def test_template_with_an_unknown_name(self, tmp_path: Path) -> None:
        (tmp_path / "t.in").write_text("@KNOWN@ @OTHER@")
        with pytest.raises(KeyError, match="OTHER"):
            render(tmp_path / "t.in", {"KNOWN": "x"})


class TestRoom:
    def test_tiles_grow_as_far_as_the_plan_leaves_room(self, subject: ExportSubject) -> None:
        plan, model = subject.plan, subject.model
        roomy = replace(  # the same places, but everything above scratch is far away
            plan,
            arena_bytes=plan.arena_bytes + 2**20,
            tensors=tuple(
                replace(t, offset=t.offset + 2**20) if t.kind == "bottleneck" else t
                for t in plan.tensors
            ),
        )
        found = []
        for planned in (plan, roomy):
            source = CExporter().files(replace(subject, plan=planned))["c/model.c"].decode()
            flags = re.findall(r"^     (0|NAS_\w+(?: \| NAS_\w+)*)\},$", source, re.M)
            found.append([each.count("_THE_TILE") for each in flags])
        tight, wide = found
        assert len(wide) == len(model.nodes)
        assert max(tight) < 2
        assert max(wide) > 0
        assert all(few <= many for few, many in zip(tight, wide, strict=True))


class TestRefusals:
    def test_size_beyond_the_record(self) -> None:
        built = Untrained((300, 300, 1), np.random.default_rng(0))
        built.layer("sparse", 1, 1, 300, 8, 8, signed=True)
        with pytest.raises(
            ExportError,
            match=r"layer 'sparse': the stride is 300; the layer record holds up to 255",
        ):
            CExporter().files(subject_of(lower(built.network(), {"seed": "0"})))

    def test_plan_of_another_network(self, subject: ExportSubject) -> None:
        plan = replace(subject.plan, tensors=subject.plan.tensors[1:])
        with pytest.raises(ExportError, match="no place for"):
            CExporter().files(replace(subject, plan=plan))

    def test_sum_that_is_not_where_its_shortcut_is(self, subject: ExportSubject) -> None:
        moved = moved_tensor(subject, "a.project output", 4)
        with pytest.raises(
            ExportError, match=r"'a.project' adds a shortcut in place, but the memory plan has"
        ):
            CExporter().files(moved)

    def test_dense_layer_over_its_input(self, subject: ExportSubject) -> None:
        place = next(
            tensor.offset for tensor in subject.plan.tensors if tensor.name == "stem output"
        )
        current = next(
            tensor.offset for tensor in subject.plan.tensors if tensor.name == "a.expand output"
        )
        with pytest.raises(ExportError, match=r"'a.expand' would overwrite its input"):
            CExporter().files(moved_tensor(subject, "a.expand output", place - current))

    def test_depthwise_that_would_overwrite_unread_rows(self, subject: ExportSubject) -> None:
        model = subject.model
        step = next(step for step in model.nodes if step.name == "a.depthwise")
        source = next(tensor for tensor in subject.plan.tensors if tensor.name == step.input)
        output = next(tensor for tensor in subject.plan.tensors if tensor.name == step.output)
        assert (source.bits, output.bits) == (4, 6)
        row = 11 * 32 * 4 // 8
        place = (
            source.offset - int(2.4 * row) // 4 * 4
        )  # rows of the output are longer: the first would be too low, the last too high
        with pytest.raises(ExportError, match=r"'a.depthwise' cannot work in place"):
            CExporter().files(moved_tensor(subject, step.output, place - output.offset))

    @pytest.mark.parametrize("by", [-4, 4])
    def test_pool_that_would_overwrite_unread_values(self, subject: ExportSubject, by: int) -> None:
        with pytest.raises(ExportError, match=r"'b.pool' cannot work in place"):
            CExporter().files(moved_tensor(subject, "b.pool output", by))


def moved_tensor(subject: ExportSubject, name: str, by: int) -> ExportSubject:
    """Return a subject in whose plan one tensor lies somewhere else."""
    tensors = tuple(
        replace(tensor, offset=tensor.offset + by) if tensor.name == name else tensor
        for tensor in subject.plan.tensors
    )
    return replace(subject, plan=replace(subject.plan, tensors=tensors))


class TestCompiling:
    @pytest.mark.parametrize("level", ["-O0", "-O2"])
    def test_host_without_a_warning(self, folder: Path, tmp_path: Path, level: str) -> None:
        for path in [*sources(folder), folder / "main.c"]:
            compile_c(host_compiler(), *STRICT[:-1], level, "-c", path, "-o", tmp_path / "x.o")
        compile_c(
            host_compiler(),
            *STRICT,
            level,
            "-DMODEL_PRINTF",
            "-c",
            folder / "main.c",
            "-o",
            tmp_path / "x.o",
        )
        compile_c(host_compiler(), *STRICT, level, "-c", folder / "model.c", "-o", tmp_path / "x.o")

    def test_cortex_m7_without_a_warning(self, folder: Path, tmp_path: Path) -> None:
        compilers = arm_compilers() or pytest.skip("needs a compiler for Cortex-M")
        for compiler in compilers:
            for path in [*sources(folder), folder / "main.c"]:
                compile_c(compiler, *STRICT[:-1], "-O2", "-c", path, "-o", tmp_path / "x.o")

    @pytest.mark.skipif(not shutil.which("arm-none-eabi-gcc"), reason="needs arm-none-eabi-gcc")
    def test_cycle_counter_links_for_cortex_m7(self, folder: Path, tmp_path: Path) -> None:
        """Not run: no emulator counts cycles."""
        gcc = arm_compilers()[0]
        program = tmp_path / "cycles.elf"
        compile_c(
            gcc,
            *STRICT[:-1],
            *("-O2", "-DMODEL_DWT", "-DMODEL_PRINTF", "--specs=rdimon.specs"),
            folder / "main.c",
            *sources(folder),
            "-o",
            program,
        )
        symbols = subprocess.run(
            ["arm-none-eabi-nm", program], capture_output=True, text=True, check=True
        ).stdout
        assert " model_cycles" in symbols
        for path in (folder / "main.c", folder / "model.c"):  # without a printf
            compile_c(gcc, *STRICT[:-1], "-O2", "-DMODEL_DWT", "-c", path, "-o", tmp_path / "x.o")

    @pytest.mark.skipif(not shutil.which("make") or sys.platform == "win32", reason="needs make")
    def test_make(self, folder: Path, tmp_path: Path) -> None:
        copy = Path(shutil.copytree(folder, tmp_path / "c"))
        compiler = " ".join(host_compiler())
        done = subprocess.run(
            ["make", "test", f"CC={compiler}", "CFLAGS=-O1"],
            cwd=copy,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    @pytest.mark.skipif(not shutil.which("cmake") or sys.platform == "win32", reason="needs cmake")
    def test_cmake(self, folder: Path, tmp_path: Path) -> None:
        if len(host_compiler()) > 1:
            pytest.skip("cmake takes a compiler that is one program")
        for command in (
            ["cmake", "-S", str(folder), "-B", str(tmp_path)],
            ["cmake", "--build", str(tmp_path)],
        ):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stdout + done.stderr
        assert (
            subprocess.run(
                [str(tmp_path / "model_self_test")], capture_output=True, check=False
            ).returncode
            == 0
        )


class TestSelfTest:
    def test_passes(self, subject: ExportSubject, folder: Path, tmp_path: Path) -> None:
        done = self_test(folder, tmp_path / "test")
        assert done.returncode == 0, done.stdout
        assert done.stdout.count("pass") == len(subject.model.nodes) + 1

    def test_a_changed_weight_is_found_and_named(
        self, subject: ExportSubject, folder: Path, tmp_path: Path
    ) -> None:
        names = [step.name for step in subject.model.nodes]
        copy = Path(shutil.copytree(folder, tmp_path / "c"))
        text = (copy / "model.c").read_text()
        start = text.index("{", text.index("weights_", text.index("/* b.expand:")))
        at = text.index("0x", start)
        word = int(text[at : at + 10], 16)
        (copy / "model.c").write_text(f"{text[:at]}0x{word ^ 0x77777777:08X}{text[at + 10 :]}")
        done = self_test(copy, tmp_path / "test")
        assert done.returncode == names.index("b.expand") + 1
        assert "FAIL" in done.stdout

    def test_changed_logits_are_found(
        self, subject: ExportSubject, folder: Path, tmp_path: Path
    ) -> None:
        copy = Path(shutil.copytree(folder, tmp_path / "c"))
        text = (copy / "main.c").read_text()
        at = text.index("{", text.index("golden_logits"))
        old = text[at : text.index("}", at)]
        numbers = [int(number) for number in old[1:].split(",")]
        numbers[-1] += 1 if numbers[-1] < 127 else -1
        (copy / "main.c").write_text(text.replace(old, "{" + ", ".join(map(str, numbers)), 1))
        assert self_test(copy, tmp_path / "test").returncode == len(subject.model.nodes) + 1


def shared_library(path: Path, *arguments: str | Path) -> ctypes.CDLL:
    if sys.platform == "win32":
        pytest.skip("builds a shared library as Unix compilers do")
    compile_c(host_compiler(), "-std=c99", "-O2", "-fPIC", "-shared", *arguments, "-o", path)
    return ctypes.CDLL(str(path))


class Network:
    """A network in a shared library, through its C interface."""

    def __init__(self, library: ctypes.CDLL, prefix: str, arena_bytes: int) -> None:
        self.library, self.prefix, self.arena_bytes = library, prefix, arena_bytes
        self.arena = (ctypes.c_uint32 * (arena_bytes // 4))()

    def function(self, name: str, result: type | None) -> ctypes._CFuncPtr:
        found = self.library[f"{self.prefix}_{name}"]
        found.restype = result
        return found

    def logits(self, image: np.ndarray, classes: int) -> list[int]:
        self.function("input", ctypes.c_void_p)
        place = self.function("input", ctypes.c_void_p)(self.arena)
        ctypes.memmove(place, image.tobytes(), image.size)
        result = self.function("invoke", ctypes.POINTER(ctypes.c_int8))(self.arena)
        return list(result[:classes])


@pytest.fixture(scope="module")
def network(
    subject: ExportSubject, folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Network:
    library = shared_library(tmp_path_factory.mktemp("library") / "one.so", *sources(folder))
    return Network(library, "model", subject.plan.arena_bytes)


class TestInterface:
    def test_logits_of_every_image(self, network: Network, subject: ExportSubject) -> None:
        images = random_images(subject.model, 6, seed=7)
        expected = run(subject.model, images)
        for image, logits in zip(images, expected, strict=True):
            assert network.logits(image, len(logits)) == logits.tolist()

    def test_init_checks_size_and_alignment(self, network: Network) -> None:
        init = network.function("init", ctypes.c_int)
        size, address = network.arena_bytes, ctypes.addressof(network.arena)
        assert init(ctypes.c_void_p(address), ctypes.c_size_t(size)) == 0
        assert init(ctypes.c_void_p(address), ctypes.c_size_t(size + 1)) == 0
        assert init(ctypes.c_void_p(address), ctypes.c_size_t(size - 1)) == -1
        assert init(ctypes.c_void_p(address + 1), ctypes.c_size_t(size)) == -1
        assert init(ctypes.c_void_p(address + 2), ctypes.c_size_t(size)) == -1
        assert init(None, ctypes.c_size_t(size)) == -1

    def test_first_largest_logit_is_predicted(self, network: Network) -> None:
        predict = network.function("predict", ctypes.c_uint)
        for values, index in (((-128, -128, -128), 0), ((-5, 127, 127), 1), ((3, -7, 4), 2)):
            assert predict((ctypes.c_int8 * 3)(*values)) == index

    def test_layers_can_be_asked_for(self, network: Network, subject: ExportSubject) -> None:
        class Info(ctypes.Structure):
            _fields_ = (
                ("name", ctypes.c_char_p),
                ("kind", ctypes.c_char_p),
                ("output_offset", ctypes.c_uint32),
                ("macs", ctypes.c_uint32),
                *((name, ctypes.c_uint16) for name in ("height", "width", "channels")),
                *(
                    (name, ctypes.c_uint8)
                    for name in ("weight_bits", "input_bits", "output_bits", "by_rows", "native")
                ),
                ("output_low", ctypes.c_int8),
            )

        layer = network.function("layer", ctypes.POINTER(Info))
        model = subject.model
        offsets = {tensor.name: tensor.offset for tensor in subject.plan.tensors}
        for number, step in enumerate(model.nodes):
            info, target = layer(number).contents, model.tensor(step.output)
            assert info.name.decode() == step.name
            assert info.kind.decode() == step.kind
            assert (info.output_offset, info.macs) == (offsets[step.output], step_macs(model, step))
            assert (info.height, info.width, info.channels) == target.shape
            assert info.weight_bits == getattr(step, "weight_bits", 0)
            assert (info.input_bits, info.output_bits) == (
                model.tensor(step.input).bits,
                target.bits,
            )
            assert info.output_low == target.low
        assert not layer(len(model.nodes))
        assert not layer(2**32 - 1)

    def test_observer_sees_every_tensor(self, network: Network, subject: ExportSubject) -> None:
        images = random_images(subject.model, 1, seed=3)
        tensors = trace(subject.model, images)
        seen: list[str] = []

        @ctypes.CFUNCTYPE(
            None, ctypes.c_uint, ctypes.c_uint, ctypes.c_void_p, ctypes.c_uint, ctypes.c_void_p
        )
        def after(step: int, row: int, start: int, size: int, context: int) -> None:
            spec = subject.model.tensor(subject.model.nodes[step].output)
            count = int(np.prod(spec.shape))
            assert (row, size) == (0, -(-count * spec.bits // 8))
            stream = np.frombuffer(ctypes.string_at(start, size), np.uint8)
            bits = np.unpackbits(stream, bitorder="little")[: count * spec.bits].reshape(
                count, spec.bits
            )
            values = (bits.astype(np.int64) << np.arange(spec.bits)).sum(axis=1) + spec.low
            assert context == 17
            seen.append(
                spec.name
                if np.array_equal(values, tensors[spec.name].ravel())
                else f"wrong {spec.name}"
            )

        ctypes.memmove(
            network.function("input", ctypes.c_void_p)(network.arena), images.tobytes(), images.size
        )
        network.function("invoke_observed", ctypes.POINTER(ctypes.c_int8))(
            network.arena, after, ctypes.c_void_p(17)
        )
        assert seen == [step.output for step in subject.model.nodes]

    def test_class_names_of_any_kind(self, subject: ExportSubject, tmp_path: Path) -> None:
        classes = ('say "no"', "back\\slash ??/", "größe 7%s")
        folder = export_c(tmp_path, replace(subject, model=replace(subject.model, classes=classes)))
        library = shared_library(tmp_path / "names.so", *sources(folder))
        names = (ctypes.c_char_p * 3).in_dll(library, "model_class_names")
        assert tuple(name.decode() for name in names) == classes


class TestSizes:
    def test_by_the_contract(self) -> None:
        model = small_network()
        expected = 0
        for step in model.nodes:
            if not isinstance(step, IntegerConvolution):
                expected += LAYER_RECORD_BYTES
                continue
            bits = step.weights.size * step.weight_bits
            expected += (
                4 * ((bits + 31) // 32) + 4 * ((9 * len(step.bias) + 3) // 4) + LAYER_RECORD_BYTES
            )
            expected += 24 if step.addition else 0
        assert packed_bytes(model) == expected
        assert sum(packed_bytes_per_step(model).values()) == expected

    def test_sections_of_a_host_object(
        self, subject: ExportSubject, folder: Path, tmp_path: Path
    ) -> None:
        if not is_elf_host() or len(host_compiler()) > 1:
            pytest.skip("needs a compiler of the system that writes ELF files")
        compile_c(
            host_compiler(),
            "-std=c99",
            "-O2",
            "-fno-pic",
            "-fno-pie",
            "-c",
            folder / "model.c",
            "-o",
            tmp_path / "model.o",
        )
        records = LAYER_RECORD_BYTES * len(
            subject.model.nodes
        )  # pointers have 8 bytes here, so these are larger
        assert packed_in(sections(tmp_path / "model.o"), subject.model) + records == packed_bytes(
            subject.model
        )

    def test_sections_of_a_cortex_m7_object(
        self, subject: ExportSubject, folder: Path, tmp_path: Path
    ) -> None:
        compilers = arm_compilers() or pytest.skip("needs a compiler for Cortex-M")
        for compiler in compilers:
            compile_c(
                compiler, "-std=c99", "-O2", "-c", folder / "model.c", "-o", tmp_path / "model.o"
            )
            found = sections(tmp_path / "model.o")
            assert found[".rodata.nas_layers"] == LAYER_RECORD_BYTES * len(subject.model.nodes)
            assert packed_in(found, subject.model) + found[".rodata.nas_layers"] == packed_bytes(
                subject.model
            )
            assert found.get(".data", 0) == 0
            assert found.get(".bss", 0) == 0


def packed_in(found: dict[str, int], model: IntegerModel) -> int:
    """Return the bytes of all sections of packed weights and constants; each step's as it is
    counted.
    """
    packed = {
        name: size for name, size in sorted(found.items()) if name.startswith(".rodata.nas_packed.")
    }
    each = [
        size - LAYER_RECORD_BYTES
        for size in packed_bytes_per_step(model).values()
        if size > LAYER_RECORD_BYTES
    ]
    assert list(packed.values()) == each
    return sum(packed.values())
