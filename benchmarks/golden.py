"""Our figures against the authors' code: QE-Score, Flash ("paper"), BitOps and bytes per
convolution of a file of recorded rows.

    python -m benchmarks.golden --file rows.json

Each row holds a published-style structure, the settings, and what the authors' code printed:
``structure``, ``resolution``, ``sigma_a``, ``sigma_w``, ``stage_weights``, ``qe_score``,
``size_bytes_without_classifier``, ``bitops_over_64``, ``feature_bytes_per_conv``. Without
``--file`` the two published structures of the test suite are used.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from benchmarks.harness import Row, main
from nas_engine.architecture import parse_architecture
from nas_engine.report.network import report_network
from nas_engine.scoring.qe_score import ScoreSettings

GOLDEN = Path(__file__).parent.parent / "tests" / "golden"
PUBLISHED = {
    "mixed7d0G.txt": {
        "qe_score": 1224.5367750152895,
        "size_bytes_without_classifier": 887208.0,
        "bitops_over_64": 106853001.5,
    },
    "mixed19d2G.txt": {
        "qe_score": 1290.3356071584665,
        "size_bytes_without_classifier": 1960690.0,
        "bitops_over_64": 293479179.0,
    },
}


def run(file: str = "") -> list[Row]:
    if file:
        rows = json.loads(Path(file).read_text(encoding="utf-8"))
    else:
        rows = [
            {"text": (GOLDEN / name).read_text(encoding="utf-8"), **values}
            for name, values in PUBLISHED.items()
        ]
    errors: dict[str, list[float]] = {
        "QE-Score": [],
        "Flash (paper)": [],
        "BitOps": [],
        "bytes per convolution": [],
    }
    for row in rows:
        network = parse_architecture(row.get("text") or json.dumps(row["structure"])).at_resolution(
            row.get("resolution", 224)
        )
        settings = ScoreSettings(
            sigma_a=row.get("sigma_a", 5.0),
            sigma_w=row.get("sigma_w", 4.0),
            stage_weights=tuple(row.get("stage_weights", (0, 0, 1, 1, 6))),
        )
        report = report_network(network, memory_model="paper", score=settings)
        errors["QE-Score"].append(abs(report.qe_score / row["qe_score"] - 1))
        errors["Flash (paper)"].append(
            abs(report.total_flash_bytes / row["size_bytes_without_classifier"] - 1)
        )
        errors["BitOps"].append(abs(report.bitops / 64 / row["bitops_over_64"] - 1))
        if "feature_bytes_per_conv" in row:
            wanted = np.asarray(row["feature_bytes_per_conv"])
            errors["bytes per convolution"].append(
                float(np.abs(np.asarray(report.sram_bytes) / wanted - 1).max())
            )
    return [
        Row(
            what=f"{what}, {len(found)} rows, largest relative error",
            measured=f"{max(found):.1e}",
            at_least="1e-9",
            reached=max(found) <= 1e-9,
        )
        for what, found in errors.items()
        if found
    ]


if __name__ == "__main__":
    main("golden", run, file="")
