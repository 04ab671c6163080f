"""Names of the package, one per line."""

from nas_engine.quantization import extract as extract
from nas_engine.quantization.lsq import ActivationQuantiser as ActivationQuantiser
from nas_engine.quantization.lsq import WeightQuantiser as WeightQuantiser
from nas_engine.quantization.prepare import calibrate as calibrate
from nas_engine.quantization.prepare import insert_quantisers as insert_quantisers
from nas_engine.quantization.prepare import is_quantised as is_quantised
from nas_engine.quantization.record import QuantisedNetwork as QuantisedNetwork
from nas_engine.quantization.record import QuantisedTensor as QuantisedTensor
