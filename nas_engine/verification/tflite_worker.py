"""Worker that runs a .tflite file in a separate process.

Interpreters end the process when a file is damaged.

It stands alone, so that it starts quickly: ``python -P tflite_worker.py JOB`` reads what to do from
a JSON file and writes an ``.npz``.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import os
import re
import struct
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

INTERPRETERS = ("ai_edge_litert.interpreter", "tflite_runtime.interpreter")
"""Modules of one interface, the newer name first."""

PACKAGES = {INTERPRETERS[0]: "ai-edge-litert", INTERPRETERS[1]: "tflite-runtime"}
"""Names of their packages."""

BATCH = 16
"""Images that TFLite gets at once."""

Values = npt.NDArray[np.int8]
"""Values of a tensor."""


def run_lite(job: dict[str, Any], images: Values) -> tuple[Values, float, dict[str, Values], str]:
    """Run TFLite's interpreter.

    Args:
        job: ``model`` (path), ``kernels`` (``"reference"`` or ``"default"``), ``tensors`` (names of
            which the first image is wanted).
        images: ``[N, height, width, channels]``.

    Returns:
        Logits ``[N, classes]``, seconds, the wanted tensors, what ran.
    """
    module = _interpreter()
    resolver = (
        module.OpResolverType.BUILTIN_REF
        if job["kernels"] == "reference"
        else module.OpResolverType.AUTO
    )

    def prepared(count: int, keep: bool) -> Any:
        made = module.Interpreter(
            model_path=job["model"],
            experimental_op_resolver_type=resolver,
            experimental_preserve_all_tensors=keep,
            num_threads=1,
        )
        place = made.get_input_details()[0]
        if list(place["shape"]) != [1, *images.shape[1:]]:
            raise ValueError(
                f"it takes {place['shape'].tolist()}; the network takes {[1, *images.shape[1:]]}"
            )
        made.resize_tensor_input(place["index"], [count, *images.shape[1:]])
        made.allocate_tensors()
        return made

    def invoke(interpreter: Any, batch: Values) -> Values:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], batch)
        interpreter.invoke()
        return np.asarray(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))

    tensors: dict[str, Values] = {}
    if wanted := set(job["tensors"]):
        interpreter = prepared(1, True)
        invoke(interpreter, images[:1])
        details = interpreter.get_tensor_details()
        tensors = {
            detail["name"]: interpreter.get_tensor(detail["index"])
            for detail in details
            if detail["name"] in wanted
        }
    batch = min(BATCH, len(images))
    interpreter = prepared(batch, False)
    started = time.perf_counter()
    rows = [
        invoke(interpreter, images[at : at + batch])
        for at in range(0, len(images) - batch + 1, batch)
    ]
    seconds = time.perf_counter() - started
    if rest := len(images) % batch:
        interpreter = prepared(rest, False)
        started = time.perf_counter()
        rows.append(invoke(interpreter, images[-rest:]))
        seconds += time.perf_counter() - started
    package = PACKAGES[module.__name__]
    return (
        np.concatenate(rows),
        seconds,
        tensors,
        f"{package} {importlib.metadata.version(package)}",
    )


def _interpreter() -> Any:
    for name in INTERPRETERS:
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            missing = error
    raise missing


def run_micro(job: dict[str, Any], images: Values) -> tuple[Values, float, dict[str, Values], str]:
    """Run the interpreter of TFLite Micro, image by image.

    ``job`` also has ``arena`` (bytes); otherwise as ``run_lite``.
    """
    runtime = importlib.import_module("tflite_micro.python.tflite_micro.runtime")
    content = Path(job["model"]).read_bytes()
    graph = runtime.convert_bytearray_to_object(content).subgraphs[0]
    places = {tensor.name.decode(): place for place, tensor in enumerate(graph.tensors)}
    interpreter = runtime.Interpreter.from_bytes(
        content,
        arena_size=job["arena"],
        intrepreter_config=runtime.InterpreterConfig.kPreserveAllTensors,
    )
    rows, tensors = [], {}
    seconds = 0.0
    for number, image in enumerate(images):
        started = time.perf_counter()
        interpreter.set_input(image[None], 0)
        interpreter.invoke()
        rows.append(np.array(interpreter.get_output(0)))
        seconds += time.perf_counter() - started
        if not number:
            wanted = [name for name in job["tensors"] if name in places]
            tensors = {
                name: np.array(interpreter.GetTensor(places[name], 0)["tensor_data"])
                for name in wanted
            }
    version = f"tflite-micro {importlib.metadata.version('tflite-micro')}"
    if job["tensors"] and (used := arena_used(runtime, content, job["arena"], images[:1])):
        width = struct.calcsize("P")
        version += (
            f"; it takes an arena of about {used:,} B here, with pointers of {width} B; a core "
            "with pointers of 4 B needs less"
        )
    return np.concatenate(rows), seconds, tensors, version


def arena_used(runtime: Any, content: bytes, arena: int, image: Values) -> int | None:
    """Return the bytes of the arena that TFLite Micro takes for a model and one image.

    The result is ``None`` where it does not tell.

    It tells it on standard error alone.
    """
    interpreter = runtime.Interpreter.from_bytes(content, arena_size=arena)
    interpreter.set_input(image, 0)
    interpreter.invoke()
    with tempfile.TemporaryFile() as told:
        kept = os.dup(2)
        os.dup2(told.fileno(), 2)
        try:
            interpreter.print_allocations()
        finally:
            os.dup2(kept, 2)
            os.close(kept)
        told.seek(0)
        found = re.search(rb"Arena allocation total (\d+) bytes", told.read())
    return int(found[1]) if found else None


KINDS: dict[
    str, Callable[[dict[str, Any], Values], tuple[Values, float, dict[str, Values], str]]
] = {
    "lite": run_lite,
    "micro": run_micro,
}
"""Functions by the ``kind`` of a job."""


def main(arguments: Sequence[str]) -> int:
    """Do one job; print one line and return 1 if it cannot be done."""
    job = json.loads(Path(arguments[0]).read_text(encoding="utf-8"))
    images = np.load(job["images"])
    try:
        logits, seconds, tensors, version = KINDS[job["kind"]](job, images)
    except (
        Exception
    ) as error:  # whatever an interpreter finds wrong becomes one line for the caller
        print(f"{type(error).__name__}: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    # A name may hold a slash, which an archive takes for a folder; numbers are safe.
    held: dict[str, Any] = {
        f"tensor {number}": values for number, values in enumerate(tensors.values())
    }
    np.savez(
        job["results"],
        logits=logits,
        seconds=seconds,
        version=version,
        names=np.array(list(tensors), str),
        **held,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
