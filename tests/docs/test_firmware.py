"""docs/how_to/c_into_firmware.md: its C compiles, links where it says, and classifies as the
integer reference does.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import yaml

from nas_engine import verification
from nas_engine.integer.reference import predict
from nas_engine.testing.networks import random_images
from nas_engine.verification.elf import SHT_NOBITS, Elf
from nas_engine.verification.toolchain import compile_files, find_toolchain, link, missing_compiler
from tests.docs.pages import DOCS, blocks, pages_with
from tests.exporters.c_exports import (
    STRICT,
    compile_c,
    export_c,
    host_compiler,
    small_network,
    subject_of,
)

PAGE = DOCS / "how_to" / "c_into_firmware.md"
OWN_NETWORKS = DOCS / "how_to" / "two_networks.md"
"""Names networks of its own: tests/exporters/test_prefix.py compiles it."""

FILES = {block.file: block.text for block in blocks(PAGE) if block.file}

MAIN = """
#include "classifier.h"
#include "model.h"
#include <stdio.h>

int main(void)
{
    static uint8_t picture[MODEL_INPUT_HEIGHT * MODEL_INPUT_WIDTH * MODEL_INPUT_CHANNELS];
    if (classifier_start() != 0) {
        return 1;
    }
    while (fread(picture, sizeof picture, 1, stdin) == 1) {
        printf("%u\\n", classifier_run(picture));
    }
    return 0;
}
"""
"""``main.c`` as a user may write it."""

STAND_INS = """
cmake_minimum_required(VERSION 3.13)
project(firmware C)
add_library(app_interface INTERFACE)
macro(zephyr_library_named name)
    set(library ${name})
    add_library(${name} STATIC)
    target_link_libraries(${name} PRIVATE app_interface)
endmacro()
macro(zephyr_library_sources)
    target_sources(${library} PRIVATE ${ARGN})
endmacro()
macro(zephyr_include_directories)
    target_include_directories(app_interface INTERFACE ${ARGN})
endmacro()
add_subdirectory(network)
add_executable(firmware main.c classifier.c)
target_link_libraries(firmware PRIVATE network app_interface)
"""
"""Zephyr's functions, as far as the page uses them."""

SCRIPT = """
ENTRY(classifier_run)
MEMORY
{
    FLASH (rx) : ORIGIN = 0, LENGTH = 1M
    DTCM (rw) : ORIGIN = 0x20000000, LENGTH = 64K
    RAM (rw) : ORIGIN = 0x24000000, LENGTH = 64K
}
SECTIONS
{
    .text : { *(.text .text.* .rodata .rodata.*) } > FLASH
    @ARENA@
    .bss : { *(.bss .bss.*) } > RAM
    /DISCARD/ : { *(.ARM.exidx*) *(.comment) }
}
"""
"""A user's linker script, with the page's line in it."""


def project(folder: Path, network: str) -> Path:
    """Write the page's files and the C of a small network, the latter to a folder below."""
    exported = export_c(folder / "export", subject_of(small_network()))
    (folder / network).parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(exported, folder / network)
    for name in ("classifier.h", "classifier.c"):
        (folder / name).write_text(FILES[name], encoding="utf-8")
    (folder / "main.c").write_text(MAIN, encoding="utf-8")
    return folder


def built(folder: Path) -> Path:
    """Let CMake build a project for this machine."""
    host_compiler()
    if shutil.which("cmake") is None:
        pytest.skip("needs cmake")
    quick = ["-DCMAKE_C_COMPILER_WORKS=1", "-DCMAKE_C_FLAGS=-O0"]
    for command in (["cmake", "-S", ".", "-B", "build", *quick], ["cmake", "--build", "build"]):
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
    return folder / "build" / "firmware"


def check_answers(program: Path) -> None:
    model = small_network()
    images = random_images(model, 5, seed=3)
    done = subprocess.run(
        [program],
        input=np.ascontiguousarray(images).tobytes(),
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert [int(line) for line in done.stdout.split()] == predict(model, images).tolist()


def test_cmake_on_this_machine(tmp_path: Path) -> None:
    folder = project(tmp_path, "network")
    (folder / "CMakeLists.txt").write_text(FILES["CMakeLists.txt"], encoding="utf-8")
    check_answers(built(folder))


def test_zephyr_module_with_stand_ins(tmp_path: Path) -> None:
    folder = project(tmp_path, "network/c")
    (folder / "network" / "CMakeLists.txt").write_text(
        FILES["zephyr/CMakeLists.txt"], encoding="utf-8"
    )
    (folder / "CMakeLists.txt").write_text(STAND_INS, encoding="utf-8")
    assert yaml.safe_load(FILES["module.yml"]) == {"build": {"cmake": "."}}
    check_answers(built(folder))


@pytest.mark.skipif(missing_compiler() is not None, reason="needs a compiler for Arm")
def test_arena_in_a_memory_of_its_own(tmp_path: Path) -> None:
    """For a Cortex-M7: the C of the page with its line for the arena, linked with its line of the
    linker script.
    """
    folder, tools = project(tmp_path, "network"), find_toolchain()
    source, placed = folder / "classifier.c", FILES["arena.line"].strip()
    text, count = re.subn(
        r"^static uint32_t arena.*$", placed, source.read_text(encoding="utf-8"), flags=re.MULTILINE
    )
    assert count == 1
    source.write_text(text, encoding="utf-8")
    parts = [source, *(path for path in (folder / "network").glob("*.c") if path.name != "main.c")]
    headers = (
        Path(verification.__file__).parent / "firmware"
    )  # string.h, for compilers that bring none
    shutil.copy(headers / "string.c", folder)
    objects = compile_files(
        tools,
        "cortex-m7",
        [*parts, folder / "string.c"],
        [folder, folder / "network", headers],
        folder / "objects",
    )
    script = folder / "board.ld"
    script.write_text(SCRIPT.replace("@ARENA@", FILES["arena.ld"]), encoding="utf-8")
    link(tools, "cortex-m7", objects, script, folder / "firmware.elf")
    elf = Elf((folder / "firmware.elf").read_bytes(), "firmware.elf")
    (arena,) = re.findall(
        r"#define MODEL_ARENA_BYTES (\d+)", (folder / "network" / "model.h").read_text()
    )
    (section,) = [section for section in elf.sections if section.name == ".arena"]
    assert (section.kind, section.address, section.size) == (SHT_NOBITS, 0x20000000, int(arena))


def test_short_examples_compile(tmp_path: Path) -> None:
    """The C of other pages and of an export's README, each block as a file of its own."""
    compiler, exported = host_compiler(), export_c(tmp_path / "export", subject_of(small_network()))
    pages = [page for page in pages_with("c") if page not in (PAGE, OWN_NETWORKS)]
    texts = [block.text for page in [*pages, exported / "README.md"] for block in blocks(page, "c")]
    assert len(texts) > len(pages)
    for number, text in enumerate(texts):
        (tmp_path / f"{number}.c").write_text(text, encoding="utf-8")
        compile_c(compiler, *STRICT, "-fsyntax-only", f"-I{exported}", tmp_path / f"{number}.c")
