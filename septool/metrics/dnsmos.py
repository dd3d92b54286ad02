"""DNSMOS P.835: predicted opinion scores of speech, noise and overall quality, without a reference.

Reddy, Gopal and Cutler, "DNSMOS P.835: a non-intrusive perceptual objective speech quality metric to evaluate noise
suppressors", ICASSP 2022. The network is that of the package speechmos (Microsoft, MIT licence), which ships it; here
onnxruntime runs it, since the package's own code wants librosa.
"""

# pyright: reportMissingTypeStubs=false

from collections.abc import Sequence
from functools import cache, lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from septool import audio
from septool.metrics import UndefinedError

RATE = 16000
SEGMENT, HOP = 144160, 16000  # samples: the network takes 9.01 s, every second
LEVEL = 10 ** (-26 / 20)  # RMS; a separator's own scale means nothing
# From what the network gives to opinion scores, highest power first: the authors' fit.
CURVES = {
    "sig": (-0.08397278, 1.22083953, 0.0052439),
    "bak": (-0.13166888, 1.60915514, -0.39604546),
    "ovrl": (-0.06766283, 1.11546468, 0.04602535),
}


def sig_item(*, estimate: np.ndarray, reference: np.ndarray, rate: int) -> float:  # noqa: ARG001
    """Predicted opinion of the speech in one signal ``[time]``, 1 to 5; higher is better.

    Raises:
        UndefinedError: the estimate is silent.
    """
    return _opinions(estimate.tobytes(), rate)["sig"]


def bak_item(*, estimate: np.ndarray, reference: np.ndarray, rate: int) -> float:  # noqa: ARG001
    """Predicted opinion of the noise behind one signal ``[time]``, 1 to 5, 5 is none; see :func:`sig_item`."""
    return _opinions(estimate.tobytes(), rate)["bak"]


def ovrl_item(*, estimate: np.ndarray, reference: np.ndarray, rate: int) -> float:  # noqa: ARG001
    """Predicted opinion of one signal ``[time]`` as a whole, 1 to 5; see :func:`sig_item`."""
    return _opinions(estimate.tobytes(), rate)["ovrl"]


@lru_cache(maxsize=1)  # three metrics ask in turn
def _opinions(signal: bytes, rate: int) -> dict[str, float]:
    samples = np.frombuffer(signal)
    if not np.ptp(samples):
        raise UndefinedError("the estimate is silent")
    speech = audio.resample(samples.astype(np.float32), rate, RATE)
    speech = speech * min(LEVEL / float(np.sqrt(np.mean(np.square(speech)))), 1 / float(np.abs(speech).max()))
    while len(speech) < SEGMENT:
        speech = np.append(speech, speech)
    # As the authors count: whole seconds less a segment.
    count = int(len(speech) // RATE - SEGMENT / RATE) + 1
    raw = [
        _network().run(None, {"input_1": speech[None, start : start + SEGMENT].astype(np.float32)})[0][0]
        for start in range(0, count * HOP, HOP)
    ]
    scores = np.array(raw, dtype=np.float64).T  # [kind, segment]
    return {name: _calibrate(curve, of_kind) for (name, curve), of_kind in zip(CURVES.items(), scores, strict=True)}


def _calibrate(curve: Sequence[float], raw: NDArray[np.float64]) -> float:
    """Return the mean over segments of what the network says, on the scale of listeners."""
    return float(np.polyval(curve, raw).mean())


@cache
def _network() -> Any:
    import onnxruntime

    spec = find_spec("speechmos")  # not imported: that imports librosa
    assert spec is not None
    assert spec.submodule_search_locations is not None
    untyped: Any = onnxruntime
    options = untyped.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # as many processes as cores do this
    path = Path(spec.submodule_search_locations[0]) / "dnsmos_models/sig_bak_ovr.onnx"
    return untyped.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
