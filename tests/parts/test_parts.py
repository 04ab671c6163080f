"""Parts of a stranger's package: they pass the contracts, and are refused in one line."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from pathlib import Path

import pytest

from nas_engine.allocation.table import ALLOCATORS, allocate
from nas_engine.errors import FileFormatError, InputError, UnknownNameError
from nas_engine.evolution.config import build_problem, resolve_config
from nas_engine.exporters.bundle import formats_of
from nas_engine.exporters.table import EXPORTERS
from nas_engine.parts import (
    ALLOCATOR,
    BACK_END,
    COST,
    EXPORTER,
    SCORE,
    adopt,
    blamed,
    digest,
    load,
    registered,
)
from nas_engine.pipeline.refine_request import RefineRequest, methods_of
from nas_engine.runs.run_options import over_file
from nas_engine.scoring.objective import check_objective
from nas_engine.testing import (
    AllocatorContract,
    BackendContract,
    CostContract,
    ExporterContract,
    ScoreContract,
)
from nas_engine.testing.allocators import known
from nas_engine.testing.problems import knapsack
from nas_engine.verification.table import FOREIGN

PACKAGE = Path(__file__).parent / "example_part"
FILE = str(PACKAGE / "example_part" / "parts.py")


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the package be installed, and forget its parts afterwards."""
    monkeypatch.syspath_prepend(PACKAGE)
    before = [(table, dict(table)) for table in (ALLOCATORS, EXPORTERS, FOREIGN)]
    yield
    for table, rows in before:
        table.clear()
        table.update(rows)  # type: ignore[arg-type]


class TestAllocator(AllocatorContract):
    part = "first-comes-first"


class TestScore(ScoreContract):
    part = "quiet-macs"


class TestCost(CostContract):
    part = "bytes-read"


class TestExporter(ExporterContract):
    part = "names"


class TestBackend(BackendContract):
    part = "stranger"

    @pytest.fixture(autouse=True)
    def with_its_format(self) -> None:
        """Let exports have the file that it runs."""
        adopt(EXPORTER, "names", EXPORTERS)


class TestNames:
    def test_what_is_registered_is_found(self) -> None:
        found = [registered(kind) for kind in (SCORE, COST, ALLOCATOR, EXPORTER, BACK_END)]
        names = ("quiet-macs", "bytes-read", "first-comes-first", "names", "stranger")
        assert found == [(name,) for name in names]

    @pytest.mark.parametrize(
        "given",
        ["first-comes-first", f"{FILE}:FirstComesFirst", "example_part.parts:FirstComesFirst"],
    )
    def test_a_method_in_each_of_the_three_ways(self, given: str) -> None:
        names = methods_of(RefineRequest(method=f"{given}, qbr,{given}"))
        assert names == ("first-comes-first", "qbr")
        problem = knapsack(1)
        assert problem.is_feasible(allocate(names[0], problem, known(problem)).levels)

    @pytest.mark.parametrize("given", ["quiet-macs", "example_part.parts:quiet_macs"])
    def test_a_score_of_a_package(self, given: str) -> None:
        assert check_objective(given) == given
        config = resolve_config({"score": given})
        problem, _ = build_problem(config)
        assert problem.objective == config.score == given

    def test_a_path_is_kept_in_full(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(Path(FILE).parent)
        assert check_objective("parts.py:quiet_macs") == f"{FILE}:quiet_macs"

    def test_the_formats_know_them(self) -> None:
        assert formats_of([f"{FILE}:NamesExporter", "c"]) == ("c", "names")


class TestRefusals:
    def test_a_name_that_nothing_has(self) -> None:
        with pytest.raises(UnknownNameError, match=r"did you mean 'first-comes-first'\?.*, all$"):
            methods_of(RefineRequest(method="first-come-first"))
        with pytest.raises(UnknownNameError, match="unknown format: 'manifest'"):
            formats_of(["manifest"])
        with pytest.raises(UnknownNameError, match=r"unknown format: 'nam'.*one of: c, .*names$"):
            formats_of(["nam"])

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ("gone.py:Part", "cannot be read; give the path of an existing Python file"),
            ("no.such.module:Part", "cannot be run: ModuleNotFoundError"),
            (f"{FILE}:Missing", "has no allocator 'Missing'; give --method .*:NAME"),
            (f"{FILE}:NamesExporter", "is no allocator: it has no summary, needs, model, allocate"),
            ("example_part.parts:Taken", "calls itself 'qbr', as an allocator that ships"),
            ("example_part.parts:Unready", "fails with TypeError"),
        ],
    )
    def test_one_line_each(self, given: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
        import example_part.parts as parts  # type: ignore[import-not-found]

        class Unready(parts.FirstComesFirst):  # type: ignore[misc]
            def __init__(self, what: int) -> None:
                raise AssertionError(what)

        class Taken(parts.FirstComesFirst):  # type: ignore[misc]
            name = "qbr"

        monkeypatch.setattr(parts, "Taken", Taken, raising=False)
        monkeypatch.setattr(parts, "Unready", Unready, raising=False)
        with pytest.raises(InputError, match=message) as caught:
            adopt(ALLOCATOR, given, ALLOCATORS)
        assert len(str(caught.value).splitlines()) == 1

    def test_a_part_that_fails_is_named(self) -> None:
        name = adopt(ALLOCATOR, f"{FILE}:Broken", ALLOCATORS)
        problem = knapsack(1)
        with pytest.raises(InputError, match="allocator broken fails with RuntimeError: out of"):
            allocate(name, problem, known(problem))

    @pytest.mark.parametrize(
        ("program", "error"),
        [("1 / 0", "ZeroDivisionError"), ("raise SystemExit(3)", "SystemExit: 3")],
    )
    def test_a_module_that_fails_is_named(self, program: str, error: str, tmp_path: Path) -> None:
        (tmp_path / "bad.py").write_text(program)
        with pytest.raises(FileFormatError, match=f"cannot be run: {error}"):
            load(ALLOCATOR, f"{tmp_path / 'bad.py'}:Part")

    def test_parts_without_a_python_file_have_one_digest(self) -> None:
        assert digest("math:sqrt", math.sqrt) == digest("x:y", 1) == hashlib.sha256(b"").hexdigest()
        import example_part.parts as parts

        assert digest("example_part.parts:CASE", parts.FirstComesFirst()) == digest(
            f"{FILE}:FirstComesFirst", parts.FirstComesFirst
        )

    def test_a_part_that_exits_is_named(self) -> None:
        expected = pytest.raises(InputError, match="exporter x fails with SystemExit: 4")
        with expected, blamed(EXPORTER, "x"):
            raise SystemExit(4)

    def test_no_file_of_options_brings_a_method_along(self) -> None:
        stored = {"refine": {"method": f"qbr,{FILE}:FirstComesFirst"}}
        with pytest.raises(InputError, match=r"--method: the options .*runs only if the command"):
            over_file(stored, {})
        assert over_file(stored, stored) == stored
        assert over_file({"refine": {"method": "first-comes-first"}}, {})
