"""Names of the package, one per line."""

from nas_engine.testing.allocators import AllocatorContract as AllocatorContract
from nas_engine.testing.back_ends import BackendContract as BackendContract
from nas_engine.testing.exporters import ExporterContract as ExporterContract
from nas_engine.testing.scores import CostContract as CostContract
from nas_engine.testing.scores import ScoreContract as ScoreContract
