"""Names of the package, one per line."""

from nas_engine.verification.backend import Backend as Backend
from nas_engine.verification.backend import BackendRun as BackendRun
from nas_engine.verification.claims import claim_of as claim_of
from nas_engine.verification.result import Comparison as Comparison
from nas_engine.verification.result import MemoryLine as MemoryLine
from nas_engine.verification.result import Verdict as Verdict
from nas_engine.verification.result import VerificationReport as VerificationReport
from nas_engine.verification.table import back_ends as back_ends
from nas_engine.verification.toolchain import find_toolchain as find_toolchain
