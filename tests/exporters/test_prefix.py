"""Exports with prefixes: several networks, with different kernels and each with its own runtime, in
one program.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nas_engine.exporters.bundle import export_files
from nas_engine.exporters.exporter import ExportSubject
from nas_engine.exporters.settings import ExportSettings
from nas_engine.exporters.sizes import packed_bytes
from nas_engine.exporters.to_c import CExporter
from nas_engine.integer.lowering import lower
from nas_engine.integer.reference import run
from nas_engine.testing.networks import Untrained, random_images
from nas_engine.verification.cortex_m import CortexM
from nas_engine.verification.host_c import HostC
from tests.docs.pages import DOCS, blocks
from tests.exporters.c_exports import (
    STRICT,
    compile_c,
    export_c,
    host_compiler,
    sections,
    small_network,
    subject_of,
)

PAGE = DOCS / "how_to" / "two_networks.md"


def other_network() -> ExportSubject:
    """Return a network of other kernels than ``small_network``: no depth-wise layer of 3x3, a
    convolution, another depth-wise kernel.
    """
    built = Untrained((8, 8, 1), np.random.default_rng(4))
    built.layer("stem", 8, 3, 2, 6, 8)
    built.layer("wide", 8, 5, 1, 5, 5, kind="depthwise")
    built.layer("classifier", 4, 4, 4, 3, 8, signed=True)
    return subject_of(lower(built.network(), {"seed": "4"}))


@pytest.fixture(scope="module")
def subjects() -> Mapping[str, ExportSubject]:
    """The networks by prefix; the default prefix is one of them."""
    return {
        "model": subject_of(small_network(3)),
        "cats": subject_of(small_network(1)),
        "dogs": other_network(),
    }


@pytest.fixture(scope="module")
def folders(
    subjects: Mapping[str, ExportSubject], tmp_path_factory: pytest.TempPathFactory
) -> Mapping[str, Path]:
    root = tmp_path_factory.mktemp("networks")
    return {
        prefix: export_c(root / prefix, subject, prefix) for prefix, subject in subjects.items()
    }


@pytest.fixture(scope="module")
def objects(
    folders: Mapping[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Mapping[str, list[Path]]:
    """Every C file but ``main.c``, compiled alone and strictly."""
    root, made = tmp_path_factory.mktemp("objects"), {}
    for prefix, folder in folders.items():
        (root / prefix).mkdir()
        sources = [path for path in sorted(folder.glob("*.c")) if path.name != "main.c"]
        done = subprocess.run(
            [*host_compiler(), *STRICT, "-O1", "-fno-pic", "-c", *sources],
            cwd=root / prefix,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        made[prefix] = sorted((root / prefix).glob("*.o"))
        assert len(made[prefix]) == len(sources)
    return made


def kernels(folder: Path, prefix: str) -> set[str]:
    return {path.name.removeprefix(f"{prefix}_") for path in folder.glob("*nas_*.c")}


def program(subjects: Mapping[str, ExportSubject]) -> str:
    """Return a program that reads an image for each network from its input and writes the logits of
    each.
    """
    parts = ["#include <stdio.h>", *(f'#include "{prefix}.h"' for prefix in subjects)]
    for prefix in subjects:
        upper = prefix.upper()
        parts.append(
            f"static int {prefix}(void)\n{{\n"
            f"    static uint32_t arena[{upper}_ARENA_BYTES / 4];\n"
            f"    const size_t bytes = {upper}_INPUT_HEIGHT * {upper}_INPUT_WIDTH * "
            f"{upper}_INPUT_CHANNELS;\n"
            f"    if ({prefix}_init(arena, sizeof arena) != 0 || fread({prefix}_input(arena), 1, "
            "bytes, stdin) != bytes) return 1;\n"
            f"    return fwrite({prefix}_invoke(arena), 1, {upper}_CLASSES, stdout) != "
            f"{upper}_CLASSES;\n}}"
        )
    return "\n".join(
        [
            *parts,
            f"int main(void) {{ return {' || '.join(f'{prefix}()' for prefix in subjects)}; }}",
            "",
        ]
    )


def check_logits(path: Path, subjects: Mapping[str, ExportSubject]) -> None:
    images = {
        prefix: random_images(subject.model, 1, seed=8) for prefix, subject in subjects.items()
    }
    data = b"".join(np.ascontiguousarray(image).tobytes() for image in images.values())
    done = subprocess.run([path], input=data, capture_output=True, timeout=60, check=True)
    assert done.stdout == b"".join(
        run(subject.model, images[prefix]).tobytes() for prefix, subject in subjects.items()
    )


def test_the_networks_have_different_kernels(folders: Mapping[str, Path]) -> None:
    assert kernels(folders["cats"], "cats") - kernels(folders["dogs"], "dogs")
    assert kernels(folders["dogs"], "dogs") - kernels(folders["cats"], "cats")


def test_linked_as_objects(
    subjects: Mapping[str, ExportSubject],
    folders: Mapping[str, Path],
    objects: Mapping[str, list[Path]],
    tmp_path: Path,
) -> None:
    (tmp_path / "program.c").write_text(program(subjects))
    parts = [path for each in objects.values() for path in each]
    include = [f"-I{folder}" for folder in folders.values()]
    compile_c(
        host_compiler(),
        *STRICT,
        "-no-pie",
        *include,
        tmp_path / "program.c",
        *parts,
        "-o",
        tmp_path / "program",
    )
    check_logits(tmp_path / "program", subjects)


@pytest.mark.skipif(shutil.which("ar") is None, reason="needs ar")
@pytest.mark.parametrize("together", [False, True])
def test_linked_as_libraries(
    subjects: Mapping[str, ExportSubject],
    folders: Mapping[str, Path],
    objects: Mapping[str, list[Path]],
    tmp_path: Path,
    together: bool,
) -> None:
    """Also with all objects in one archive, where two of a name would hide each other."""
    (tmp_path / "program.c").write_text(program(subjects))
    libraries = []
    for prefix, parts in objects.items():
        libraries.append(tmp_path / ("liball.a" if together else f"lib{prefix}.a"))
        subprocess.run(["ar", "rcs", libraries[-1], *parts], check=True)
    include = [f"-I{folder}" for folder in folders.values()]
    everything = list(dict.fromkeys(libraries))
    compile_c(
        host_compiler(),
        *STRICT,
        "-no-pie",
        *include,
        tmp_path / "program.c",
        *everything,
        "-o",
        tmp_path / "program",
    )
    check_logits(tmp_path / "program", subjects)


@pytest.mark.skipif(shutil.which("nm") is None, reason="needs nm")
def test_no_external_symbol_lacks_the_prefix(objects: Mapping[str, list[Path]]) -> None:
    for prefix in ("cats", "dogs"):
        done = subprocess.run(
            ["nm", "-g", *objects[prefix]], capture_output=True, text=True, check=True
        )
        defined = re.findall(r"^[0-9a-f]+ [A-Z] (\S+)$", done.stdout, re.MULTILINE)
        assert len(defined) > 10
        assert [name for name in defined if not name.startswith(f"{prefix}_")] == []
        used = set(re.findall(r"^ +U (\S+)$", done.stdout, re.MULTILINE))
        assert used - set(defined) <= {"memcpy", "memset", "__stack_chk_fail"}


def test_sections_files_macros_and_guards_have_the_prefix(
    folders: Mapping[str, Path], objects: Mapping[str, list[Path]]
) -> None:
    for prefix in ("cats", "dogs"):
        own = {name for path in objects[prefix] for name in sections(path) if "nas_" in name}
        assert own
        assert [
            name
            for name in own
            if not re.match(
                rf"\.(rela?\.)?rodata\.{prefix}_nas_|\.rela?\.rodata\.{prefix}_nas_", name
            )
        ] == []
        for path in folders[prefix].iterdir():
            fixed = path.name in ("main.c", "Makefile", "CMakeLists.txt", "README.md")
            assert fixed or path.name.startswith((f"{prefix}.", f"{prefix}_"))
            text = path.read_text()
            if path.suffix == ".h":
                macros = re.findall(r"^ *# *define (\w+)", text, re.MULTILINE)
                assert macros
                assert [name for name in macros if not name.startswith(f"{prefix.upper()}_")] == []
            assert not re.search(rf"(?<![\w])nas_(?!{prefix}\b|engine\b)|(?<![\w])NAS_", text), (
                path.name
            )


def test_build_files_have_the_prefix(folders: Mapping[str, Path]) -> None:
    cmake = (folders["dogs"] / "CMakeLists.txt").read_text()
    targets = re.findall(
        r"^ *(?:project|add_library|add_executable)\((\S+)|add_test\(NAME (\S+)",
        cmake,
        re.MULTILINE,
    )
    assert {first or second for first, second in targets} == {"nas_dogs", "dogs_self_test"}
    make = (folders["dogs"] / "Makefile").read_text()
    rules = re.findall(r"^([\w. ]+):(?!=)[^\n]*\n\t", make, re.MULTILINE)
    assert rules == ["dogs_self_test", "dogs_test", "dogs_clean"]
    assert set(re.findall(r"^(\w+) = ", make, re.MULTILINE)) == {
        "WARNINGS",
        "DOGS_OBJECTS",
        "DOGS_HEADERS",
    }


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_make_runs_the_self_test(folders: Mapping[str, Path], tmp_path: Path) -> None:
    shutil.copytree(folders["dogs"], tmp_path / "c")
    for target in ("objects", "test", "clean"):
        command = ["make", target, f"CC={' '.join(host_compiler())}", "CFLAGS=-O1"]
        done = subprocess.run(
            command, cwd=tmp_path / "c", capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert target != "test" or "pass: class" in done.stdout
    assert sorted(path.name for path in (tmp_path / "c").iterdir()) == sorted(
        path.name for path in folders["dogs"].iterdir()
    )


def test_texts_of_the_user_keep_their_names(subjects: Mapping[str, ExportSubject]) -> None:
    """Only the runtime's own names are changed: not a class, layer or data set that happens to be
    called ``nas_...``.
    """
    subject = subjects["dogs"]
    model = replace(
        subject.model,
        classes=("nas_one", "NAS_TWO", "@PREFIX@", "d"),
        provenance={"data": "nas_data"},
    )
    settings = ExportSettings(formats=("c",), prefix="dogs")
    files = CExporter().files(replace(subject, model=model, settings=settings))
    assert b'"nas_one",\n    "NAS_TWO",\n    "@PREFIX@"' in files["c/dogs.c"]
    assert b" * data: nas_data\n" in files["c/dogs.h"]


@pytest.mark.parametrize(
    ("backend", "prefix"), [(HostC(), "wake"), (CortexM(), "board"), (CortexM(), "harness")]
)
def test_back_ends_run_an_export_with_a_prefix(
    backend: HostC | CortexM, prefix: str, tmp_path: Path
) -> None:
    """Also with the name of a file of the harness."""
    if problem := backend.missing():
        pytest.skip(problem)
    subject = subject_of(small_network())
    for name, content in export_files(
        subject, ExportSettings(formats=("c",), prefix=prefix)
    ).items():
        path = tmp_path / "export" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    images = random_images(subject.model, 2, seed=5)
    work = tmp_path / "work"
    work.mkdir()
    ran = backend.run(tmp_path / "export", subject.model, images, work)
    assert np.array_equal(ran.logits, run(subject.model, images))
    assert ran.footprint is None or ran.footprint.packed == packed_bytes(subject.model)


def test_the_page_compiles_and_links(tmp_path: Path) -> None:
    """docs/how_to/two_networks.md: its program, with the two networks that it names."""
    (text,) = [block.text for block in blocks(PAGE, "c")]
    subjects = {"faces": subject_of(small_network(5)), "gestures": other_network()}
    folders = {
        prefix: export_c(tmp_path / prefix, subject, prefix) for prefix, subject in subjects.items()
    }
    (tmp_path / "program.c").write_text(text + "\nint main(void) { return 0; }\n", encoding="utf-8")
    sources = [
        path for folder in folders.values() for path in folder.glob("*.c") if path.name != "main.c"
    ]
    include = [f"-I{folder}" for folder in folders.values()]
    compile_c(
        host_compiler(), *STRICT, *include, tmp_path / "program.c", *sources, "-o", tmp_path / "p"
    )
