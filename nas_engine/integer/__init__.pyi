"""Names of the package, one per line."""

from nas_engine.integer.lowering import lower as lower
from nas_engine.integer.model import IntegerConvolution as IntegerConvolution
from nas_engine.integer.model import IntegerModel as IntegerModel
from nas_engine.integer.model import IntegerSum as IntegerSum
from nas_engine.integer.reference import Images as Images
from nas_engine.integer.reference import predict as predict
from nas_engine.integer.reference import run as run
from nas_engine.integer.reference import trace as trace
from nas_engine.integer.store import GoldenVectors as GoldenVectors
from nas_engine.integer.store import SavedModel as SavedModel
from nas_engine.integer.store import load as load
from nas_engine.integer.store import save as save
