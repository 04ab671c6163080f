"""Names of the package, one per line."""

from nas_engine.allocation import device_problem as device_problem
from nas_engine.allocation.allocator import MissingEvidenceError as MissingEvidenceError
from nas_engine.allocation.device_problem import levels_of as levels_of
from nas_engine.allocation.device_problem import with_levels as with_levels
from nas_engine.allocation.problem import ACTIVATIONS as ACTIVATIONS
from nas_engine.allocation.problem import WEIGHTS as WEIGHTS
from nas_engine.allocation.problem import AllocationProblem as AllocationProblem
from nas_engine.allocation.problem import Levels as Levels
from nas_engine.allocation.records import BitAllocation as BitAllocation
from nas_engine.allocation.records import Evidence as Evidence
from nas_engine.allocation.records import LayerEntropies as LayerEntropies
from nas_engine.allocation.records import Sensitivity as Sensitivity
from nas_engine.allocation.swaps import real_loss_swaps as real_loss_swaps
from nas_engine.allocation.table import ALLOCATORS as ALLOCATORS
from nas_engine.allocation.table import allocate as allocate
