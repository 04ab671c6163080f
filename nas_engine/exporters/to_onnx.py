"""ONNX: an integer-exact graph, and a graph of float operators between quantisers.

Both carry every width and the manifest.
"""

from __future__ import annotations

from collections.abc import Mapping

from nas_engine.exporters import onnx_graph, onnx_integer, onnx_qcdq
from nas_engine.exporters.exporter import ExportSubject
from nas_engine.names import Format


class OnnxExporter:
    """Writes ``model_int.onnx`` and ``model_qcdq.onnx``."""

    name: str = Format.ONNX

    def missing(self) -> str | None:
        """Return a line naming the missing package and how to install it, or ``None``.

        ``None`` means that the exporter can run.
        """
        return onnx_graph.missing()

    def files(self, subject: ExportSubject) -> Mapping[str, bytes]:
        """Return both files; the same subject gives the same bytes.

        Raises:
            ExportError: The onnx package is missing, or refuses a graph.
        """
        return {
            onnx_integer.FILE_NAME: onnx_integer.integer_file(subject),
            onnx_qcdq.FILE_NAME: onnx_qcdq.qcdq_file(subject),
        }
