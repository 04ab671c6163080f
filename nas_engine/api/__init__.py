"""The Python interface, ``import nas_engine as ne``: every command as a function with its result.

Nothing heavy is imported before a call.

A run is given as the path of its directory, or as a record that a function returned. Sizes are
texts such as ``"256k"`` (binary: 262,144 bytes) or bytes; counts such as ``"2m"`` (decimal) or
numbers. Nothing is printed: ``watch`` is called with a line of text now and then, so
``watch=print`` shows progress. Bad input is an ``InputError``, everything else raised on purpose
another ``NasEngineError``; messages name the options of the command line.
"""

from nas_engine.faces import face

__getattr__, __dir__, __all__ = face(__name__, __file__)
