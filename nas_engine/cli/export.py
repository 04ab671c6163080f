"""``nas-search export RUN`` and ``nas-search verify RUN``."""

from __future__ import annotations

import json
from pathlib import Path

import click

FORMATS = ("c", "tflite", "onnx")
"""What ``--format`` takes beside the manifest; a test keeps it equal to ``EXPORTERS``, which is too heavy to import for ``--help``."""


@click.command()
@click.argument("run", type=click.Path())
@click.option("--format", "formats", metavar=",".join(FORMATS), help="Formats to write, the manifest always.  [default: all]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def export(run: str, formats: str | None, as_json: bool) -> None:
    """Export a trained run: C for Cortex-M, TFLite, ONNX, and quant.json with the bits of every layer.

    RUN is a directory that nas-search train has finished. Files go to RUN/export, all of them or none.

        nas-search export runs/NAME
    """
    from nas_engine.pipeline.export import export_run
    from nas_engine.units import format_size

    result = export_run(Path(run), _formats(formats))
    if as_json:
        files = dict(result.files)
        sizes = {"arena_bytes": result.arena_bytes, "packed_bytes": result.packed_bytes}
        click.echo(json.dumps({"folder": str(result.folder), **sizes, "files": files}))
        return
    for name, size in result.files:
        click.echo(f"{result.folder / name}  {size:,} B")
    click.echo(f"arena {format_size(result.arena_bytes)}, weights and constants {format_size(result.packed_bytes)}")
    click.echo(f"prove it: nas-search verify {run}")


def _formats(text: str | None) -> list[str] | None:
    if text is None:
        return None
    from nas_engine.errors import UnknownNameError

    names = [part.strip() for part in text.split(",")]
    for name in names:
        if name not in FORMATS:
            raise UnknownNameError("format", name, FORMATS)
    return names


@click.command()
@click.argument("run", type=click.Path())
@click.option("--data", metavar="PATH|digits", help="Data whose test images are used.  [default: those it was trained on]")
@click.option("--images", type=click.IntRange(1, 10**6), default=200, show_default=True, help="Test images on this machine.")
@click.option("--emulated-images", type=click.IntRange(1, 10**6), default=20, show_default=True, help="Test images on emulated cores.")
@click.option("--backend", "backends", multiple=True, metavar="NAME", help="Only this back-end; may be given several times.")
@click.option("--layers", is_flag=True, help="Show instructions layer by layer.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_context
def verify(
    ctx: click.Context,
    run: str,
    data: str | None,
    images: int,
    emulated_images: int,
    backends: tuple[str, ...],
    layers: bool,
    as_json: bool,
) -> None:
    """Verify an export: host C, emulated Cortex-M7 and M4, TFLite, TFLite Micro and ONNX Runtime against the integer reference.

    Real test images run through every back-end; every output value is compared, and the memory of the linked firmware with what was
    predicted. Exit code 1 if anything differs that must not.

        nas-search verify runs/NAME
    """
    from nas_engine.cli.verification_progress import VerificationProgress
    from nas_engine.pipeline.verify import verify_run
    from nas_engine.report.verification_table import verification_table

    with VerificationProgress() as progress:
        report = verify_run(
            Path(run),
            data,
            images=images,
            emulated_images=emulated_images,
            backends=backends or None,
            announce=progress.announce,
            observe=progress.observe,
        )
    click.echo(report.as_json().rstrip("\n") if as_json else verification_table(report, layers=layers))
    if not report.passed:
        ctx.exit(1)
