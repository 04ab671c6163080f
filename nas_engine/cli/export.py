"""``nas-search export RUN`` and ``nas-search verify RUN``."""

from __future__ import annotations

from pathlib import Path

import click

from nas_engine.cli.command import Explained
from nas_engine.cli.completion import complete_list, complete_words
from nas_engine.cli.console import announce, emit, json_option, quiet_option, show, show_table
from nas_engine.cli.options import command_options, run_argument
from nas_engine.escaping import command_line
from nas_engine.names import BackEnd, Format


@click.command(
    cls=Explained,
    short_help="Export a trained run: C, TFLite, ONNX, manifest.",
    examples=(
        "nas-search export runs/NAME",
        "nas-search export runs/NAME --format c,tflite --json",
        "nas-search export runs/NAME --format c --prefix cats",
    ),
)
@run_argument
@click.option(
    "--format",
    "formats",
    metavar=",".join(Format),
    help="Formats to write, or FILE.py:NAME of your own; the manifest always.  [default: all]",
    shell_complete=complete_list(*Format),
)
@click.option(
    "--prefix",
    metavar="NAME",
    default="model",
    show_default=True,
    help="Start of every name of the C: give each network of a program its own.",
)
@click.option(
    "--no-metadata",
    "metadata",
    flag_value=False,
    default=True,
    help="Leave the manifest out of the TFLite files: less Flash.",
)
@json_option
@quiet_option
def export(run: str, formats: str | None, prefix: str, metadata: bool) -> None:
    """Export a trained run: C for Cortex-M, TFLite, ONNX, and quant.json with all widths.

    RUN is a directory that nas-search train has finished. Files go to RUN/export, all of them or
    none.
    """
    from nas_engine import api
    from nas_engine.units import format_size

    announce(f"exporting {run} ...")
    chosen = None if formats is None else [part.strip() for part in formats.split(",")]
    result = api.export(run, chosen, prefix=prefix, metadata=metadata)
    sizes = {"arena_bytes": result.arena_bytes, "packed_bytes": result.packed_bytes}
    emit({"folder": str(result.folder), **sizes, "files": dict(result.files)})
    for name, size in result.files:
        show(f"{result.folder / name}  {size:,} B")
    show(
        f"in C: arena {format_size(result.arena_bytes)}, weights and constants "
        f"{format_size(result.packed_bytes)}"
    )
    show(f"prove it: {command_line('nas-search', 'verify', Path(run))}")


@click.command(
    cls=Explained,
    short_help="Verify an export against the integer reference.",
    examples=(
        "nas-search verify runs/NAME",
        "nas-search verify runs/NAME --images 1000 --layers",
        "nas-search verify runs/NAME --backend host-c --backend cortex-m7 --json",
    ),
)
@run_argument
@command_options("verify")
@click.option(
    "--backend",
    "backends",
    multiple=True,
    metavar="NAME",
    help="Only this back-end, or FILE.py:NAME of your own; may be given several times.",
    shell_complete=complete_words(*BackEnd),
)
@click.option(
    "--format",
    "formats",
    multiple=True,
    metavar="FILE.py:NAME",
    help="Exporter of your own that the export was written with; may be given several times.",
)
@click.option("--layers", is_flag=True, help="Show instructions layer by layer.")
@json_option
@quiet_option
@click.pass_context
def verify(
    ctx: click.Context,
    /,
    run: str,
    data: str | None,
    backends: tuple[str, ...],
    formats: tuple[str, ...],
    layers: bool,
    **images: int | None,
) -> None:
    """Verify an export: every back-end against the integer reference.

    Back-ends are C on this machine, emulated Cortex-M7, M4, M33 and M0, TFLite, TFLite Micro and
    ONNX Runtime. Test images run through each; every output value is compared, and the memory of
    the linked firmware with the predicted one. Exit code 1 if anything differs that must not.
    """
    from nas_engine.cli.progress import Screen
    from nas_engine.pipeline.verify import verify_run
    from nas_engine.report.verification_table import verification_table

    with Screen() as screen:
        report = verify_run(
            Path(run),
            data,
            backends=backends or None,
            formats=formats,
            watch=screen,
            **{name: count for name, count in images.items() if count is not None},
        )
    emit(report.as_mapping())
    show_table(verification_table(report, layers=layers))
    if not report.passed:
        ctx.exit(1)
