"""Names of the package, one per line."""

from nas_engine.kernels.build import KernelsError as KernelsError
from nas_engine.kernels.build import built_library as built_library
from nas_engine.kernels.functions import Kernels as Kernels
