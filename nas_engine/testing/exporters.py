"""Contract of exporters; inherit ``ExporterContract`` and name the exporter in ``part``."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import ClassVar

import pytest

from nas_engine.exporters.bundle import subject_of
from nas_engine.exporters.exporter import Exporter, ExportSubject
from nas_engine.exporters.table import EXPORTERS
from nas_engine.integer.store import GoldenVectors, SavedModel
from nas_engine.parts import EXPORTER
from nas_engine.testing.adopted import adopted
from nas_engine.testing.networks import random_images, random_model

SEEDS = (1, 4, 7, 1003)
"""Networks with shortcuts, pooled shortcuts, and widths from 2 to 8."""


def subject_from(seed: int) -> ExportSubject:
    """Return a random network, ready to be exported."""
    model = random_model(seed)
    return subject_of(
        SavedModel(model=model, golden=GoldenVectors.of(model, random_images(model, 2))),
        "cortex-m7",
    )


class ExporterContract:
    """Inherit this and name the exporter, ``FILE.py:NAME``, ``module:NAME`` or a registered name.

    One that is at hand comes from an ``exporter`` fixture of its own.
    """

    part: ClassVar[str] = ""

    @pytest.fixture
    def exporter(self, request: pytest.FixtureRequest) -> Exporter:
        """Return the exporter under test, which stands in the table."""
        return adopted(request, EXPORTER, self.part, EXPORTERS)

    @pytest.fixture(autouse=True)
    def can_run(self, exporter: Exporter) -> None:
        if (line := exporter.missing()) is not None:
            pytest.skip(line)

    def test_stands_in_the_table_under_its_name(self, exporter: Exporter) -> None:
        assert type(EXPORTERS[exporter.name]) is type(exporter)

    @pytest.mark.parametrize("seed", SEEDS)
    def test_files_stay_in_the_folder_and_are_nobody_elses(
        self, exporter: Exporter, seed: int
    ) -> None:
        subject = subject_from(seed)
        files = exporter.files(subject)
        assert files
        for name, content in files.items():
            path = PurePosixPath(name)
            assert not path.is_absolute()
            assert ".." not in path.parts
            assert name == str(path)
            assert isinstance(content, bytes)
        others = [
            other
            for other in EXPORTERS.values()
            if other.name != exporter.name and other.missing() is None
        ]
        assert not files.keys() & {name for other in others for name in other.files(subject)}

    @pytest.mark.parametrize("seed", SEEDS)
    def test_the_same_network_gives_the_same_bytes(self, exporter: Exporter, seed: int) -> None:
        assert exporter.files(subject_from(seed)) == exporter.files(subject_from(seed))

    def test_another_network_gives_others(self, exporter: Exporter) -> None:
        first, second = (exporter.files(subject_from(seed)) for seed in SEEDS[:2])
        assert first != second

    @pytest.mark.parametrize("seed", SEEDS)
    def test_every_layer_can_be_found(self, exporter: Exporter, seed: int) -> None:
        """By its name, in at least one file: per-layer bits are of no use without."""
        subject = subject_from(seed)
        content = b"".join(exporter.files(subject).values())
        for step in subject.model.nodes:
            assert step.name.encode() in content
