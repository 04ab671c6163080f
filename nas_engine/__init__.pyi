"""Types of the names that ``nas_engine`` imports when they are used; a test keeps them equal."""

from device_profiles import DeviceProfile as DeviceProfile
from device_profiles import device_names as device_names
from device_profiles import load_device as load_device
from nas_engine.api import evaluate as evaluate
from nas_engine.api import export as export
from nas_engine.api import load as load
from nas_engine.api import load_model as load_model
from nas_engine.api import load_run as load_run
from nas_engine.api import refine as refine
from nas_engine.api import run as run
from nas_engine.api import score as score
from nas_engine.api import search as search
from nas_engine.api import train as train
from nas_engine.api import verify as verify
from nas_engine.api import write_report as write_report
from nas_engine.architecture import Architecture as Architecture
from nas_engine.architecture import read_architecture as read_architecture
from nas_engine.errors import InputError as InputError
from nas_engine.errors import NasEngineError as NasEngineError
from nas_engine.errors import StoppedError as StoppedError
from nas_engine.evolution.config import SearchConfig as SearchConfig
from nas_engine.integer.model import IntegerModel as IntegerModel
from nas_engine.pipeline.export import ExportResult as ExportResult
from nas_engine.pipeline.refine import Refinement as Refinement
from nas_engine.pipeline.run_config import RunConfig as RunConfig
from nas_engine.report.network import NetworkReport as NetworkReport
from nas_engine.report.search_record import SearchRecord as SearchRecord
from nas_engine.runs.run_directory import RunDirectory as RunDirectory
from nas_engine.runs.run_record import RunRecord as RunRecord
from nas_engine.training.recipe import TrainingRecipe as TrainingRecipe
from nas_engine.training.recipe import load_recipe as load_recipe
from nas_engine.training.result import Accuracy as Accuracy
from nas_engine.training.result import TrainingResult as TrainingResult
from nas_engine.verification.result import VerificationReport as VerificationReport
from search_spaces import SearchSpace as SearchSpace
from search_spaces import load_space as load_space
from search_spaces import space_names as space_names

__version__: str
