"""Names of the package, one per line."""

from nas_engine.runs import chain as chain
from nas_engine.runs.epochs import read_epochs as read_epochs
from nas_engine.runs.ledger import State as State
from nas_engine.runs.ledger import standing as standing
from nas_engine.runs.pipeline_directory import PipelineDirectory as PipelineDirectory
from nas_engine.runs.run_directory import RefineDirectory as RefineDirectory
from nas_engine.runs.run_directory import RunDirectory as RunDirectory
from nas_engine.runs.run_directory import TrainingDirectory as TrainingDirectory
from nas_engine.runs.run_options import check_options as check_options
from nas_engine.runs.run_options import continued as continued
from nas_engine.runs.run_options import merged as merged
from nas_engine.runs.run_options import read_options as read_options
from nas_engine.runs.run_options import stored_options as stored_options
from nas_engine.runs.run_record import RunRecord as RunRecord
from nas_engine.runs.run_record import STAGES as STAGES
from nas_engine.runs.run_record import StageRecord as StageRecord
from nas_engine.runs.run_record import read_record as read_record
from nas_engine.runs.run_record import write_record as write_record
