"""Run directory: what may be written where, and what is read back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nas_engine.errors import FileFormatError, RunDirectoryError
from nas_engine.files import StorageError
from nas_engine.runs.run_directory import FORMAT, GROUP_FORMAT, RunDirectory
from nas_engine.runs.search_front import FRONT_COLUMNS
from nas_engine.sealed import seal_line, seal_yaml
from tests.report.networks import make_network, make_report
from tests.resealed import content
from tests.test_files import DEAD


def row(number: int, **values: Any) -> dict[str, Any]:
    """Return one line of the history."""
    return {
        "generation": number,
        "evaluated": 100 * number,
        "best_score": 1.5,
        "feasible": 1.0,
        "elapsed_s": 0.1,
        **values,
    }


@pytest.fixture
def directory(tmp_path: Path) -> RunDirectory:
    directory = RunDirectory(tmp_path / "run")
    directory.open(resume=False, force=False)
    directory.begin({"seed": 1})
    return directory


class TestOpen:
    def test_new_empty_and_hidden(self, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        (tmp_path / "hidden").mkdir()
        (tmp_path / "hidden" / ".gitkeep").touch()
        for name in ("new/deep", "empty", "hidden"):
            RunDirectory(tmp_path / name).open(resume=False, force=False)
            assert (tmp_path / name).is_dir()

    def test_run_that_is_there(self, directory: RunDirectory) -> None:
        with pytest.raises(RunDirectoryError, match="holds a run already"):
            directory.open(resume=False, force=False)
        directory.open(resume=True, force=False)
        directory.open(resume=False, force=True)
        assert directory.read_config() == {"seed": 1}

    def test_foreign_files_are_never_touched(self, directory: RunDirectory) -> None:
        foreign = directory.path / "notes.txt"
        foreign.write_text("mine")
        directory.open(resume=False, force=True)
        directory.begin({"seed": 2})
        assert foreign.read_text() == "mine"
        (directory.path / "config.yaml").unlink()
        for force in (False, True):
            with pytest.raises(RunDirectoryError, match=r"'notes\.txt'"):
                directory.open(resume=False, force=force)

    def test_begin_removes_what_an_earlier_run_left(self, directory: RunDirectory) -> None:
        names = (
            "search.jsonl",
            "best.yaml",
            "memory_plan.json",
            "pareto.csv",
            "checkpoint.npz",
            "resolutions.csv",
        )
        for name in names:
            (directory.path / name).write_text("old")
        (directory.path / "plots").mkdir()
        (directory.path / "plots" / "a.png").write_text("old")
        (directory.path / "pareto").mkdir()
        directory.begin({"seed": 2})
        assert [path.name for path in directory.path.iterdir()] == ["config.yaml"]
        assert directory.read_config() == {"seed": 2}

    def test_begin_removes_the_runs_of_a_group_only(self, directory: RunDirectory) -> None:
        directory.member(96).open(resume=False, force=False)
        directory.member(96).begin({"seed": 1})
        directory.begin({"seed": 2})
        assert directory.member(96).started(), "a run of its own that happens to lie below"
        directory.begin({"resolutions": [96, 128]})
        assert directory.member(96).started()
        directory.begin({"resolutions": [96, 160]})
        assert not directory.member(96).path.exists()

    def test_temporary_files_of_a_killed_process(self, directory: RunDirectory) -> None:
        (directory.path / "pareto").mkdir()
        left = [
            directory.path / f".checkpoint.npz.{DEAD}.tmp",
            directory.path / "pareto" / f".001.yaml.{DEAD}.tmp",
        ]
        foreign = [directory.path / ".notes.tmp", directory.path / ".env"]
        for path in left + foreign:
            path.touch()
        with directory.locked():
            assert [path.exists() for path in left + foreign] == [False, False, True, True]

    def test_lock_is_given_back(self, directory: RunDirectory) -> None:
        for _ in range(2):
            with (
                directory.locked(),
                pytest.raises(RunDirectoryError, match="in use"),
                directory.locked(),
            ):
                pass

    def test_directory_that_cannot_be_made(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(StorageError):
            RunDirectory(tmp_path / "file" / "run").open(resume=False, force=False)


class TestConfig:
    def test_versions(self, directory: RunDirectory) -> None:
        file = directory.path / "config.yaml"
        assert file.read_text() == seal_yaml(f"format: {FORMAT}\nseed: 1\n")
        directory.write_config({"resolutions": [1, 2]})
        assert file.read_text().splitlines()[1] == f"format: {GROUP_FORMAT}"
        assert directory.read_config() == {"resolutions": [1, 2]}
        for text in (
            "format: nas-search/run/2",
            "seed: 1",
            f"format: {GROUP_FORMAT}",
            f"format: {FORMAT}\nresolutions: [1]",
            "format: [1]",
        ):
            file.write_text(text)
            with pytest.raises(RunDirectoryError, match="is a run of another version"):
                directory.read_config()

    def test_not_a_run(self, tmp_path: Path) -> None:
        for path in (tmp_path, tmp_path / "none", tmp_path / ("n" * 5000)):
            assert not RunDirectory(path).started()
            with pytest.raises(RunDirectoryError, match="is not a run directory"):
                RunDirectory(path).read_config()


class TestHistory:
    def test_append_cut_and_read(self, directory: RunDirectory) -> None:
        assert directory.history.read() == directory.history.keep(3) == []
        directory.history.append([row(1, best_score=None), row(2)])
        directory.history.append([row(3)])
        assert directory.history.read() == [row(1, best_score=None), row(2), row(3)]
        assert (
            directory.history.keep(2)
            == directory.history.read()
            == [row(1, best_score=None), row(2)]
        )

    def test_line_cut_in_half_at_the_end(self, directory: RunDirectory) -> None:
        directory.history.append([row(1), row(2)])
        file = directory.path / "search.jsonl"
        file.write_bytes(file.read_bytes()[:-5])
        assert directory.history.read() == directory.history.keep(1) == [row(1)]
        assert file.read_text() == seal_line(row(1))
        file.write_text(seal_line(row(1)) + seal_line(row(2))[:-1])
        assert directory.history.read() == [row(1), row(2)]
        file.write_text(seal_line(row(1)) + seal_line(row(2))[:-1] + "J")
        with pytest.raises(FileFormatError, match="line 2 is damaged"):
            directory.history.read()

    @pytest.mark.parametrize(
        "values",
        [
            {"generation": 1},
            {"generation": True},
            {"generation": 2.0},
            {"evaluated": 99},
            {"evaluated": -1},
            {"evaluated": None},
            {"best_score": "1"},
            {"best_score": float("nan")},
            {"feasible": 1.01},
            {"feasible": None},
            {"elapsed_s": float("inf")},
        ],
    )
    def test_damaged_line(self, directory: RunDirectory, values: dict[str, Any]) -> None:
        directory.history.append([row(1), row(2, **values)])
        with pytest.raises(FileFormatError, match="line 2 is damaged; remove the file"):
            directory.history.read()

    def test_missing_generations(self, directory: RunDirectory) -> None:
        directory.history.append([row(1)])
        with pytest.raises(FileFormatError, match="ends before generation 2"):
            directory.history.keep(2)


class TestResults:
    def test_best(self, directory: RunDirectory) -> None:
        with pytest.raises(RunDirectoryError, match="has no best"):
            directory.read_best()
        directory.write_best(make_network(), {"arena_bytes": 1})
        assert directory.read_best() == make_network()
        assert content(directory.path / "memory_plan.json") == {"arena_bytes": 1}

    def test_front(self, directory: RunDirectory) -> None:
        directory.front.write(
            [
                report.front_row()
                for report in (
                    make_report(),
                    make_report(make_network((2,)), cycles=7.0),
                    make_report(),
                )
            ]
        )
        assert len(list((directory.path / "pareto").iterdir())) == 3
        foreign = directory.path / "pareto" / "mine.yaml"
        foreign.touch()
        directory.front.write(
            [make_report(make_network((2,)), cycles=7.0).front_row(), make_report().front_row()]
        )
        assert sorted(path.name for path in (directory.path / "pareto").iterdir()) == [
            "001.yaml",
            "002.yaml",
            "mine.yaml",
        ]
        first, second = directory.front.read()
        assert tuple(first) == FRONT_COLUMNS[1:]
        assert (first["cycles_estimate"], second["cycles_estimate"]) == (7.0, 0.0)
        assert second["flash_bytes"] == make_report().total_flash_bytes

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "a,b\n1,2\n",
            ",".join(FRONT_COLUMNS) + "\nx,1,2,3\n",
            ",".join(FRONT_COLUMNS) + "\nx,nan,1,1,1,1,1\n",
        ],
    )
    def test_damaged_front(self, directory: RunDirectory, text: str) -> None:
        (directory.path / "pareto.csv").write_text(text)
        with pytest.raises(FileFormatError, match="cannot be read as the table of the front"):
            directory.front.read()
