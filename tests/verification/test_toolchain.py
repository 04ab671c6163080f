"""Cross compilers: which one is taken, with which options, and what is said when something does not
compile.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from nas_engine.verification import toolchain
from nas_engine.verification.backend import BackendError
from nas_engine.verification.toolchain import (
    Toolchain,
    compile_files,
    find_toolchain,
    missing_compiler,
    run_tool,
)
from tests.verification.standin import compilers

needs_compiler = pytest.mark.skipif(
    not compilers(), reason="no cross compiler: neither arm-none-eabi-gcc nor ziglang"
)


@pytest.mark.parametrize("name", compilers())
def test_version_and_key(name: str) -> None:
    tools = find_toolchain(name)
    assert tools.name == name
    program, number = tools.key.split()
    assert program == {"gcc": "arm-none-eabi-gcc", "zig": "zig"}[name]
    assert number.count(".") == 1
    assert tools.version.startswith(f"{program} {number}")


def test_the_key_has_major_and_minor_version() -> None:
    assert Toolchain(name="gcc", version="arm-none-eabi-gcc 12.2.1").key == "arm-none-eabi-gcc 12.2"
    assert Toolchain(name="zig", version="zig 0.17.1 (clang 22.1.8)").key == "zig 0.17"


@pytest.mark.parametrize("name", ["gcc", "zig"])
def test_options(name: str) -> None:
    tools = Toolchain(name=name, version="")
    command = tools.compile_command("cortex-m7")
    for option in (
        "-std=c99",
        "-ffunction-sections",
        "-fdata-sections",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-Wconversion",
    ):
        assert option in command
    assert {"gcc": "-O2", "zig": "-Os"}[name] in command
    if name == "gcc":
        assert {"-mcpu=cortex-m7", "-mfloat-abi=hard", "-mfpu=fpv5-sp-d16"} <= set(command)
        assert "-mfpu=fpv4-sp-d16" in tools.compile_command("cortex-m4")
    else:
        assert command[:4] == [sys.executable, "-m", "ziglang", "cc"]
        assert "-mcpu=cortex_m7" in command


def test_nothing_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toolchain.shutil, "which", lambda name: None)
    monkeypatch.setattr(toolchain.importlib.util, "find_spec", lambda name: None)
    for choice in (None, "gcc", "zig"):
        line = missing_compiler(choice)
        assert line is not None
        assert "install" in line
        assert "\n" not in line
        with pytest.raises(BackendError, match=r"toolchain: .*install"):
            find_toolchain(choice)
    assert "pip install 'nas-search[mcu]'" in (missing_compiler() or "")


def test_unknown_compiler() -> None:
    with pytest.raises(BackendError, match="unknown compiler 'icc'; expected one of: gcc, zig"):
        find_toolchain("icc")


@pytest.mark.parametrize("name", compilers())
def test_an_error_is_one_line_that_names_the_place(name: str, tmp_path: Path) -> None:
    source = tmp_path / "wrong.c"
    source.write_text("int f(void);\nint f(void)\n{\n    return nothing;\n}\n", encoding="utf-8")
    with pytest.raises(BackendError, match=r"wrong\.c:4:\d+: error: .*nothing") as caught:
        compile_files(find_toolchain(name), "cortex-m7", [source], (), tmp_path / "objects")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", compilers())
def test_warnings_are_errors(name: str, tmp_path: Path) -> None:
    source = tmp_path / "narrow.c"
    source.write_text(
        "#include <stdint.h>\nuint8_t f(uint32_t x);\nuint8_t f(uint32_t x)\n{\n    return x;\n}\n",
        encoding="utf-8",
    )
    with pytest.raises(BackendError, match="conversion"):
        compile_files(find_toolchain(name), "cortex-m4", [source], (), tmp_path / "objects")


def test_a_program_that_is_not_there() -> None:
    with pytest.raises(BackendError, match="could not be run"):
        run_tool(["no-such-compiler-anywhere"])
