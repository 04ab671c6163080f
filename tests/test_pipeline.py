"""The pipeline: killed at any moment it resumes to the very result of an uninterrupted run,
whatever the number of workers.
"""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from device_profiles import load_device
from nas_engine.costs.flash import flash
from nas_engine.costs.sram import peak_sram
from nas_engine.encoding import GeneView
from nas_engine.errors import (
    FileFormatError,
    InfeasibleBudgetError,
    InputError,
    NasEngineError,
    RunDirectoryError,
)
from nas_engine.evolution.feasibility import require_feasible, smallest_networks
from nas_engine.evolution.operators import sample
from nas_engine.evolution.problem import make_problem
from nas_engine.files import StorageError, write_atomically
from nas_engine.layers import unroll
from nas_engine.pipeline import (
    SearchConfig,
    check_config,
    load_configs,
    load_runs,
    resolve_config,
    run_search,
)
from nas_engine.runs.run_directory import RunDirectory
from search_spaces import load_space, space_names
from tests.generations import ENVIRONMENT, GENERATION, SMALL_SETTINGS, python
from tests.sinks import Kept

ROOT = Path(__file__).resolve().parents[1]
OPTIONS: dict[str, Any] = {"space": "mobilenet-32", "sram": 65536, "flash": 262144}


def config(candidates: int = 3 * GENERATION, **options: Any) -> SearchConfig:
    """Return a small search."""
    return resolve_config({**OPTIONS, "candidates": candidates, **options})


def results(path: Path) -> dict[str, object]:
    """Return every file that a run left but those that hold times; none may be temporary."""
    files = {
        str(file.relative_to(path)): file.read_bytes()
        for file in sorted(path.rglob("*"))
        if file.is_file()
    }
    assert not [name for name in files if Path(name).name.startswith(".")]
    del files["checkpoint.npz"]
    rows = [json.loads(line) for line in files.pop("search.jsonl").splitlines()]
    return {
        **files,
        "history": [
            {key: value for key, value in row.items() if key not in ("elapsed_s", "crc32")}
            for row in rows
        ],
    }


@pytest.fixture(scope="module", autouse=True)
def small_generations() -> Iterator[None]:
    """Make generations small, in workers too: they are told the settings with each job."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nas_engine.pipeline.search.SearchSettings", SMALL_SETTINGS)
        yield


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """Result of an undisturbed run with one worker."""
    path = tmp_path_factory.mktemp("uninterrupted") / "run"
    run_search(config(), path)
    return results(path)


class Killed(BaseException):
    """Stands for SIGKILL inside the test's process: nothing on the way handles it."""


