"""Names of the package, one per line."""

from nas_engine.exporters.bundle import check_export as check_export
from nas_engine.exporters.bundle import export_files as export_files
from nas_engine.exporters.bundle import formats_of as formats_of
from nas_engine.exporters.bundle import subject_of as subject_of
from nas_engine.exporters.exporter import Exporter as Exporter
from nas_engine.exporters.exporter import ExportError as ExportError
from nas_engine.exporters.exporter import ExportSubject as ExportSubject
from nas_engine.exporters.settings import ExportSettings as ExportSettings
from nas_engine.exporters.settings import read_settings as read_settings
from nas_engine.exporters.table import EXPORTERS as EXPORTERS
