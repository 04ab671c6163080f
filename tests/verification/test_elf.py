"""The ELF reader: against what compilers write, and against files that are none."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from benchmarks.sections import needed_sections
from nas_engine.errors import InputError
from nas_engine.verification.elf import Elf
from nas_engine.verification.toolchain import compile_files, find_toolchain
from tests.verification.standin import compilers

pytestmark = pytest.mark.skipif(
    not compilers(), reason="no cross compiler: neither arm-none-eabi-gcc nor ziglang"
)

FIRST = """
int shared(int x);
int helper(int x);
const int table[5] = {1, 2, 3, 4, 5};
int zeros[100];
__attribute__((noinline)) static int local(int x) { return x * table[x & 3]; }
int used(int x) { return shared(local(x)); }
int unused(int x) { zeros[x] = x; return helper(x); }
"""

SECOND = """
int shared(int x);
int helper(int x);
int shared(int x) { return x + 1; }
int helper(int x) { return x + 2; }
"""


@pytest.fixture(scope="module", params=compilers())
def objects(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Elf]:
    folder = tmp_path_factory.mktemp("elf")
    for name, text in (("first", FIRST), ("second", SECOND)):
        (folder / f"{name}.c").write_text(text, encoding="utf-8")
    sources = [folder / "first.c", folder / "second.c"]
    made = compile_files(
        find_toolchain(request.param), "cortex-m4", sources, (), folder / "objects"
    )
    return {path.stem: Elf(path.read_bytes(), path.name) for path in made}


def test_sections_and_symbols(objects: dict[str, Elf]) -> None:
    elf = objects["first"]
    by_name = {section.name: section for section in elf.sections}
    assert by_name[".rodata.table"].size == 20
    assert by_name[".bss.zeros"].size == 400
    assert by_name[".bss.zeros"].is_allocated
    assert not by_name[".symtab"].is_allocated
    start = by_name[".rodata.table"].offset
    assert struct.unpack_from("<5i", elf.content, start) == (1, 2, 3, 4, 5)
    symbols = {symbol.name: symbol for symbol in elf.symbols}
    assert symbols["used"].is_function
    assert 0 <= elf.size(".text.used") - symbols["used"].size < 4
    assert symbols["table"].size == 20
    assert not symbols["table"].is_function
    assert symbols["shared"].section is None
    assert elf.size(".nowhere") == 0


def test_a_function_is_found_by_address_or_not_at_all(objects: dict[str, Elf]) -> None:
    assert objects["second"].place(2).endswith("+0x2")
    assert objects["second"].place(0x5000) == "in no function"
    assert objects["second"].address("helper") == 0
    with pytest.raises(InputError, match="no symbol 'nothing'"):
        objects["second"].address("nothing")


def test_what_a_function_needs(objects: dict[str, Elf]) -> None:
    needed = needed_sections(objects, ["used"])
    assert {".text.used", ".rodata.table"} <= {section for _, section in needed}
    assert ("second", ".text.shared") in needed
    assert not {
        name for name in needed if "unused" in name[1] or "helper" in name[1] or "zeros" in name[1]
    }
    both = needed_sections(objects, ["used", "unused"])
    assert needed.items() < both.items()
    assert both["first", ".bss.zeros"] == 400
    assert all(size % 4 == 0 for size in both.values())
    assert needed_sections(objects, ["from the compiler's library"]) == {}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x7fELF",
        b"\x7fELF\x02\x01" + bytes(60),
        b"\x7fELF\x01\x02" + bytes(60),
        b"MZ" + bytes(64),
    ],
)
def test_other_files_are_refused(content: bytes) -> None:
    with pytest.raises(InputError, match="picture is not an ELF file"):
        Elf(content, "picture")


def test_other_processors_are_refused(objects: dict[str, Elf]) -> None:
    content = bytearray(objects["first"].content)
    content[18] = 62  # x86-64
    with pytest.raises(InputError, match="not an ELF file of a little-endian 32-bit Arm"):
        Elf(bytes(content))


def test_the_package_holds_the_firmware() -> None:
    import nas_engine.verification.cortex_m as module

    folder = Path(module.__file__).parent / "firmware"
    assert {*module.FIRMWARE_FILES, "board.ld.in"} <= {path.name for path in folder.iterdir()}
