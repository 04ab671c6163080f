"""Every exporter of the table satisfies the contract."""

from __future__ import annotations

import pytest

from nas_engine.exporters.exporter import Exporter
from nas_engine.exporters.table import EXPORTERS
from nas_engine.testing.exporters import ExporterContract


class TestExporters(ExporterContract):
    @pytest.fixture(params=EXPORTERS)
    def exporter(self, request: pytest.FixtureRequest) -> Exporter:
        return EXPORTERS[request.param]
