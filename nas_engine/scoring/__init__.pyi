"""Names of the package, one per line."""

from nas_engine.scoring import path_noise as path_noise
from nas_engine.scoring import qe_score as qe_score
from nas_engine.scoring.path_noise import PATH_NOISE_FORMS as PATH_NOISE_FORMS
from nas_engine.scoring.path_noise import PathNoiseForm as PathNoiseForm
from nas_engine.scoring.qe_score import ScoreSettings as ScoreSettings
from nas_engine.scoring.qe_score import bits_score as bits_score
from nas_engine.scoring.qe_score import layer_coefficients as layer_coefficients
from nas_engine.scoring.qe_score import stage_terms as stage_terms
from nas_engine.scoring.qe_score import structure_score as structure_score
from nas_engine.scoring.quantised_gaussian import log_std_table as log_std_table
