"""WSJ0-music (Lam et al., 2021): speech of WSJ0-2mix over music, both to be separated.

Its lists and clips were never published. Here every utterance of a split of WSJ0-2mix is mixed once with a
segment of your music, 0 to 5 dB below it (the range that GALR's authors state); clips are assigned to the splits
by name, 8 : 1 : 1, so that no split hears another's music.
"""

from pathlib import Path

from septool.corpora import base, overlay, wsj0mix
from septool.data.manifest import Mixture, Source, manifest_path
from septool.data.renderers import RATE

SHARES = {"tr": 8.0, "cv": 1.0, "tt": 1.0}


def prepare(
    source: Path,
    out: Path,
    *,
    noise: Path,
    split: str | None = None,
    sample_rate: int = 8000,
    snr: tuple[float, float] = (0.0, 5.0),
    seed: int = 0,
    jobs: int = 1,
) -> base.PreparedRows:
    """Build the manifests of speech and music.

    Args:
        source: the folder of WSJ0.
        out: where the manifests will lie.
        noise: a folder of music.
        split: some of tr, cv, tt.
        sample_rate: Hz of the mixtures.
        snr: range of the speech's level over the music, dB.
        seed: another seed deals and draws differently.
        jobs: processes that read levels.
    """
    picked = base.select_splits(split, SHARES)
    dealt, damaged = overlay.find_clips(noise, SHARES, seed)
    listed = {part: wsj0mix.read_list(2, part) for part in picked}
    located = wsj0mix.locate(source, [mixture for part in listed.values() for mixture in part])
    found, left_out = base.read_headers((source / path for path in located.values()), RATE, jobs)
    left_out += damaged
    speech_root, music_root = manifest_path(source, out), manifest_path(noise, out)
    parts = []
    for name, mixtures in listed.items():
        wanted = sorted({voice.key for mixture in mixtures for voice in mixture})
        there = [key for key in wanted if source / located[key] in found]
        paths = [source / located[key] for key in there]
        speech = [overlay.Speech(path.stem.lower(), path, found[path].frames / RATE) for path in paths]
        drawn = overlay.sample_overlays(speech, noise, dealt[name], snr, seed, jobs)
        left_out += [line for line in drawn if isinstance(line, str)]
        rows = [
            Mixture(
                id=key[-1],
                split=name,
                sample_rate=sample_rate,
                sources=(
                    Source(path=(speech_root / located[key]).as_posix(), speaker=key[1]),
                    Source(
                        path=(music_root / music.clip.path).as_posix(),
                        start=music.start,
                        frames=music.frames,
                        gain_db=music.gain_db,
                        speaker="music",
                    ),
                ),
            )
            for key, music in zip(there, drawn, strict=True)
            if isinstance(music, overlay.ClipExcerpt)
        ]
        title = f"{name}-wsj0-music-{sample_rate // 1000}k"
        parts.append(base.ManifestPart(title, name, rows, missing=len(wanted) - len(rows)))
    return base.PreparedRows(parts, left_out)


WSJ0_MUSIC = base.Corpus(
    about="speech of WSJ0-2mix over your music, 0 to 5 dB below it; drawn, there is no published list",
    licence=f"{wsj0mix.LICENCE}, yours (music)",
    size="14,096 recordings of WSJ0, and music of at least ten files",
    expects=f"{wsj0mix.EXPECTS}; --noise any folder of music",
    prepare=prepare,
)
