"""Names of the package, one per line."""

from nas_engine.evolution.config import SearchConfig as SearchConfig
from nas_engine.evolution.config import build_problem as build_problem
from nas_engine.evolution.config import check_config as check_config
from nas_engine.evolution.config import resolve_config as resolve_config
from nas_engine.evolution.evaluation import evaluate as evaluate
from nas_engine.evolution.limits import LIMITS as LIMITS
from nas_engine.evolution.operators import mutate as mutate
from nas_engine.evolution.operators import sample as sample
from nas_engine.evolution.problem import SearchProblem as SearchProblem
from nas_engine.evolution.problem import make_problem as make_problem
from nas_engine.evolution.search import SearchSettings as SearchSettings
from nas_engine.evolution.search import SearchState as SearchState
from nas_engine.evolution.search import done as done
from nas_engine.evolution.search import finish as finish
from nas_engine.evolution.search import init as init
from nas_engine.evolution.search import step as step
