"""The Python interface, ``import nas_engine as ne``: every command as a function with its result.

Nothing heavy is imported before a call.

A run is given as the path of its directory, or as a record that a function returned. Sizes are
texts such as ``"256k"`` (binary: 262,144 bytes) or bytes; counts such as ``"2m"`` (decimal) or
numbers. Nothing is printed: ``watch`` is called with a line of text now and then, so
``watch=print`` shows progress. Bad input is an ``InputError``, everything else raised on purpose
another ``NasEngineError``; messages name the options of the command line.
"""

from nas_engine.api.deploy import export, load_model, verify, write_report
from nas_engine.api.learn import chosen_recipe, evaluate, refine, train
from nas_engine.api.look import load, load_run, run, score, search
from nas_engine.api.options import Watch, path_of, require_torch

__all__ = [
    "Watch",
    "chosen_recipe",
    "evaluate",
    "export",
    "load",
    "load_model",
    "load_run",
    "path_of",
    "refine",
    "require_torch",
    "run",
    "score",
    "search",
    "train",
    "verify",
    "write_report",
]
