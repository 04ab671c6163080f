"""Person or no person from image folders: a network searched for 256 KiB / 1 MiB at 96 x 96,
trained and evaluated end to end.

python -m benchmarks.person --data person96

Stop it whenever you like, the same command goes on.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks.harness import Row, main
from benchmarks.trained import searched, trained
from nas_engine.training.compute import prepare_compute

VWW_ACCURACY = 69.3
"""MLPerf Tiny's vww_96_float on the same test images."""


def run(
    data: str,
    epochs: int = 40,
    folder: str = "runs/benchmark-person",
    macs: float = 12e6,
    resolution: int = 96,
    candidates: int = 500_000,
    threads: int = 0,
) -> list[Row]:
    device = prepare_compute("auto", threads or None)
    place = Path(folder)
    options = {"sram": 256 * 1024, "flash": 1024 * 1024, "max_macs": macs, "classes": 2}
    best = searched(place, {**options, "candidates": candidates, "resolution": resolution}).best
    accuracy = trained(
        place, "trained", "photos", {"data": data, "device": device}, epochs=epochs
    ).accuracy
    assert accuracy.integer is not None
    return [
        Row(
            what=f"top-1 of the integers, {accuracy.images:,} test images, {epochs} epochs; "
            f"{best.total_flash_bytes:,.0f} B of Flash, "
            f"{best.peak_sram_bytes:,.0f} B of SRAM, {best.total_macs / 1e6:.1f} M MACs",
            measured=f"{accuracy.integer:.1f} % (float {accuracy.floating:.1f} %, fake-quantised "
            f"{accuracy.quantised:.1f} %)",
            at_least=f"for comparison: vww_96_float of MLPerf Tiny {VWW_ACCURACY} %",
            reached=accuracy.integer >= VWW_ACCURACY,
        )
    ]


if __name__ == "__main__":
    main("person", run, data="person96", epochs=40, folder="runs/benchmark-person", threads=0)