class TestKilled:
    def test_before_and_after_the_writes(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uninterrupted: dict[str, object]
    ) -> None:
        """Dies when the n-th file is flushed (odd: after it took its name); the many equal files of
        the front stand for each other.
        """
        real: dict[str, Callable[..., None]] = {"fsync": os.fsync, "replace": os.replace}

        def search(path: Path, dies: int) -> int:
            calls = 0

            def die(name: str, *arguments: Any) -> None:
                nonlocal calls
                calls += 1
                if calls - 1 == dies and name == "fsync":
                    raise Killed
                real[name](*arguments)
                if calls - 1 == dies:
                    raise Killed

            with monkeypatch.context() as patch:
                patch.setattr(os, "fsync", lambda *arguments: die("fsync", *arguments))
                patch.setattr(os, "replace", lambda *arguments: die("replace", *arguments))
                run_search(config(), path, checkpoint_seconds=0)
            return calls

        calls = search(tmp_path / "run", -1)
        assert results(tmp_path / "run") == uninterrupted
        assert calls > 50
        for dies in (*range(14), 31, calls - 2, calls - 1):
            path = tmp_path / f"run{dies}"
            with pytest.raises(Killed):
                search(path, dies)
            (path / ".checkpoint.npz.99999999.tmp").write_bytes(b"half")
            run_search(config(), path, resume=True)
            assert results(path) == uninterrupted, dies

    @pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
    @pytest.mark.parametrize(("workers", "moments"), [(1, (0.3, 0.5, 0.7)), (2, (0.6, 1.0))])
    def test_by_the_system_at_any_moment(
        self,
        tmp_path: Path,
        uninterrupted: dict[str, object],
        workers: int,
        moments: tuple[float, ...],
    ) -> None:
        code = (
            "import sys\nfrom pathlib import Path\nfrom nas_engine.pipeline import resolve_config, "
            "run_search\n"
            f"config = resolve_config({{**{OPTIONS!r}, 'candidates': {3 * GENERATION}}})\n"
            f"run_search(config, Path(sys.argv[1]), resume=True, workers={workers}, "
            "checkpoint_seconds=0)"
        )
        path = tmp_path / "run"
        for moment in (*moments, None):
            process = subprocess.Popen(
                python(code, str(path)), env=ENVIRONMENT, start_new_session=True
            )
            try:
                process.wait(moment)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            self.wait_for_the_end_of(process.pid)
        assert process.returncode == 0
        assert results(path) == uninterrupted

    @staticmethod
    def wait_for_the_end_of(session: int) -> None:
        """Wait until no process of a session is left: workers end by themselves."""
        end = time.monotonic() + 20
        while True:
            try:
                os.killpg(session, 0)
            except ProcessLookupError:
                return
            assert time.monotonic() < end, "workers have outlived the search"
            time.sleep(0.05)

    def test_workers_end_with_a_search_that_is_at_work(self, tmp_path: Path) -> None:
        if sys.platform == "win32":
            pytest.skip("no SIGKILL")
        code = (
            "import sys\nfrom pathlib import Path\nfrom nas_engine.pipeline import resolve_config, "
            "run_search\n"
            f"run_search(resolve_config({{**{OPTIONS!r}, 'candidates': 10**9}}), "
            "Path(sys.argv[1]), workers=2, checkpoint_seconds=0)"
        )
        path = tmp_path / "run"
        process = subprocess.Popen(python(code, str(path)), env=ENVIRONMENT, start_new_session=True)
        try:
            while not (path / "checkpoint.npz").exists():
                assert process.poll() is None
                time.sleep(0.01)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
        self.wait_for_the_end_of(process.pid)


