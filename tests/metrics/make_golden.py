"""Writes golden/sdr.json and golden/scores.json: what the reference implementations say of seeded signals.

``python -m tests.metrics.make_golden``, with mir_eval 0.8 (0.9 drops its SDR) and torchmetrics beside what septool
itself needs. The files name every version.
"""

import json
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from tests.conftest import voice

GOLDEN = Path(__file__).parent / "golden"

CASES = {
    "noise, 10 dB": {"seed": 0, "samples": 8000, "kind": "noise", "db": 10.0},
    "noise, -5 dB": {"seed": 1, "samples": 8000, "kind": "noise", "db": -5.0},
    "noise, 60 dB": {"seed": 2, "samples": 4000, "kind": "noise", "db": 60.0},
    "voices, 0 dB": {"seed": 3, "samples": 16000, "kind": "coloured", "db": 0.0},
    "voices, 20 dB": {"seed": 4, "samples": 12345, "kind": "coloured", "db": 20.0},
    "a room": {"seed": 5, "samples": 8000, "kind": "filtered", "db": 15.0},
    "a delay": {"seed": 6, "samples": 8000, "kind": "delayed", "db": 25.0},
    "barely longer than the filter": {"seed": 7, "samples": 700, "kind": "noise", "db": 5.0},
}

# Of voices that leak into each other, with noise: where scores of every kind have something to say.
LEAKING = {
    "two voices at 8 kHz": {"rate": 8000, "sources": 2, "seconds": 1.5, "leak_db": -12.0, "noise_db": -20.0},
    "two voices at 16 kHz": {"rate": 16000, "sources": 2, "seconds": 1.3, "leak_db": -6.0, "noise_db": -30.0},
    "three voices at 8 kHz": {"rate": 8000, "sources": 3, "seconds": 1.2, "leak_db": -18.0, "noise_db": -10.0},
    "quiet, and far apart": {"rate": 8000, "sources": 2, "seconds": 1.0, "leak_db": -40.0, "noise_db": -50.0},
}


