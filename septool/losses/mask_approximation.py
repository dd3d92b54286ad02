"""Errors of masked spectra under utterance-level permutation-invariant training.

The targets are Kolbaek, Yu, Tan and Jensen (2017), section III: amplitudes (AM) or amplitudes times the
cosine of the phase error (PSM), the best that a real mask on the mixture's phase can do.
"""

import torch
from torch import Tensor

from septool.losses.pit import best_permutation
from septool.models.base import MaskingSeparator
