"""Ranges of values that options, files and records share: each is written down here alone."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Range:
    """Least and largest number accepted; of a text, its least length, 0 or 1."""

    low: float = 0
    high: float = 1e18

    @property
    def whole(self) -> tuple[int, int]:
        """Least and largest whole number, as a file can hold it exactly."""
        return int(self.low), int(min(self.high, 2**53))


ANY = Range()
"""Numbers without a range of their own."""
POSITIVE = Range(1e-6)
"""Limits on a quantity."""
SEED = Range(0, 2**32 - 1)
"""Seeds of searches, trainings and measurements."""
RESOLUTION = Range(1, 1024)
"""Height and width of the input image, pixels."""
CHANNELS = Range(1, 64)
"""Channels of an image."""
CLASSES = Range(0, 65536)
"""Outputs of a classifier; 0 for none."""
CANDIDATES = Range(1, 10**12)
"""Networks of a search; anything above is a typing error."""
SIGMA = Range(0.1, 1000)
"""Standard deviations of the QE-Score, quantisation steps."""
STAGE_WEIGHT = Range(0, 1e6)
"""Weight of a stage in the QE-Score."""
LAYERS = Range(5, 302)
"""Limit on convolutions."""
EPOCHS = Range(1, 100_000)
"""Epochs of a training."""
TWO_STAGES = Range(2, EPOCHS.high)
"""Epochs of a training that has both stages."""
MINUTES = Range(0.001, 100_000)
"""Time for a shortlist."""
BATCH = Range(2, 65536)
"""Images of one training step."""
RATE = Range(1e-9, 100)
"""Peak learning rate of the float stage; above 0, because the other stage scales along."""
IMAGES = Range(2, 10**9)
"""Images of a split."""
PROCESSES = Range(1, 256)
"""Processes and threads."""
