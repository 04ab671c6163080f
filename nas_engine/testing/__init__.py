"""Contract suites for parts of your own: a test class inherits one and names the part.

    from nas_engine.testing import AllocatorContract

    class TestMine(AllocatorContract):
        part = MyAllocator()

Needs pytest.
"""

from nas_engine.faces import face

__getattr__, __dir__, __all__ = face(__name__, __file__)
