"""VoxCeleb1 (Nagrani, Chung and Zisserman, 2017): training and test data of Atss-Net's speaker network.

1211 speakers to train on (dev), 40 to test on, whose numbers are id10270 to id10309, and the list of 37,720
trials among the latter, ``veri_test.txt``, which its authors offer beside the recordings.
"""

import re
from pathlib import Path

from septool.corpora import base
from septool.data import trials
from septool.data.manifest import Mixture, Source, manifest_path
from septool.data.renderers import RATE

RECORDINGS = {"dev": 148_642, "test": 4874}
TRIALS = 37_720
LIST = "veri_test.txt"
TEST_SPEAKERS = range(10_270, 10_310)
SPEAKER = re.compile(r"id(1\d{4})")


def prepare(
    source: Path,
    out: Path,
    *,
    split: str | None = None,
    metadata: Path | None = None,
    jobs: int = 1,
) -> base.PreparedRows:
    """Build the manifests of recordings, and the list of trials.

    Args:
        source: the folder of VoxCeleb1; its splits may lie apart (dev/wav, test/wav) or together (wav).
        out: where the manifests will lie.
        split: dev, test or both.
        metadata: the folder of veri_test.txt; SOURCE by default.
        jobs: processes that look at files.
    """
    base.require_folder(source, "dev/wav and test/wav")
    picked = base.select_splits(split, RECORDINGS)
    # By what stands behind the speaker's number, since that is how the list of trials names them.
    paths = {
        "/".join(path.parts[-3:]): path
        for pattern in ("*/*/*.wav", "wav/*/*/*.wav", "*/wav/*/*/*.wav")
        for path in sorted(source.glob(pattern))
        if (name := SPEAKER.fullmatch(path.parts[-3])) and _split(int(name[1])) in picked
    }
    found, left_out = base.read_headers(paths.values(), RATE, jobs)
    root = manifest_path(source, out)
    usable = {name: (root / path.relative_to(source)).as_posix() for name, path in paths.items() if path in found}
    parts = []
    for part, published in picked.items():
        rows = [
            Mixture(
                id=name.removesuffix(".wav"),
                split=part,
                sample_rate=RATE,
                sources=(Source(path=path, frames=found[paths[name]].frames, speaker=name.split("/")[0]),),
            )
            for name, path in sorted(usable.items())
            if _split(int(name[2:7])) == part
        ]
        if len(rows) < published:
            left_out.append(f"{source} has {len(rows)} of the {published} recordings of {part}")
        parts.append(
            base.ManifestPart(f"{part}-voxceleb1-speech", part, rows, "speech", missing=max(published - len(rows), 0))
        )
    if "test" not in picked:
        return base.PreparedRows(parts, left_out)
    listed, lost = _trials((metadata or source) / LIST, usable)
    speakers = len({path.parts[-3] for trial in listed for path in trial[1:]})
    about = base.TrialList("test-voxceleb1-trials", "test", listed, speakers, missing=max(TRIALS - len(listed), 0))
    return base.PreparedRows(parts, left_out + lost, [about])


def _split(speaker: int) -> str:
    return "test" if speaker in TEST_SPEAKERS else "dev"


def _trials(path: Path, usable: dict[str, str]) -> tuple[list[trials.Trial], list[str]]:
    """Return the trials whose recordings are there, and what keeps the others away."""
    if not path.exists():
        return [], [f"{path} does not exist; the authors of VoxCeleb offer it, --metadata says where it is"]
    listed: list[trials.Trial] = []
    lost: set[str] = set()
    for trial in trials.read_trials(path):
        names = ["/".join(path.parts[-3:]) for path in trial[1:]]
        lost.update(name for name in names if name not in usable)
        if usable.keys() >= set(names):
            listed.append(trials.Trial(trial.same, *(Path(usable[name]) for name in names)))
    return listed, [f"{name}, which {path.name} names, is missing or cannot be used" for name in sorted(lost)]


VOXCELEB1 = base.Corpus(
    about="1251 speakers of interviews, to train and test speaker networks; published split and trials",
    licence="Creative Commons Attribution; the videos remain their owners'",
    size="153,516 recordings, 352 hours, 40 GB",
    expects="{dev,test}/wav/SPEAKER/VIDEO/*.wav or wav/SPEAKER/VIDEO/*.wav; veri_test.txt beside, or in --metadata",
    prepare=prepare,
)
