"""Two rules about files, checked in the source: content comes in by ``nas_engine.reading`` alone,
and no handler tells a lack of memory or what the operating system refuses as damage.

Exceptions stand in the tables below with their reasons; one that is not needed any more is an error
too.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

PACKAGES = ("nas_engine", "device_profiles", "search_spaces")

DOOR = "nas_engine/reading.py"

PACKAGE_FILE = "a file of the package"
ALONE = (
    "stands alone, so that it starts quickly; reads what the calling process wrote into its own "
    "folder"
)

READS: Mapping[str, str] = {
    "nas_engine/faces.py:face": PACKAGE_FILE,
    "nas_engine/options.py:_rows": PACKAGE_FILE,
    "nas_engine/testing/back_ends.py:BackendContract.test_it_computes_the_network": "a test",
    "nas_engine/kernels/build.py:_texts": PACKAGE_FILE,
    "nas_engine/kernels/build.py:_processor": "the system's list of processors",
    "nas_engine/costs/instruction_model.py:shipped_table": PACKAGE_FILE,
    "nas_engine/verification/code_size.py:shipped_table": PACKAGE_FILE,
    "nas_engine/verification/board.py:Board.script": PACKAGE_FILE,
    "nas_engine/verification/host_c.py:shipped_flags": PACKAGE_FILE,
    "nas_engine/verification/cortex_m.py:compile_firmware": PACKAGE_FILE,
    "nas_engine/report/html/render.py:_style": PACKAGE_FILE,
    "nas_engine/exporters/to_c.py:render": PACKAGE_FILE,
    "nas_engine/exporters/to_c.py:runtime_files": PACKAGE_FILE,
    "nas_engine/exporters/manifest.py:_schema_bytes": PACKAGE_FILE,
    "nas_engine/verification/tflite_worker.py:main": ALONE,
    "nas_engine/verification/tflite_worker.py:run_micro": ALONE,
    "nas_engine/training/study_file.py:_journal": "cut after it was read by the door",
    "nas_engine/runs/run_directory.py:RunDirectory.locked": "a folder, opened for its lock",
    "nas_engine/files.py:sync_folder": "a folder, opened to be synced",
}
"""Functions that read a file otherwise, and why they may."""

HANDLERS: Mapping[str, str] = {
    "nas_engine/architecture.py:_parse_literal": (
        "Python's parser says MemoryError of text nested too deeply"
    ),
    "nas_engine/cli/main.py:main": "the last line of every command",
    "nas_engine/datasets/formats.py:_faults": (
        "says that the images do not fit into memory, and what to give"
    ),
    "nas_engine/datasets/images.py:_decoded": "reads from memory, where an OSError is Pillow's own",
    "nas_engine/datasets/pickles.py:load_pickle": (
        "reads from memory, where an OSError is the reader's own"
    ),
    "nas_engine/interrupts.py:interruptible.run": "raised again by the caller",
    "nas_engine/pipeline/course.py:Course.expect": "the training that follows says it itself",
    "nas_engine/verification/tflite_worker.py:main": (
        "one line for the calling process, which does not call it damage"
    ),
}
"""Functions with a handler that takes memory or the system's refusals too, and why it may."""


LIBRARIES = ("np", "numpy", "torch", "zipfile", "tarfile", "gzip", "onnx")
"""Modules whose readers take a path or an open file."""


