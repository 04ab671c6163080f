"""Names of the package, one per line."""

from nas_engine.api.deploy import compare as compare
from nas_engine.api.deploy import export as export
from nas_engine.api.deploy import load_model as load_model
from nas_engine.api.deploy import take as take
from nas_engine.api.deploy import verify as verify
from nas_engine.api.deploy import write_report as write_report
from nas_engine.api.learn import chosen_recipe as chosen_recipe
from nas_engine.api.learn import evaluate as evaluate
from nas_engine.api.learn import refine as refine
from nas_engine.api.learn import train as train
from nas_engine.api.look import bits as bits
from nas_engine.api.look import load as load
from nas_engine.api.look import load_run as load_run
from nas_engine.api.look import run as run
from nas_engine.api.look import score as score
from nas_engine.api.look import search as search
from nas_engine.api.options import Watch as Watch
from nas_engine.api.options import path_of as path_of
from nas_engine.api.options import require_torch as require_torch
