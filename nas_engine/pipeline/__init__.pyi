"""Names of the package, one per line."""

from nas_engine.evolution.config import SearchConfig as SearchConfig
from nas_engine.evolution.config import build_problem as build_problem
from nas_engine.evolution.config import check_config as check_config
from nas_engine.evolution.config import resolve_config as resolve_config
from nas_engine.pipeline.evaluation import evaluate_run as evaluate_run
from nas_engine.pipeline.export import ExportResult as ExportResult
from nas_engine.pipeline.export import export_run as export_run
from nas_engine.pipeline.refine import Refinement as Refinement
from nas_engine.pipeline.refine import run_refinement as run_refinement
from nas_engine.pipeline.refine_request import RefineRequest as RefineRequest
from nas_engine.pipeline.run import run_pipeline as run_pipeline
from nas_engine.pipeline.run_config import RunConfig as RunConfig
from nas_engine.pipeline.run_config import resolve_run_config as resolve_run_config
from nas_engine.pipeline.search import CHECKPOINT_SECONDS as CHECKPOINT_SECONDS
from nas_engine.pipeline.search import open_group as open_group
from nas_engine.pipeline.search import run_search as run_search
from nas_engine.pipeline.search import write_winners as write_winners
from nas_engine.pipeline.training import TrainingRequest as TrainingRequest
from nas_engine.pipeline.training import run_training as run_training
from nas_engine.pipeline.verify import verify_run as verify_run
from nas_engine.report.run_plots import PLOTS as PLOTS
from nas_engine.report.run_plots import draw_plots as draw_plots
from nas_engine.report.run_plots import plots_are_current as plots_are_current
from nas_engine.report.search_record import SearchRecord as SearchRecord
from nas_engine.report.search_record import load_configs as load_configs
from nas_engine.report.search_record import load_runs as load_runs
