"""Names of the package, one per line."""

from nas_engine.training.compute import prepare_compute as prepare_compute
from nas_engine.training.finished import finished_training as finished_training
from nas_engine.training.loop import DivergedError as DivergedError
from nas_engine.training.loop import TrainingError as TrainingError
from nas_engine.training.loop import TrainingTask as TrainingTask
from nas_engine.training.loop import first_state as first_state
from nas_engine.training.loop import predict as predict
from nas_engine.training.loop import train as train
from nas_engine.training.networks import load_network as load_network
from nas_engine.training.networks import save_network as save_network
from nas_engine.training.perturbation import Perturbations as Perturbations
from nas_engine.training.recipe import TrainingRecipe as TrainingRecipe
from nas_engine.training.recipe import load_recipe as load_recipe
from nas_engine.training.recipe import recipe_names as recipe_names
from nas_engine.training.result import Accuracy as Accuracy
from nas_engine.training.result import TrainingResult as TrainingResult
from nas_engine.training.result import read_result as read_result
from nas_engine.training.sensitivities import measure_pairs as measure_pairs
from nas_engine.training.sensitivities import measure_singles as measure_singles
from nas_engine.training.state import TrainingState as TrainingState
from nas_engine.training.teachers import Teacher as Teacher
from nas_engine.training.teachers import load_teacher as load_teacher
