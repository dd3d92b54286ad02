"""Writes golden/sdr.json: what mir_eval says of seeded signals, kept because mir_eval 0.9 drops its SDR.

``python tests/metrics/make_golden.py``, with mir_eval 0.8.
"""

import json
import warnings
from importlib.metadata import version
from pathlib import Path

import numpy as np

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


def main() -> None:
    """Write the file."""
    from mir_eval.separation import bss_eval_sources

    warnings.simplefilter("ignore", FutureWarning)
    cases = {}
    for name, case in CASES.items():
        reference, estimate = signals(**case)
        cases[name] = bss_eval_sources(reference, estimate, compute_permutation=False)[0].tolist()
    content = {"mir_eval": version("mir_eval"), "numpy": version("numpy"), "sdr_db": cases}
    path = Path(__file__).parent / "golden" / "sdr.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
