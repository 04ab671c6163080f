"""TFLite files compared with the integer reference.

They run with TFLite's reference kernels, its default kernels, and TFLite Micro.

Interpreters check little of what they load, and a damaged file can end their process. So each runs
in processes of its own, which also share the images among them; what happens there comes back as
numbers or as one line.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from nas_engine.arrays import stored_arrays
from nas_engine.errors import one_line, shortened
from nas_engine.exporters.tflite_file import FILE_ID
from nas_engine.exporters.to_tflite import EXACT_NAME, INT4_NAME, int4_layers
from nas_engine.integer.model import IntegerConvolution, IntegerModel
from nas_engine.integer.reference import Images
from nas_engine.reading import LARGE_FILE, read_regular
from nas_engine.verification.backend import BackendError, BackendRun, read_exported
from nas_engine.verification.tflite_worker import INTERPRETERS, Values

WORKER = Path(__file__).with_name("tflite_worker.py")
"""Program of the processes."""

PROCESSES = min(2, os.cpu_count() or 1)
"""Processes that share the images."""

FEWEST = 16
"""Images below which another process does not pay: starting one takes as long as some dozen images.
"""

SECONDS = 3600
"""Longest that a process may take."""


class _Interpreter:
    """One interpreter and the file that it gets; the classes below fill in what differs."""

    name: ClassVar[str]
    """Name in the table and on the command line."""
    exact: ClassVar[bool]
    """True if every value must equal the integer reference."""
    file: ClassVar[str] = EXACT_NAME
    """File in the export directory."""
    kind: ClassVar[str] = "lite"
    """``"lite"`` or ``"micro"``."""
    kernels: ClassVar[str] = "reference"
    """``"reference"`` or ``"default"``, of ``"lite"``."""
    modules: ClassVar[tuple[str, ...]] = INTERPRETERS
    """Modules of which one must be there."""
    install: ClassVar[str] = "pip install 'nas-search[export]'"
    """Command that installs one of the modules if none is there."""

    def missing(self) -> str | None:
        """Return a line that says what is missing and how to install it, or ``None``.

        ``None`` means that the back-end can run.
        """
        for module in self.modules:
            with contextlib.suppress(ModuleNotFoundError):
                if importlib.util.find_spec(module) is not None:
                    return None
        return (
            f"needs {self.modules[0].split('.')[0].replace('_', '-')}; install it with: "
            f"{self.install}"
        )

    def run(self, export: Path, model: IntegerModel, images: Images, work: Path) -> BackendRun:
        """Run images through the file.

        All tensors of the first image are shown, except by the default kernels.

        Args:
            export: The export directory.
            model: The network that it holds, for shapes and names.
            images: Images as uint8, ``[N, height, width, channels]``, at least one.
            work: An empty folder for what passes between the processes.

        Raises:
            BackendError: The file is missing or damaged, the interpreter is missing, refuses it,
                crashes, or returns another shape.
        """
        if problem := self.missing():
            raise BackendError(self.name, problem)
        path = export / self.file
        self._check(path, model)
        shape = (len(images), *model.tensor(model.image).shape)
        if not len(images) or images.dtype != np.uint8 or images.shape != shape:
            raise BackendError(
                self.name,
                f"the images are {images.dtype} {list(images.shape)}; expected uint8 "
                f"{list(shape)}, N at least 1",
            )
        # With less to do than that, every process but the first only costs its start.
        count = max(1, min(PROCESSES, len(images) // FEWEST))
        parts = np.array_split((images ^ 128).view(np.int8), count)
        job = {
            "model": str(path.resolve()),
            "kind": self.kind,
            "kernels": self.kernels,
            "arena": arena_bytes(model),
        }
        with ThreadPoolExecutor(count) as pool:
            results = list(
                pool.map(
                    lambda number: self._part(job, model, parts[number], work, number), range(count)
                )
            )
        logits = np.concatenate([result["logits"] for result in results])
        expected = (len(images), len(model.classes))
        if logits.shape != expected or logits.dtype != np.int8:
            found = (
                f"{path.name} gives {logits.dtype} {list(logits.shape)}; expected int8 "
                f"{list(expected)}"
            )
            raise BackendError(self.name, f"{found}; export the network again")
        return BackendRun(
            logits=logits,
            seconds=max(float(result["seconds"]) for result in results),
            version=str(results[0]["version"]),
            checksums={
                name: zlib.crc32(values.tobytes()) for name, values in _tensors(results[0]).items()
            },
        )

    def _check(self, path: Path, model: IntegerModel) -> None:
        """Refuse what an interpreter should not even see."""
        if self.file == INT4_NAME and not int4_layers(model):
            raise BackendError(
                self.name,
                f"no layer has weights of 4 bits or fewer, so that there is no {INT4_NAME}; leave "
                "it out",
            )
        if read_exported(self.name, path)[4:8] != FILE_ID:
            raise BackendError(
                self.name,
                f"{path}: is no TFLite file (it does not say {FILE_ID.decode()}); export the "
                "network again",
            )

    def _part(
        self, job: dict[str, Any], model: IntegerModel, images: Values, work: Path, number: int
    ) -> dict[str, Any]:
        """Run some of the images in a process and return the arrays that it made."""
        place = work / f"{self.kind}{self.kernels}-{Path(self.file).stem}-{number}"
        place.mkdir(parents=True, exist_ok=True)
        inputs, results, order = place / "images.npy", place / "results.npz", place / "job.json"
        np.save(inputs, images)
        shows = (
            number == 0 and self.kernels == "reference"
        )  # a delegate keeps what is inside it to itself
        tensors = [model.image, *(step.output for step in model.nodes)] if shows else []
        order.write_text(
            json.dumps(job | {"images": str(inputs), "results": str(results), "tensors": tensors}),
            encoding="utf-8",
        )
        # -P: the worker's folder holds modules with the names of packages.
        command = [sys.executable, "-P", str(WORKER), str(order)]
        try:
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise BackendError(
                self.name, f"took more than {SECONDS} s for {len(images)} images; give fewer"
            ) from error
        if done.returncode:
            raise BackendError(self.name, self._problem(done.returncode, done.stderr))
        return stored_arrays(read_regular(results, LARGE_FILE))

    def _problem(self, code: int, errors: str) -> str:
        lines = [line.strip() for line in errors.splitlines() if line.strip()]
        said = shortened(one_line(lines[-1]), 300) if lines else "no message"
        how = (
            "the interpreter refuses the file"
            if code == 1
            else f"the interpreter's process ended by itself (status {code})"
        )
        return (
            f"{self.file}: {how}: {said}; export the network again, or try another version of the "
            "package"
        )


def arena_bytes(model: IntegerModel) -> int:
    """Return a generous upper bound of the arena of TFLite Micro, in bytes.

    Such an arena can keep every tensor at once, with what its kernels and tables need.
    """
    activations = sum(int(np.prod(tensor.shape)) for tensor in model.tensors)
    padded = sum(
        (source.height + sum(step.padding[:2]))
        * (source.width + sum(step.padding[2:]))
        * source.channels
        for step in model.nodes
        for source in (model.tensor(step.input),)
    )
    layers = [step for step in model.nodes if isinstance(step, IntegerConvolution)]
    weights = sum(step.weights.size + 16 * len(step.bias) for step in layers)
    # Each tensor can have two more before it, of its size: without limits, and with one limit.
    return 4 * activations + padded + 2 * weights + 8192 * len(model.nodes) + 2**20


def _tensors(result: dict[str, Any]) -> dict[str, Values]:
    return {str(name): result[f"tensor {number}"] for number, name in enumerate(result["names"])}


class LiteRT(_Interpreter):
    """``model.tflite`` on the reference kernels of LiteRT (or tflite-runtime): exact."""

    name = "TFLite reference kernels"
    exact = True


class LiteRTDefault(_Interpreter):
    """``model.tflite`` as LiteRT runs it by default.

    Its requantisation uses floating point, so differences are reported.
    """

    name = "TFLite XNNPACK"
    exact = False
    kernels = "default"


class TfliteMicro(_Interpreter):
    """``model.tflite`` on TFLite Micro: exact."""

    name = "TFLite Micro"
    exact = True
    kind = "micro"
    modules = ("tflite_micro",)
    install = "pip install 'nas-search[verify]'"


class TfliteInt4(_Interpreter):
    """``model_int4.tflite`` on the reference kernels: reported."""

    name = "TFLite INT4"
    exact = False
    file = INT4_NAME
