"""Every quick back-end of the table satisfies the contract."""

from __future__ import annotations

import pytest

from device_profiles import load_device
from nas_engine.testing.back_ends import BackendContract
from nas_engine.verification.table import Row, back_ends

ROWS = {row.name: row for row in back_ends(load_device("cortex-m7"), 6, 2) if row.by_default}


class TestBackends(BackendContract):
    @pytest.fixture(params=ROWS)
    def row(self, request: pytest.FixtureRequest) -> Row:
        return ROWS[request.param]
