"""Pipeline: from a SearchConfig to a run directory and back.

The only package that knows every stage.
"""

from nas_engine.evolution.config import (
    MAX_CANDIDATES,
    SearchConfig,
    build_problem,
    check_config,
    resolve_config,
)
from nas_engine.pipeline.search import (
    CHECKPOINT_SECONDS,
    open_group,
    run_search,
    write_winners,
)
from nas_engine.report.run_plots import PLOTS, draw_plots, plots_are_current
from nas_engine.report.search_record import SearchRecord, load_configs, load_runs

__all__ = [
    "CHECKPOINT_SECONDS",
    "MAX_CANDIDATES",
    "PLOTS",
    "SearchConfig",
    "SearchRecord",
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
