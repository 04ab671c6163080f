"""Pipeline: from a RunConfig to a run directory and back. The only package that knows every stage."""

from nas_engine.pipeline.config import MAX_CANDIDATES, RunConfig, build_problem, check_config, resolve_config
from nas_engine.pipeline.pictures import PLOTS, draw_plots, plots_are_current
from nas_engine.pipeline.record import RunRecord, load_configs, load_runs
from nas_engine.pipeline.search import CHECKPOINT_SECONDS, Watcher, open_group, run_search, write_winners

__all__ = [
    "CHECKPOINT_SECONDS",
    "MAX_CANDIDATES",
    "PLOTS",
    "RunConfig",
    "RunRecord",
    "Watcher",
    "build_problem",
    "check_config",
    "draw_plots",
    "load_configs",
    "load_runs",
    "open_group",
    "plots_are_current",
    "resolve_config",
    "run_search",
    "write_winners",
]
