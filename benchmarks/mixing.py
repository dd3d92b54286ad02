"""How many training mixtures are drawn per second of one core's time, option by option.

``python -m benchmarks.mixing > benchmarks/mixing.md`` writes the table. The speech is the example's, decoded
before; every line is measured in turns with the others, so that a busy machine slows all alike, and in
processor time, so that waiting does not count. Soxr, which resamples, starts no threads.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import scipy
import soxr
import torch

from septool import audio
from septool.data.mixing import AugmentationSources, Background, DynamicMixing, Reverberation, sample_parts
from septool.data.pool import FULL_SCALE, UtterancePool
from septool.tasks.profile import describe_machine

EXAMPLES = Path(__file__).parent.parent / "examples"
ROUNDS, MIXTURES = 9, 50
UTTERANCE_SECONDS, NOISE_SECONDS, RESPONSE_SECONDS = 12.0, 60.0, 0.5


def pool_of(sounds: list[np.ndarray], names: list[str], rate: int) -> UtterancePool:
    """Make a pool without files."""
    levels = np.array([np.sqrt(np.mean(np.square(sound))) for sound in sounds])
    samples = np.round(np.concatenate(sounds) * FULL_SCALE).astype(np.int16)
    return UtterancePool(samples, np.cumsum([0, *map(len, sounds)]), levels, names, rate)


def material(rate: int) -> tuple[UtterancePool, UtterancePool, UtterancePool]:
    """Return speech of two speakers (ten utterances each), four noises and four impulse responses."""
    random = np.random.default_rng(0)
    voices = [audio.load_audio(EXAMPLES / f"two-talkers_s{n}.flac", rate) for n in (1, 2)]
    frames = round(UTTERANCE_SECONDS * rate)
    utterances = [np.resize(np.roll(voice, n * rate), frames) for voice in voices for n in range(10)]
    speech = pool_of(utterances, [f"{number // 10}" for number in range(20)], rate)
    noises = [0.1 * random.standard_normal(round(NOISE_SECONDS * rate)).astype(np.float32) for _ in range(4)]
    decay = np.exp(-np.linspace(0, 7, round(RESPONSE_SECONDS * rate)))  # 60 dB
    responses = [(0.2 * decay * random.standard_normal(len(decay))).astype(np.float32) for _ in range(4)]
    return speech, pool_of(noises, [""] * 4, rate), pool_of(responses, ["a", "a", "b", "b"], rate)


def settings() -> dict[str, DynamicMixing]:
    """Return the lines of the table."""
    plain = DynamicMixing(speed=(1.0, 1.0))
    default = DynamicMixing()
    noise, room = Background(manifest=""), Reverberation(manifest="")
    return {
        "cut and mixed": plain,
        "at 95 to 105 % speed": default,
        "… and at Papez's levels": replace(default, levels="papez"),
        "… and with noise": replace(default, backgrounds=(noise,)),
        "… and with noise and music": replace(default, backgrounds=(noise, noise)),
        "… and in a room": replace(default, rooms=room),
        "… and in a room, with noise and music": replace(default, rooms=room, backgrounds=(noise, noise)),
        "three voices at 95 to 105 % speed": replace(default, sources=3),
    }


def measure(drawers: list[Callable[[int], object]]) -> np.ndarray:
    """Return the processor seconds of a mixture, ``[drawer, round]``."""
    seconds = np.zeros((len(drawers), ROUNDS))
    for round_ in range(-1, ROUNDS):  # the first warms up
        for line, drawer in enumerate(drawers):
            start = time.process_time()
            for index in range(MIXTURES):
                drawer(max(round_, 0) * MIXTURES + index)
            if round_ >= 0:
                seconds[line, round_] = (time.process_time() - start) / MIXTURES
    return seconds


def drawer(rate: int, mixing: DynamicMixing) -> Callable[[int], np.ndarray]:
    """Return what draws a mixture by its number."""
    speech, noise, rooms = material(rate)
    voices = speech if mixing.sources == 2 else three(speech)
    around = AugmentationSources(len(mixing.backgrounds) * (noise,), rooms if mixing.rooms else None)
    return lambda index: sample_parts(voices, mixing, around, seed=0, epoch=0, index=index)


def three(speech: UtterancePool) -> UtterancePool:
    """Call the same utterances those of three speakers."""
    return pool_of(
        [speech.segment(n) for n in range(len(speech))], [str(n % 3) for n in range(len(speech))], speech.rate
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    torch.set_num_threads(1)
    print("# How fast mixtures are drawn\n")
    print(
        "Mixtures of two voices and 4 s per second of one core's time, from decoded speech in memory; the median of "
        f"{ROUNDS} rounds of {MIXTURES}, and the quartiles.\nOf the utterances ({UTTERANCE_SECONDS:g} s) an excerpt is "
        f"cut at random; impulse responses are {RESPONSE_SECONDS:g} s long. Written by `python -m benchmarks.mixing`.\n"
    )
    print(f"{describe_machine(torch.device('cpu'), 1)}, numpy {np.__version__}, scipy {scipy.__version__}, ", end="")
    print(f"soxr {soxr.__version__}.\n")
    print("| mixtures | 8 kHz | 16 kHz |")
    print("|---|---|---|")
    lines = settings()
    found = {rate: measure([drawer(rate, mixing) for mixing in lines.values()]) for rate in (8000, 16000)}
    for line, name in enumerate(lines):
        cells = []
        for seconds in found.values():
            low, middle, high = np.percentile(1 / seconds[line], [25, 50, 75])
            cells.append(f"{middle:.0f} ({low:.0f} to {high:.0f})")
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