class TestRunSearch:
    @pytest.mark.parametrize("workers", [2, 3])
    def test_workers_do_not_change_the_result(
        self, tmp_path: Path, uninterrupted: dict[str, object], workers: int
    ) -> None:
        run_search(config(), tmp_path / "run", workers=workers)
        assert results(tmp_path / "run") == uninterrupted

    def test_worker_that_dies(self, tmp_path: Path, uninterrupted: dict[str, object]) -> None:
        def kill(_: object) -> None:
            for child in multiprocessing.active_children():
                child.kill()

        with pytest.raises(NasEngineError, match="a worker process died"):
            run_search(
                config(), tmp_path / "run", workers=2, watch=Kept(kill), checkpoint_seconds=0
            )
        run_search(config(), tmp_path / "run", resume=True)
        assert results(tmp_path / "run") == uninterrupted

    @pytest.mark.parametrize("call", range(8))
    def test_full_disk_at_any_write(
        self,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        uninterrupted: dict[str, object],
        call: int,
    ) -> None:
        calls = itertools.count()

        def fail(descriptor: int) -> None:
            if next(calls) >= call:
                raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", fail)
            with pytest.raises(StorageError, match="No space left on device") as caught:
                run_search(config(), tmp_path / "run", checkpoint_seconds=0)
        assert caught.value.exit_code == 1
        run_search(config(), tmp_path / "run", resume=True)
        assert results(tmp_path / "run") == uninterrupted

    def test_two_searches_in_one_directory(self, tmp_path: Path) -> None:
        if sys.platform == "win32":
            pytest.skip("no locks")

        def second(_: object) -> None:
            with pytest.raises(RunDirectoryError, match="is in use by another nas-search"):
                run_search(config(), tmp_path / "run", resume=True)

        run_search(config(GENERATION), tmp_path / "run", watch=Kept(second))

    def test_fewer_candidates_than_were_evaluated(self, tmp_path: Path) -> None:
        run_search(config(), tmp_path / "run")
        assert (
            run_search(config(GENERATION), tmp_path / "run", resume=True).evaluated
            == 3 * GENERATION
        )

    def test_another_search_under_the_same_config(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run_search(config(GENERATION), tmp_path / "run")
        real = load_device("cortex-m7")
        monkeypatch.setattr(
            "nas_engine.evolution.config.load_device",
            lambda name: replace(real, reserved_flash_bytes=65536),
        )
        with pytest.raises(FileFormatError, match="belongs to another search"):
            run_search(config(GENERATION), tmp_path / "run", resume=True)

    def test_record_is_read_back(self, tmp_path: Path) -> None:
        written = run_search(config(GENERATION), tmp_path / "run")
        (read,) = load_runs(tmp_path / "run")
        assert read == written
        assert read.complete
        with pytest.raises(RunDirectoryError, match="is not a run directory"):
            load_runs(tmp_path)


class TestConfig:
    def test_round_trip(self, tmp_path: Path) -> None:
        for each in (
            config(),
            config(max_macs=5e7, qbr=False, sigma_a=3.0, seed=7, classes=0, resolution=48),
        ):
            RunDirectory(tmp_path).write_config(each.as_mapping())
            assert load_configs(tmp_path) == [each]

    def test_several_resolutions(self, tmp_path: Path) -> None:
        configs = [config(resolution=32), config(resolution=48)]
        mapping = {**configs[0].as_mapping(), "resolutions": [32, 48]}
        del mapping["resolution"]
        RunDirectory(tmp_path).write_config(mapping)
        assert load_configs(tmp_path) == configs
        for bad in ([], ["x"], 7, [True]):
            RunDirectory(tmp_path).write_config({**mapping, "resolutions": bad})
            with pytest.raises(FileFormatError, match="resolutions"):
                load_configs(tmp_path)

    def test_names_are_spelled_as_shipped_and_paths_absolute(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "mine.yaml").write_bytes(
            (ROOT / "device_profiles" / "data" / "rp2040.yaml").read_bytes()
        )
        assert (
            resolve_config({"device": " STM32F746", "space": "MobileNet_32"}).device == "stm32f746"
        )
        assert resolve_config({"space": "MobileNet_32"}).space == "mobilenet-32"
        assert resolve_config({"device": "mine.yaml"}).device == str(tmp_path / "mine.yaml")

    @pytest.mark.parametrize("memory", ["sram", "flash"])
    def test_memory_beyond_what_a_core_can_address(self, memory: str) -> None:
        assert getattr(resolve_config({memory: 2**29}), f"{memory}_bytes") == 2**29
        with pytest.raises(InputError, match="beyond the 536,870,912 B"):
            resolve_config({memory: 2**29 + 1})


class TestFeasibility:
    @pytest.mark.parametrize("model", ["arena", "paper"])
    @pytest.mark.parametrize(
        ("space", "resolution"),
        [("mobilenet", 96), ("mobilenet", 224), ("mobilenet-32", 32), ("qe-score-2022", 128)],
    )
    def test_smallest_is_exact(
        self, tmp_path: Path, space: str, resolution: int, model: str
    ) -> None:
        """The budget the message names is met by a search; below it, no network of the space can
        be.
        """
        device = load_device("stm32u585")
        needs = {}
        for memory, reserved in (
            ("sram", device.reserved_sram_bytes),
            ("flash", device.reserved_flash_bytes),
        ):
            options = {
                "space": space,
                "device": "stm32u585",
                "resolution": resolution,
                "memory_model": model,
                "schedule": "layers",
                "candidates": 1,
            }
            options |= {"sram": 2**24, "flash": 2**24, memory: reserved + 1}
            with pytest.raises(InfeasibleBudgetError) as caught:
                check_config(resolve_config(options))
            error = caught.value
            assert error.layer in str(error)
            needs[memory] = error.smallest
            enough = int(str(error).split(f"give --{memory} ")[1].split()[0])
            assert enough == int(np.ceil(error.smallest)) + reserved
            with pytest.raises(InfeasibleBudgetError):
                check_config(resolve_config({**options, f"{memory}_bytes": enough - 1}))
            record = run_search(
                resolve_config({**options, f"{memory}_bytes": enough}), tmp_path / memory
            )
            assert {"sram": record.best.peak_sram_bytes, "flash": record.best.total_flash_bytes}[
                memory
            ] == error.smallest

        problem = make_problem(load_space(space), device, resolution=resolution, memory_model=model)
        genes = sample(problem.space, problem.frame, 4000, np.random.default_rng(1))
        view = GeneView(problem.frame, genes)
        for bits, narrowest in (
            (view.w_bits, problem.space.weight_bits[0]),
            (view.a_bits, problem.space.activation_bits[0]),
        ):
            bits[1:-1] = np.where(bits[1:-1] > 0, narrowest, 0)
        table = unroll(problem.frame, genes)
        assert peak_sram(problem.model, table, view.a_bits).min() == needs["sram"]
        assert flash(problem.model, table, view.w_bits).min() == needs["flash"]

    def test_every_space_on_its_defaults(self) -> None:
        for space in space_names():
            require_feasible(make_problem(load_space(space), load_device("cortex-m7")))

    def test_limits(self) -> None:
        limits = {"max_macs": "MACs", "max_bitops": "BitOps", "max_cycles": "cycles"}
        for name, shown in limits.items():
            with pytest.raises(InfeasibleBudgetError, match=f"smallest possible {shown}") as caught:
                check_config(config(GENERATION, **{name: 1.0}))
            check_config(config(GENERATION, **{name: np.ceil(caught.value.smallest)}))
            with pytest.raises(InfeasibleBudgetError):
                check_config(config(GENERATION, **{name: caught.value.smallest * 0.999}))

    def test_narrowest_widths_are_those_the_device_allows(self) -> None:
        problem = make_problem(load_space("mobilenet"), load_device("cortex-m7"))
        allowed = problem.allowed.copy()
        allowed[:4], allowed[:, :5] = False, False
        narrow = replace(problem, allowed=allowed)
        view = GeneView(narrow.frame, smallest_networks(narrow))
        assert set(view.w_bits[1:-1].ravel().tolist()) == {0, 4}
        assert set(view.a_bits[1:-1].ravel().tolist()) == {0, 5}


class TestWriteAtomically:
    def test_whole_or_not_at_all(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        file = tmp_path / "new" / "a.yaml"
        write_atomically(file, "old")
        for name in ("fsync", "replace"):

            def fail(*_: object) -> None:
                raise OSError(28, "No space left on device")

            with monkeypatch.context() as patch:
                patch.setattr(os, name, fail)
                with pytest.raises(
                    StorageError, match=r"a\.yaml: cannot be written \(No space left on device\)"
                ):
                    write_atomically(file, "new")
            assert file.read_text() == "old"
            assert list(file.parent.iterdir()) == [file]
        write_atomically(file, b"new")
        assert file.read_bytes() == b"new"

    def test_equal_content_is_only_dated(self, tmp_path: Path) -> None:
        file = tmp_path / "a"
        write_atomically(file, "same")
        os.utime(file, (1, 1))
        inode = file.stat().st_ino
        write_atomically(file, "same")
        assert (file.stat().st_ino, file.stat().st_mtime > 1) == (inode, True)

    @pytest.mark.skipif(sys.platform == "win32", reason="rights of another kind")
    def test_rights_follow_the_umask(self, tmp_path: Path) -> None:
        before = os.umask(0o027)
        try:
            write_atomically(tmp_path / "a", "x")
        finally:
            os.umask(before)
        assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640