def functions(tree: ast.Module) -> Iterator[tuple[str, list[ast.AST]]]:
    """Yield every function's dotted name with the nodes that stand in it and in no inner function;
    ``""`` is the module.
    """

    def walk(node: ast.AST, name: str) -> Iterator[tuple[str, ast.AST]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                yield from walk(child, f"{name}.{child.name}".lstrip("."))
            else:
                yield name, child
                yield from walk(child, name)

    found: dict[str, list[ast.AST]] = {}
    for name, node in walk(tree, ""):
        found.setdefault(name, []).append(node)
    yield from found.items()


def dotted(node: ast.expr) -> str:
    """Return ``a.b.c`` of a chain of names, with ``?`` for what is no name."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else "?"


def is_read(call: ast.Call) -> bool:
    """Return whether a call opens or reads a file by its path."""
    name = dotted(call.func)
    last = name.rpartition(".")[2]
    keywords = {keyword.arg for keyword in call.keywords}
    first = call.args[0] if call.args else None
    constants = [
        each.value
        for each in (*call.args, *(k.value for k in call.keywords))
        if isinstance(each, ast.Constant)
    ]
    modes = [value for value in constants if isinstance(value, str) and value]
    if last in ("read_bytes", "imread", "loadtxt", "genfromtxt", "fromfile", "memmap", "safe_open"):
        return True
    if last == "read_text":
        return last != name  # as a plain name it is that of strict_yaml, which goes by the door
    if last in ("load", "ZipFile", "TarFile", "GzipFile") and name.split(".")[0] in LIBRARIES:
        opened = isinstance(first, ast.Name) and first.id in ("file", "stream", "buffer")
        in_memory = isinstance(first, ast.Call) and dotted(first.func) == "io.BytesIO"
        return not (opened or in_memory or "fileobj" in keywords)
    if last != "open" or keywords & {"fileobj", "resume"} or name.startswith("archive."):
        return False
    return not (any(mode[0] in "wax" for mode in modes) or "O_WRONLY" in ast.unparse(call))


def names_of(handler: ast.ExceptHandler) -> set[str]:
    """Return what a handler takes, last names; ``BaseException`` for a bare one."""
    if handler.type is None:
        return {"BaseException"}
    types = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return {dotted(one).rpartition(".")[2] for one in types}


def swallows(attempt: ast.Try) -> Iterator[ast.ExceptHandler]:
    """Yield the handlers that take a lack of memory, or the system's refusals together with a
    parser's errors, and do not pass them on.
    """
    passed: set[str] = set()
    for handler in attempt.handlers:
        names, body = names_of(handler), handler.body
        ends = isinstance(body[-1], ast.Raise) and body[-1].exc is None
        looks = any(
            isinstance(node, ast.Call) and dotted(node.func) in TELLS for node in ast.walk(handler)
        )
        wide = bool(names & {"Exception", "BaseException"})
        memory = wide or "MemoryError" in names
        system = wide or (
            "OSError" in names
            and bool(names & {"ValueError", "KeyError", "TypeError", "RecursionError"})
        )
        if not ends and (
            (memory and not looks and "MemoryError" not in passed)
            or (system and not looks and "OSError" not in passed)
        ):
            yield handler
        if ends:
            passed |= names


TELLS = ("is_out_of_memory", "_failure", "UnreadableError")
"""Functions by which a handler tells these apart."""


def source() -> Iterator[tuple[str, ast.Module]]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def found_reads(files: Iterator[tuple[str, ast.Module]]) -> set[str]:
    return {
        f"{path}:{name}"
        for path, tree in files
        if path != DOOR
        for name, nodes in functions(tree)
        if any(isinstance(node, ast.Call) and is_read(node) for node in nodes)
    }


def found_handlers(files: Iterator[tuple[str, ast.Module]]) -> set[str]:
    return {
        f"{path}:{name}"
        for path, tree in files
        if path != DOOR
        for name, nodes in functions(tree)
        if any(list(swallows(node)) for node in nodes if isinstance(node, ast.Try))
    }


def test_files_come_in_by_one_door() -> None:
    assert found_reads(source()) == set(READS)


def test_no_handler_tells_memory_or_the_system_as_damage() -> None:
    assert found_handlers(source()) == set(HANDLERS)


@pytest.mark.parametrize(
    "text",
    [
        "open(path)",
        "path.open('rb')",
        "path.open(encoding='utf-8')",
        "path.read_bytes()",
        "(folder / 'a').read_text()",
        "np.load(path)",
        "torch.load(str(path))",
        "torch.jit.load(path)",
        "zipfile.ZipFile(path)",
        "tarfile.open(path, 'r:gz')",
        "Image.open(path)",
        "os.open(path, os.O_RDONLY)",
        "np.fromfile(path)",
    ],
)
def test_every_way_to_read_is_found(text: str) -> None:
    code = f"class C:\n    def f(self):\n        with x:\n            return [{text}]\n"
    assert found_reads(iter([("a.py", ast.parse(code))])) == {"a.py:C.f"}


@pytest.mark.parametrize(
    "text",
    [
        "path.open('wb')",
        "np.load(io.BytesIO(b))",
        "archive.open(entry)",
        "tarfile.open(fileobj=f)",
        "a.open(resume=False)",
        "read(p)",
    ],
)
def test_nothing_else_is_found(text: str) -> None:
    assert found_reads(iter([("a.py", ast.parse(text))])) == set()


@pytest.mark.parametrize(
    ("handlers", "found"),
    [
        ("except Exception:\n    x = 1", True),
        ("except:\n    x = 1", True),
        ("except MemoryError:\n    x = 1", True),
        ("except (OSError, ValueError) as e:\n    raise Damaged from e", True),
        ("except MemoryError:\n    raise\nexcept Exception:\n    x = 1", True),
        ("except (MemoryError, OSError):\n    raise\nexcept Exception:\n    x = 1", False),
        ("except Exception:\n    y()\n    raise", False),
        ("except Exception as e:\n    if is_out_of_memory(e):\n        raise\n    x = 1", False),
        ("except ValueError:\n    x = 1", False),
        ("except OSError:\n    x = 1", False),
    ],
)
def test_every_handler_that_takes_too_much_is_found(handlers: str, found: bool) -> None:
    code = f"try:\n    read()\n{handlers}\n"
    assert bool(found_handlers(iter([("a.py", ast.parse(code))]))) is found
