"""Seeded damage to files of sound: what a broken disk, a lost connection or an attacker makes of them."""

import io
from collections.abc import Callable

import numpy as np
import soundfile

from tests.conftest import voice

RATE = 16000
# Every format that can be written here: libsndfile's name, and its sample format.
FORMATS = [
    ("WAV", "PCM_16"),
    ("WAV", "FLOAT"),
    ("WAV", "IMA_ADPCM"),
    ("RF64", "PCM_16"),
    ("W64", "PCM_24"),
    ("AIFF", "PCM_16"),
    ("AU", "PCM_16"),
    ("CAF", "PCM_16"),
    ("FLAC", "PCM_16"),
    ("OGG", "VORBIS"),
    ("OGG", "OPUS"),
    ("MP3", "MPEG_LAYER_III"),
]
Damage = Callable[[bytearray, np.random.Generator], None]


def encode(kind: str, subtype: str) -> bytes:
    """Return half a second of a voice."""
    file = io.BytesIO()
    soundfile.write(file, voice(150, seconds=0.5, rate=RATE), RATE, format=kind, subtype=subtype)
    return file.getvalue()


def truncate(data: bytearray, random: np.random.Generator) -> None:
    del data[int(random.integers(1, len(data))) :]


def flip_bits(data: bytearray, random: np.random.Generator) -> None:
    for place in random.integers(0, len(data), int(random.integers(1, 40))):
        data[place] ^= 1 << int(random.integers(8))


def flip_bits_of_header(data: bytearray, random: np.random.Generator) -> None:
    for place in random.integers(0, min(len(data), 64), int(random.integers(1, 6))):
        data[place] ^= 1 << int(random.integers(8))


def wrong_size(data: bytearray, random: np.random.Generator) -> None:
    """Set four or eight bytes of the header to a size that is none."""
    width = int(random.choice([4, 8]))
    place = int(random.integers(0, min(len(data), 96) - width))
    value = int(random.choice([0, 1, 7, 255, 2**15, 2**24, 2**31 - 1, 2**31, 2**32 - 1])) << int(random.choice([0, 32]))
    data[place : place + width] = (value % 256**width).to_bytes(width, str(random.choice(["little", "big"])))  # pyright: ignore[reportArgumentType]


def huge_claim(data: bytearray, random: np.random.Generator) -> None:
    """Let the header claim very much, of one kind and of another."""
    for _ in range(int(random.integers(1, 4))):
        place = int(random.integers(4, min(len(data), 64) - 8))
        data[place : place + 4] = b"\xff" * 4 if random.integers(2) else b"\x7f\xff\xff\xff"


def nested_chunks(data: bytearray, random: np.random.Generator) -> None:
    """Put chunks within chunks where the header ends, thousands deep."""
    depth = int(random.choice([3, 1000, 20_000]))
    data[12:12] = b"".join(b"LIST" + (8 * n).to_bytes(4, "little") for n in range(depth, 0, -1))


def wrong_magic(data: bytearray, random: np.random.Generator) -> None:
    magics = [b"RIFF", b"fLaC", b"OggS", b"FORM", b".snd", b"caff", b"ID3\x04", b"NIST", b"\xff\xfb\x90\x00", b"RF64"]
    magic = magics[int(random.integers(len(magics)))]
    data[: len(magic)] = magic


def insert(data: bytearray, random: np.random.Generator) -> None:
    place = int(random.integers(0, len(data)))
    data[place:place] = random.integers(0, 256, int(random.integers(1, 6000)), dtype=np.uint8).tobytes()


def cut_out(data: bytearray, random: np.random.Generator) -> None:
    place = int(random.integers(0, len(data)))
    del data[place : place + int(random.integers(1, len(data) // 2))]


def zero_out(data: bytearray, random: np.random.Generator) -> None:
    place, size = int(random.integers(0, len(data))), int(random.integers(1, 5000))
    data[place : place + size] = bytes(len(data[place : place + size]))


def repeat(data: bytearray, random: np.random.Generator) -> None:
    """Let a file follow itself, as careless recorders do."""
    data += data[int(random.integers(0, len(data))) if random.integers(2) else 0 :]


DAMAGES: list[Damage] = [
    truncate,
    flip_bits,
    flip_bits_of_header,
    wrong_size,
    huge_claim,
    nested_chunks,
    wrong_magic,
    insert,
    cut_out,
    zero_out,
    repeat,
]


def damaged(seed: int, sound: dict[tuple[str, str], bytes]) -> tuple[str, bytes]:
    """Return a damaged file and what was done to it; the same for the same seed."""
    random = np.random.default_rng(seed)
    kind = FORMATS[seed % len(FORMATS)]
    damage = DAMAGES[seed // len(FORMATS) % len(DAMAGES)]
    data = bytearray(sound[kind])
    damage(data, random)
    return f"{'-'.join(kind)}-{damage.__name__}-{seed}", bytes(data)
