"""Training-free neural architecture search for microcontrollers: budget in, verified firmware out.

The whole way in Python::

    import nas_engine as ne

    found = ne.search(sram="24k", flash="64k", space="mobilenet-32", resolution=16, max_macs="2m", out="runs/digits")
    ne.train(found, data="digits")
    refined = ne.refine(found).chosen
    ne.train(refined, data="digits")
    ne.export(refined)
    print(ne.verify(refined).passed)

Names are imported when they are first used: ``import nas_engine`` itself loads neither NumPy nor
torch. Their types stand in ``__init__.pyi``.
"""

from importlib import import_module

__version__ = "0.2.0"

_PLACES = {
    "nas_engine.api": (
        "evaluate",
        "export",
        "load",
        "load_model",
        "load_run",
        "refine",
        "run",
        "score",
        "search",
        "train",
        "verify",
        "write_report",
    ),
    "nas_engine.architecture": ("Architecture", "read_architecture"),
    "nas_engine.errors": ("InputError", "NasEngineError", "StoppedError"),
    "nas_engine.integer.model": ("IntegerModel",),
    "nas_engine.pipeline.export": ("ExportResult",),
    "nas_engine.pipeline.refine": ("Refinement",),
    "nas_engine.pipeline.run_config": ("RunConfig",),
    "nas_engine.evolution.config": ("SearchConfig",),
    "nas_engine.report.search_record": ("SearchRecord",),
    "nas_engine.report.network": ("NetworkReport",),
    "nas_engine.runs.run_directory": ("RunDirectory",),
    "nas_engine.runs.run_record": ("RunRecord",),
    "nas_engine.training.recipe": ("TrainingRecipe", "load_recipe"),
    "nas_engine.training.result": ("Accuracy", "TrainingResult"),
    "nas_engine.verification.result": ("VerificationReport",),
    "device_profiles": ("DeviceProfile", "device_names", "load_device"),
    "search_spaces": ("SearchSpace", "load_space", "space_names"),
}

_PLACE_OF = {name: place for place, names in _PLACES.items() for name in names}

__all__ = ["__version__", *sorted(_PLACE_OF)]


def __getattr__(name: str) -> object:
    if name not in _PLACE_OF:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    value = getattr(import_module(_PLACE_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
