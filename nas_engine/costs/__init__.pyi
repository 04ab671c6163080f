"""Names of the package, one per line."""

from nas_engine.costs import compute as compute
from nas_engine.costs import effectiveness as effectiveness
from nas_engine.costs import flash as flash
from nas_engine.costs import sram as sram
from nas_engine.costs.memory import MEMORY_MODELS as MEMORY_MODELS
from nas_engine.costs.memory import Arena as Arena
from nas_engine.costs.memory import MemoryModel as MemoryModel
from nas_engine.costs.plan import MemoryPlan as MemoryPlan
from nas_engine.costs.plan import PlannedTensor as PlannedTensor
from nas_engine.costs.plan import plan_graph as plan_graph
from nas_engine.costs.plan import plan_memory as plan_memory
from nas_engine.costs.sram import peak_sram as peak_sram