def signals(seed: int, samples: int, kind: str, db: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the references ``[2, time]`` and estimates ``[2, time]`` of a case."""
    random = np.random.default_rng(seed)
    reference = random.standard_normal((2, samples))
    if kind == "coloured":  # as speech is: most of its energy below a few hundred hertz, and coming and going
        taps = 0.9 ** np.arange(60)
        reference = np.stack([np.convolve(row, taps)[:samples] for row in reference])
        reference *= 1 + np.sin(2 * np.pi * np.arange(samples) / 3000 + np.array([[0.0], [2.0]]))
    heard = reference
    if kind == "filtered":
        room = random.standard_normal(300) * np.exp(-np.arange(300) / 60)
        heard = np.stack([np.convolve(row, room)[:samples] for row in reference])
    if kind == "delayed":
        heard = np.stack([np.pad(row, (37, 0))[:samples] for row in reference])
    other = reference[::-1] if kind == "coloured" else random.standard_normal((2, samples))
    level = np.linalg.norm(heard, axis=1) / np.linalg.norm(other, axis=1) * 10 ** (-db / 20)
    return reference, heard + level[:, None] * other


def leaking(rate: int, sources: int, seconds: float, leak_db: float, noise_db: float) -> tuple[np.ndarray, np.ndarray]:
    """Return voices ``[source, time]`` and what a separator might make of them."""
    references = np.stack([voice(110 + 60 * n, seconds=seconds, rate=rate, seed=n) for n in range(sources)])
    references = references.astype(np.float64)
    noise = np.random.default_rng(sources).standard_normal(references.shape)
    noise *= np.linalg.norm(references, axis=1, keepdims=True) / np.linalg.norm(noise, axis=1, keepdims=True)
    others = references.sum(0) - references
    return references, 0.8 * references + 10 ** (leak_db / 20) * others + 10 ** (noise_db / 20) * noise


def spectral_distance(estimate: np.ndarray, reference: np.ndarray, rate: int) -> float:
    """Return the log-spectral distance by scipy's spectrogram, written anew from the definition."""
    from scipy.signal import get_window, spectrogram

    size = round(0.032 * rate)
    trend: Any = False  # none is taken away, which scipy leaves out of the type
    true, found = (
        spectrogram(
            signal,
            window=get_window("hann", size),
            noverlap=size - size // 4,
            detrend=trend,
            scaling="spectrum",
            mode="magnitude",
        )[2]
        for signal in (reference, estimate)
    )
    lowest = true.max() / 10**4
    levels = (20 * np.log10(np.clip(magnitudes, lowest, None)) for magnitudes in (true, found))
    return float(np.mean(np.sqrt(np.mean(np.subtract(*levels) ** 2, axis=0))))


def reference_scores(references: np.ndarray, estimates: np.ndarray, rate: int) -> dict[str, list[float]]:
    """Return what the reference implementation of every metric says, one value a source."""
    import torch
    from mir_eval.separation import bss_eval_sources
    from pesq import pesq
    from pystoi import stoi
    from torchmetrics.functional.audio import (  # pyright: ignore[reportMissingImports]
        scale_invariant_signal_noise_ratio,
        signal_noise_ratio,
    )

    def each(function: Any) -> list[float]:
        return [float(function(found, true)) for found, true in zip(estimates, references, strict=True)]

    def in_torch(function: Any) -> Any:
        return lambda found, true: function(torch.from_numpy(found), torch.from_numpy(true))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sdr, sir, sar, _ = bss_eval_sources(references, estimates, compute_permutation=False)
    mode = "nb" if rate == 8000 else "wb"
    return {
        "si-snr": each(in_torch(scale_invariant_signal_noise_ratio)),
        "snr": each(in_torch(signal_noise_ratio)),
        "sdr": sdr.tolist(),
        "sir": sir.tolist(),
        "sar": sar.tolist(),
        "pesq": each(lambda found, true: pesq(rate, true, found, mode)),
        "stoi": each(lambda found, true: stoi(true, found, rate)),
        "estoi": each(lambda found, true: stoi(true, found, rate, extended=True)),
        "lsd": each(lambda found, true: spectral_distance(found, true, rate)),
    }


def main() -> None:
    """Write the files."""
    from mir_eval.separation import bss_eval_sources

    warnings.simplefilter("ignore", FutureWarning)
    cases = {}
    for name, case in CASES.items():
        reference, estimate = signals(**case)
        cases[name] = bss_eval_sources(reference, estimate, compute_permutation=False)[0].tolist()
    content = {"mir_eval": version("mir_eval"), "numpy": version("numpy"), "sdr_db": cases}
    (GOLDEN / "sdr.json").write_text(json.dumps(content, indent=1) + "\n")
    made_with = {
        "si-snr": "torchmetrics.functional.audio.scale_invariant_signal_noise_ratio",
        "snr": "torchmetrics.functional.audio.signal_noise_ratio",
        **dict.fromkeys(("sdr", "sir", "sar"), "mir_eval.separation.bss_eval_sources"),
        "pesq": "pesq.pesq",
        **dict.fromkeys(("stoi", "estoi"), "pystoi.stoi"),
        "lsd": "tests.metrics.make_golden.spectral_distance, on scipy.signal.spectrogram",
    }
    packages = ("torchmetrics", "torch", "mir_eval", "pesq", "pystoi", "scipy", "numpy")
    scores = {
        "versions": {package: version(package) for package in packages},
        "made_with": made_with,
        "scores": {name: reference_scores(*leaking(**case), case["rate"]) for name, case in LEAKING.items()},
    }
    (GOLDEN / "scores.json").write_text(json.dumps(scores, indent=1) + "\n")


if __name__ == "__main__":
    main()
