"""Contract of back-ends; inherit ``BackendContract`` and name the back-end in ``part``."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from device_profiles import load_device
from nas_engine.exporters.bundle import export_files, formats_of, missing_for, subject_of
from nas_engine.exporters.exporter import ExportSubject
from nas_engine.exporters.settings import ExportSettings
from nas_engine.integer.reference import run
from nas_engine.integer.store import GoldenVectors, SavedModel
from nas_engine.parts import BACK_END
from nas_engine.testing.adopted import adopted
from nas_engine.testing.networks import random_images, random_model
from nas_engine.verification.backend import Backend, BackendError
from nas_engine.verification.compare import checksums
from nas_engine.verification.table import FOREIGN, Row, back_ends, foreign_row

SEEDS = (1, 4, 1003)
IMAGES = 6


def exported(folder: Path, seed: int) -> ExportSubject:
    """Export a random network in every format and return it."""
    model = random_model(seed)
    subject = subject_of(
        SavedModel(model=model, golden=GoldenVectors.of(model, random_images(model, 2))),
        "cortex-m7",
    )
    formats = tuple(name for name in formats_of() if not missing_for([name]))
    for name, content in export_files(subject, ExportSettings(formats=formats)).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return subject


class BackendContract:
    """Inherit this and name the back-end, ``FILE.py:NAME``, ``module:NAME`` or a registered name.

    A row that is at hand comes from a ``row`` fixture of its own.
    """

    part: ClassVar[str] = ""

    @pytest.fixture
    def row(self, request: pytest.FixtureRequest) -> Row:
        """Return the row of the back-end under test."""
        found = adopted(request, BACK_END, self.part, FOREIGN)
        return foreign_row(found.name, IMAGES)

    @pytest.fixture
    def backend(self, row: Row) -> Backend:
        if (line := row.backend.missing()) is not None:
            pytest.skip(line)
        return row.backend

    def test_has_a_name_of_its_own(self, row: Row) -> None:
        others = [
            other for other in back_ends(load_device("cortex-m7"), 10, 2) if other.name != row.name
        ]
        assert row.backend.name not in {other.backend.name for other in others}

    @pytest.mark.parametrize("seed", SEEDS)
    def test_it_computes_the_network(
        self, row: Row, backend: Backend, seed: int, tmp_path: Path
    ) -> None:
        subject = exported(tmp_path / "export", seed)
        if not (tmp_path / "export" / row.file).exists():
            pytest.skip(f"this network has no {row.file}")
        images = random_images(subject.model, row.images, seed=9)
        (tmp_path / "work").mkdir()
        before = {
            path: path.read_bytes() for path in (tmp_path / "export").rglob("*") if path.is_file()
        }
        result = backend.run(tmp_path / "export", subject.model, images, tmp_path / "work")
        expected = run(subject.model, images)
        assert result.logits.dtype == np.int8
        assert result.logits.shape[1:] == expected.shape[1:]
        assert 0 < len(result.logits) <= len(images)
        assert result.seconds >= 0
        assert result.version.splitlines() == [result.version]
        tensors = checksums(subject.model, images[:1])
        assert result.checksums.keys() <= tensors.keys()
        if backend.exact:
            assert np.array_equal(result.logits, expected[: len(result.logits)])
            assert {name: tensors[name] for name in result.checksums} == result.checksums
        assert before == {
            path: path.read_bytes() for path in (tmp_path / "export").rglob("*") if path.is_file()
        }

    def test_a_file_that_is_not_there_is_one_clear_line(
        self, row: Row, backend: Backend, tmp_path: Path
    ) -> None:
        subject = exported(tmp_path / "export", SEEDS[0])
        shutil.rmtree(tmp_path / "export" / "c")
        for path in (tmp_path / "export").glob("model*"):
            path.unlink()
        (tmp_path / "export" / row.file).unlink(missing_ok=True)
        (tmp_path / "work").mkdir()
        with pytest.raises(BackendError) as caught:
            backend.run(
                tmp_path / "export",
                subject.model,
                random_images(subject.model, 1),
                tmp_path / "work",
            )
        assert len(str(caught.value).splitlines()) == 1
