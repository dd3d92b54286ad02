"""Voiceprints: stored embeddings of known voices, without their audio.

A voiceprint file is a ``.safetensors`` file with an embedding ``DIGEST/NAME`` per voice and speaker network. Embeddings
are comparable only within one network, so each is keyed by the digest of its network's weights.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from torch import nn

from septool.atomic import atomic_write
from septool.errors import CheckpointError, UsageError
from septool.files import is_there
from septool.printable import printable

KEY = "septool-voices"  # the header's one entry, a JSON object
VOICEPRINT_RATE = 8000  # Hz: voices are compared with tracks of separators, and of most this is the rate
LONGEST_NAME = 100  # characters; names become parts of file names
# Separators of paths, of lists and of name patterns; and bytes that are not UTF-8, which no header can have.
NOT_IN_NAMES = re.compile(r"[\x00-\x1f\x7f/\\#,{}:\ud800-\udfff]")


@dataclass(frozen=True)
class Voiceprint:
    """The embedding of an enrolled voice."""

    name: str
    embedding: np.ndarray  # [embedding], float32, as output by the network
    seconds: float  # total duration of the enrollment recordings

    def __post_init__(self) -> None:
        check_voice_name(self.name)


def check_voice_name(name: str) -> None:
    """Refuse a name that cannot be part of a file name.

    Raises:
        UsageError: saying what it may be.
    """
    if not name.strip() or len(name) > LONGEST_NAME or NOT_IN_NAMES.search(name) or name.startswith("."):
        raise UsageError(
            f"'{printable(name)}' cannot be the name of a voice; it takes 1 to {LONGEST_NAME} characters of UTF-8, "
            "none of them / \\ # , : { or }, and no dot in front"
        )


def network_digest(network: nn.Module) -> str:
    """Return the SHA-256 of the weights of a speaker network, which identifies it in voiceprint files.

    The weights are rounded to 16 bits, as files may store them: an extractor's copy in 32 bits is the same network.
    """
    digest = hashlib.sha256()
    for name, values in sorted(network.state_dict().items()):
        if values.is_floating_point():
            digest.update(name.encode() + values.half().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def voice_digests(voices: Sequence[Voiceprint]) -> dict[str, str]:
    """Return the SHA-256 of each voice's embedding by name, as kept in records of results."""
    return {voice.name: hashlib.sha256(voice.embedding.tobytes()).hexdigest() for voice in voices}


class VoiceprintSet(NamedTuple):
    """The voiceprints of one speaker network."""

    model: str  # name of its checkpoint
    network: str  # digest of its weights
    rate: int  # sample rate of its input, Hz
    voices: Sequence[Voiceprint]  # with distinct names


def write_voiceprints(path: Path, voiceprints: VoiceprintSet) -> None:
    """Write a file of voiceprints."""
    metadata = {
        "networks": {voiceprints.network: {"model": voiceprints.model, "sample_rate": voiceprints.rate}},
        "seconds": {voice.name: round(voice.seconds, 2) for voice in voiceprints.voices},
    }
    tensors = {
        f"{voiceprints.network}/{voice.name}": np.ascontiguousarray(voice.embedding, dtype=np.float32)
        for voice in voiceprints.voices
    }
    with atomic_write(path) as partial:
        partial.write_bytes(save(tensors, {KEY: json.dumps(metadata)}))


def find_voiceprints(text: str, network: nn.Module) -> list[Voiceprint]:
    """Read the voices that ``--who`` names: voiceprint files, separated by commas.

    Args:
        text: ``FILE`` for every voice in it, ``FILE#NAME`` for one of them; several with commas.
        network: the speaker network, which must be the one that made them.

    Raises:
        UsageError: no such file or voice, two of one name, or voices of another network.
        CheckpointError: a file that is damaged.
    """
    found: dict[str, Voiceprint] = {}
    digest = network_digest(network)
    for part in [text] if is_there(Path(text)) else text.split(","):  # a file name may contain a comma
        path, name = (part, "") if is_there(Path(part)) or "#" not in part else part.rsplit("#", 1)
        if not part:
            raise UsageError(f"--who is {text!r}; it names files of voiceprints (see: septool enroll --help)")
        voices = _read_voiceprints(Path(path), digest)
        if name and name not in voices:
            raise UsageError(f"{path} has no voice {name!r}; it has {', '.join(sorted(voices))}")
        for voice in [voices[name]] if name else voices.values():
            if voice.name in found:
                raise UsageError(f"two voices are called {voice.name}; choose one as FILE#NAME, or enroll it anew")
            found[voice.name] = voice
    return list(found.values())


def _read_voiceprints(path: Path, network: str) -> Mapping[str, Voiceprint]:
    if not path.is_file():
        raise UsageError(f"--who: there is no file {printable(path)}; septool enroll makes one")
    try:
        with safe_open(path, "numpy") as file:
            metadata = json.loads((file.metadata() or {}).get(KEY, "null"))
            if metadata is None:
                raise UsageError(f"{printable(path)} has no voiceprints; septool enroll makes a file that has")
            networks = metadata["networks"]
            if network not in networks:
                others = " and ".join(str(maker["model"]) for maker in networks.values())
                raise UsageError(
                    f"{printable(path)} was made by another speaker network, {others}; enroll the voices anew, or name "
                    "that one by --speaker-model"
                )
            voices = {
                name: Voiceprint(name, file.get_tensor(key), float(metadata["seconds"].get(name, 0.0)))
                for key in file.keys()  # noqa: SIM118 - not a mapping
                for digest, _, name in [key.partition("/")]
                if digest == network
            }
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{printable(path)} is no file of voiceprints, or damaged: {error}") from None
    for voice in voices.values():
        if voice.embedding.ndim != 1 or not np.isfinite(voice.embedding).all():
            raise CheckpointError(f"{printable(path)}: voice {voice.name} is damaged")
    return voices
