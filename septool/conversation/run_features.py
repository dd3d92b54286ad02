"""What is known of the runs of a recording, from which their speakers are found."""

from dataclasses import dataclass

import numpy as np

from septool.conversation.constraints import Constraints


@dataclass(frozen=True)
class RunFeatures:
    """Features of each run of a recording, and of pairs of them."""

    embeddings: np.ndarray  # speaker embeddings, zero for runs that are too short to have one, [run, embedding]
    seconds: np.ndarray  # duration of speech, [run]
    overlap: np.ndarray  # fraction with two speakers at once, [run]
    constraints: Constraints
