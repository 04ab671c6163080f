"""Training-free neural architecture search for microcontrollers: budget in, verified firmware out.

The whole way in Python::

    import nas_engine as ne

    found = ne.search(
        sram="24k", flash="64k", space="mobilenet-32", resolution=16, max_macs="2m",
        out="runs/digits",
    )
    ne.train(found, data="digits")
    refined = ne.refine(found).chosen
    ne.train(refined, data="digits")
    ne.export(refined)
    print(ne.verify(refined).passed)

Names are imported when they are first used: ``import nas_engine`` itself loads neither NumPy nor
torch. ``__init__.pyi`` lists them for type checkers, as in every package.
"""

from nas_engine.faces import face

__version__ = "0.2.0"

__getattr__, __dir__, __all__ = face(__name__, __file__)
__all__ += ["__version__"]
