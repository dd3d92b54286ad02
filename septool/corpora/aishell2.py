"""AISHELL-2 in noise (Atss-Net, Li et al., 2020): a target voice in music, songs or television.

The paper assigns 1951 of the 1991 speakers to training and the others to the test, takes 425 recordings of noise
that were never published, and mixes at 5 to 20 dB with a second utterance of the speaker as the enrollment. The
same is done here with your noise, assigned to the splits by name, 9 : 1; every utterance is mixed once. The clips
of the training split are listed as well, for training that mixes anew: those of the test stay unheard.
"""

import math
from pathlib import Path, PurePath

from septool import audio
from septool.corpora import base, overlay
from septool.corpora.folder import assign_splits, find_utterances
from septool.data.manifest import Enrollment, Mixture, Source, manifest_path
from septool.errors import AudioError, SeptoolError

SPEAKERS = {"train": 1951.0, "test": 40.0}
CLIPS = {"train": 9.0, "test": 1.0}


def prepare(
    source: Path,
    out: Path,
    *,
    noise: Path,
    split: str | None = None,
    sample_rate: int = 16000,
    snr: tuple[float, float] = (5.0, 20.0),
    seed: int = 0,
    jobs: int = 1,
) -> base.PreparedRows:
    """Build the manifests of AISHELL-2 in noise.

    Args:
        source: the AISHELL-2 folder, or its iOS/data/wav.
        out: where the manifests will lie.
        noise: a folder of music and noise.
        split: train, test or both.
        sample_rate: Hz of the mixtures.
        snr: range of the speech's level over the noise, dB.
        seed: another seed deals and draws differently.
        jobs: processes that read levels.
    """
    picked = base.select_splits(split, SPEAKERS)
    deep = source / "iOS" / "data" / "wav"
    root = deep if deep.is_dir() else source
    speakers = find_utterances(root)
    splits = assign_splits(list(speakers), SPEAKERS, seed)
    dealt, left_out = overlay.find_clips(noise, CLIPS, seed)
    speech_root, noise_root = manifest_path(root, out), manifest_path(noise, out)
    parts = []
    for name in picked:
        usable: dict[str, list[overlay.Speech]] = {}
        for speaker, paths in speakers.items():
            if splits[speaker] == name:
                usable[speaker], damaged = _utterances(paths)
                left_out += damaged
        if not usable:
            raise SeptoolError(f"split {name} got none of {len(speakers)} speakers; name the other with --split")
        left_out += [
            f"{root / name} has a single utterance, so none for enrollment"
            for name, of in usable.items()
            if len(of) == 1
        ]
        speech = [utterance for of in usable.values() if len(of) > 1 for utterance in of]
        drawn = overlay.sample_overlays(speech, noise, dealt[name], snr, seed, jobs)
        left_out += [line for line in drawn if isinstance(line, str)]
        rows = []
        for utterance, noise_row in zip(speech, drawn, strict=True):
            if isinstance(noise_row, str):
                continue
            path = utterance.path.relative_to(root)
            other = base.next_utterance(usable[path.parts[0]], utterance).path.relative_to(root)
            rows.append(
                Mixture(
                    id=utterance.id,
                    split=name,
                    sample_rate=sample_rate,
                    frames=math.floor(utterance.seconds * sample_rate + 0.5) or None,  # what resampling leaves
                    sources=(Source(path=(speech_root / path).as_posix(), speaker=path.parts[0]),),
                    noise=Source(
                        path=(noise_root / noise_row.clip.path).as_posix(),
                        start=noise_row.start,
                        frames=noise_row.frames,
                        gain_db=noise_row.gain_db,
                    ),
                    enrollment=Enrollment(path=(speech_root / other).as_posix(), speaker=path.parts[0]),
                )
            )
        parts.append(base.ManifestPart(f"{name}-aishell2-noise-{sample_rate // 1000}k", name, rows))
    if "train" in picked:
        parts.append(base.ManifestPart("train-aishell2-clips", "clips", _clips(dealt["train"], noise_root), "speech"))
    return base.PreparedRows(parts, left_out)


def _clips(clips: list[overlay.Clip], root: PurePath) -> list[Mixture]:
    """Return a row for each recording of noise, to draw from."""
    return [
        Mixture(
            id=clip.path.as_posix(),  # with its suffix: nothing tells two recordings apart that differ in it alone
            split="train",
            sample_rate=clip.rate,
            sources=(Source(path=(root / clip.path).as_posix(), frames=clip.frames, speaker=clip.path.parts[0]),),
        )
        for clip in clips
    ]


def _utterances(paths: list[Path]) -> tuple[list[overlay.Speech], list[str]]:
    usable: list[overlay.Speech] = []
    damaged: list[str] = []
    for path in paths:
        try:
            header = audio.audio_info(path)
        except AudioError as error:
            damaged.append(str(error))
        else:
            usable.append(overlay.Speech(path.stem, path, header.frames / header.rate))
    return usable, damaged


AISHELL2_NOISE = base.Corpus(
    about="Mandarin speech in your music and noise at 5 to 20 dB, with an enrollment; drawn, as no list was published",
    licence="AISHELL Foundation, on request (AISHELL-2), yours (noise)",
    size="1991 speakers, 1000 hours; noise of at least ten files",
    expects="AISHELL-2/iOS/data/wav/SPEAKER/*.wav; --noise any folder of music and noise",
    prepare=prepare,
)
