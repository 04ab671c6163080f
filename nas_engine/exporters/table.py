"""The formats. A new one is a file and a row here."""

from __future__ import annotations

from nas_engine.exporters.exporter import Exporter
from nas_engine.exporters.manifest import ManifestExporter
from nas_engine.exporters.to_c import CExporter
from nas_engine.exporters.to_onnx import OnnxExporter
from nas_engine.exporters.to_tflite import TfliteExporter

EXPORTERS: dict[str, Exporter] = {
    exporter.name: exporter
    for exporter in (ManifestExporter(), CExporter(), TfliteExporter(), OnnxExporter())
}
"""Formats by the name that ``--format`` takes; the manifest is always written."""
