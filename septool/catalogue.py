"""Resolving checkpoint names: entries of ``checkpoints.toml``, repositories of the hub, files and folders.

Weights of other toolkits are brought into our shape once and kept in the cache, under a name made of the sums of their
files and of everything else that decides what comes out.
"""

import json
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from septool import downloads
from septool.config import JsonDict, JsonMapping, build, cache_folder, read_toml, shipped
from septool.downloads import HUB, HUB_FILE, Progress, RemoteFile
from septool.errors import CheckpointError, UsageError
from septool.files import make_folder, sha256_of
from septool.interop import CONVERSION_VERSION, WEIGHTS
from septool.load_cache import load_once
from septool.models import MODELS
from septool.registry import suggest

LOG = logging.getLogger(__name__)
OURS = "septool"  # the source of files that need no conversion
HUB_NAME = re.compile(r"hf:([\w.-]+/[\w.-]+)(?:@([\w./-]+))?")
# What was bundled once, and what does the same better: scripts and settings that name it go on working.
REPLACED = {
    "galr-extractor": "galr-small-8k",
    "galr-extractor-8k": "galr-small-8k",
    "ge2e": "campplus-16k",
    "ge2e-8k": "campplus-16k",
}


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One table of ``checkpoints.toml``."""

    model: str
    sample_rate: int
    sources: int
    licence: str
    trained_on: str
    intended_use: str
    sha256: str = ""  # hash of a bundled file
    bytes: int = 0
    file: str | None = None  # bundled, in septool/weights
    files: tuple[RemoteFile, ...] = ()  # fetched on request
    source: str = OURS  # what the remote files are: a source of ``models convert``
    options: JsonDict = field(default_factory=dict)  # conversion settings that the files themselves do not give
    default: bool = False  # what the model's bare name means
    card: str = ""
    notices: str = ""  # restrictions that come with what it was trained on
    parameters: int = 0
    published: JsonDict = field(default_factory=dict)
    measured: JsonDict = field(default_factory=dict)

    @property
    def total_bytes(self) -> int:
        """Size of its files, as far as it is known."""
        return self.bytes or sum(file.bytes or file.about_bytes for file in self.files)


class NotFetchedError(CheckpointError):
    """Weights that are known and not on this machine."""


def read_catalogue() -> dict[str, Entry]:
    """Read ``checkpoints.toml``."""
    entries = read_toml(shipped("checkpoints.toml"))
    return {name: build(Entry, values, f"{name}.") for name, values in entries.items()}


def resolve_checkpoint(name: str) -> tuple[str, Path]:
    """Find the checkpoint that a name means.

    Args:
        name: an entry, a model (its default entry), ``hf:OWNER/NAME[@REVISION]``, a ``.safetensors`` file, or a folder
            or file in a layout that ``models convert`` knows.

    Returns:
        The checkpoint's name and its file, whose sha256 has been checked if it is a known one.

    Raises:
        UsageError: an unknown name, with the nearest known one.
        NotFetchedError: weights that have to be fetched first.
        CheckpointError: weights that are missing, damaged, or of no network that septool has.
    """
    if name.endswith(".safetensors"):
        path = Path(name).absolute()
        # A run's weights go by the name of the run, which is its folder.
        names = {"best": path.parent.name, "last": f"{path.parent.name}-last", "average": f"{path.parent.name}-average"}
        return names.get(path.stem, path.stem), Path(name)
    if _is_local(name):
        return _convert_local(Path(name))
    key, entry = find_entry(name)
    path = weights_path(entry)
    if path is None:
        raise NotFetchedError(f"the weights of {key} are not here; get them with: septool models fetch {name}")
    if not path.exists():
        raise CheckpointError(f"the bundled weights of {key} are missing; install septool again")
    LOG.info("%s is %s, sha256 %s...", key, path, check_weights(path, entry)[:12])
    return key, path


def _is_local(name: str) -> bool:
    """Return whether a name means a file or folder of this machine: names that are known come first."""
    known = {*read_catalogue(), *MODELS, *REPLACED}
    return name not in known and not HUB_NAME.fullmatch(name) and Path(name).exists()


def resolve_part(name: str) -> tuple[Path, str]:
    """Find the file that ``NAME`` or ``NAME#PART`` means, and the part of its model, empty for all of it.

    Raises:
        UsageError, CheckpointError: as from :func:`resolve_checkpoint`.
    """
    name, _, part = name.partition("#")
    return resolve_checkpoint(name)[1], part


def find_entry(name: str) -> tuple[str, Entry]:
    """Find an entry by its own name, by its model's if it is the default one, or make one of a hub's repository.

    The name of an entry that was replaced finds the one in its place.

    Raises:
        UsageError: nothing that is known.
        CheckpointError: a repository that cannot be looked at, or in no layout that is known.
    """
    if match := HUB_NAME.fullmatch(name):
        repository, revision = match.groups()
        return repository.rpartition("/")[2], _look_at_repository(repository, revision)
    known = read_catalogue()
    defaults = {entry.model: key for key, entry in known.items() if entry.default}
    name = REPLACED.get(name, name)
    key = name if name in known else defaults.get(name)
    if key is None:
        raise _unknown(name, {*known, *defaults})
    return key, known[key]


def _unknown(name: str, known: set[str]) -> UsageError:
    """Build the error for what is no checkpoint: it may be a model, or a training run's folder or state."""
    path = Path(name)
    if name.startswith("hf:"):
        return UsageError(f"{name} is no repository of the hub; write hf:OWNER/NAME or hf:OWNER/NAME@REVISION")
    if name in MODELS:
        return UsageError(
            f"{name} has no default checkpoint; septool models list --remote shows what can be fetched, or train one "
            "(septool train RECIPE) or convert one (septool models convert)"
        )
    if path.exists() or path.suffix == ".pt":
        folder = path if path.is_dir() else path.parent
        return UsageError(f"{name} is no checkpoint; a training run's is {folder / 'best.safetensors'}")
    if HUB_NAME.fullmatch(f"hf:{name}"):
        return UsageError(f"{name!r} is no file or folder here; a repository of the hub is written hf:{name}")
    return suggest("model", name, known, listed_by="septool models list --remote")


def weights_path(entry: Entry) -> Path | None:
    """Return where an entry's weights are in our shape: bundled, or in the cache; None if they have to be fetched.

    What is in the cache is looked up by the sums that its files had when they were fetched.
    """
    if entry.file is not None:
        return bundled_path(entry)
    sums = _known_sums(entry)
    if sums is None:
        return None
    path = _derived_path(entry.source, sums, _facts(entry))
    if entry.source == OURS:
        file = downloads.find_downloaded(_weights_file(entry))
        return file if file is not None and file.exists() else None
    return path if path.exists() else None


def bundled_path(entry: Entry) -> Path:
    """Return where an entry's weights are in the package."""
    return Path(__file__).parent / "weights" / (entry.file or "")


def _weights_file(entry: Entry) -> RemoteFile:
    return next(file for file in entry.files if file.name.endswith(".safetensors"))


def _known_sums(entry: Entry) -> dict[str, str] | None:
    seen = downloads.read_sums()
    sums = {file.name: file.sha256 or seen.get(file.url, {}).get("sha256", "") for file in entry.files}
    return sums if all(sums.values()) else None


def check_weights(path: Path, entry: Entry) -> str:
    """Compare a file with its entry, or with what was written when it was converted; returns its sha256.

    Raises:
        CheckpointError: it is another file than the catalogue means.
    """
    remote = None if entry.file is not None or entry.source != OURS else _weights_file(entry)
    expected = remote.sha256 if remote else entry.sha256
    if not expected:  # bundled ones have a sum, and do without the cache
        expected = downloads.read_sums().get(remote.url if remote else path.name, {}).get("sha256", "")
    digest = load_once(path, "sha256", lambda: sha256_of(path))
    if not expected and remote is None:  # converted here; who deleted the sums trusts what is there
        downloads.record_sum(path.name, digest, path.stat().st_size)
        return digest
    if digest != expected:
        remedy = "install septool again" if entry.file else f"delete {path} and fetch it again"
        source = "checkpoints.toml" if entry.sha256 or (remote and remote.sha256) else "it was first seen with"
        claim = f"{source} says" if source == "checkpoints.toml" else source
        raise CheckpointError(
            f"checkpoint {path.name} is damaged: its sha256 is {digest[:12]}..., {claim} {expected[:12]}...; {remedy}"
        )
    return digest


def unpublished_sums(entry: Entry) -> list[str]:
    """Name the files of which no sum was ever published, so that the one first seen has to be trusted."""
    return [file.name for file in entry.files if not file.sha256]


def suggest_wider(sources: int, sample_rate: int) -> str | None:
    """Advise the published checkpoint of as many voices that works at a higher rate; None if there is none.

    Those whose training data restrict their use come last, the others by their scores.
    """
    fitting = {
        name: entry
        for name, entry in read_catalogue().items()
        if entry.files and entry.sources == sources and entry.sample_rate > sample_rate
    }
    scores = ("si_snri", "si_sdri", "si_snr")

    def order(name: str) -> tuple[bool, float]:
        published = fitting[name].published
        return bool(fitting[name].notices), -max((published.get(score, 0.0) for score in scores), default=0.0)

    name = min(fitting, key=order, default=None)
    if name is None:
        return None
    return f"--model {name} works up to {fitting[name].sample_rate // 2} Hz"


# Fetching.


@dataclass(frozen=True)
class PendingDownload:
    """What has to be fetched before a name can be used."""

    name: str
    entry: Entry
    bytes: int  # that are not here yet; 0 if no server tells
    folder: Path  # where they will be


def find_pending(name: str) -> PendingDownload | None:
    """Say what would have to be fetched for a name; None if nothing has to, or the name means something else.

    Raises:
        CheckpointError: a server that has to be asked for sizes, or a repository, cannot be reached.
    """
    if name.endswith(".safetensors") or _is_local(name):
        return None
    try:
        key, entry = find_entry(name)
    except UsageError:
        return None  # said where it is resolved
    if entry.file is not None or weights_path(entry) is not None:
        return None
    missing = [file for file in entry.files if downloads.find_downloaded(file) is None]
    total = sum(file.bytes or file.about_bytes or downloads.remote_size(file) for file in missing)
    return PendingDownload(key, entry, total, downloads.expected_folder(entry.files[0]))


def fetch_weights(name: str, progress: Progress = lambda *_: None) -> Path:
    """Fetch a checkpoint's files, check them and bring them into our shape; a bundled one is already there.

    Args:
        name: an entry, a model, or a repository of the hub.
        progress: callback with a file's name, its bytes that are here, and all of them.

    Returns:
        The checkpoint in our shape.

    Raises:
        UsageError: an unknown name.
        CheckpointError: a file that cannot be fetched, is another one than expected, or of no network that we have.
    """
    key, entry = find_entry(name)
    if entry.file is not None:
        return resolve_checkpoint(key)[1]
    paths = [downloads.download(file, progress) for file in entry.files]
    path = weights_path(entry)
    if path is None:
        path = _convert(entry.source, paths, _facts(entry))
    check_weights(path, entry)
    return path


# Conversion into the cache.


def _facts(entry: Entry) -> JsonDict:
    """Return what the catalogue knows and the files may not say, for the header of the checkpoint."""
    origins = sorted({file.url.rpartition("/")[0] for file in entry.files})
    return {
        "options": entry.options,
        "trained_on": entry.trained_on,
        "licence": entry.licence,
        "notices": entry.notices,
        "intended_use": entry.intended_use,
        "published": entry.published,
        "sample_rate": entry.sample_rate or None,
        "model": entry.model or None,
        "sources": entry.sources or None,
        "from": origins,
    }


def _derived_path(source: str, sums: Mapping[str, str], facts: JsonMapping) -> Path:
    # What the card of a repository ("auto") says takes its server, and is the same for a commit, which "from" names.
    decides = {key: value for key, value in facts.items() if (source, key) != ("auto", "licence")}
    parts = [source, sorted(sums.items()), decides, CONVERSION_VERSION]
    digest = sha256_of(json.dumps(parts, sort_keys=True).encode())
    return cache_folder() / "weights" / f"{digest[:16]}.safetensors"


def _convert(source: str, paths: Sequence[Path], facts: JsonMapping) -> Path:
    """Convert files into the cache, unless that was done; returns the checkpoint."""
    from septool import checkpoints
    from septool.interop.conversion import convert_files

    if source == OURS:
        return next(path for path in paths if path.name.endswith(".safetensors"))
    path = _derived_path(source, {file.name: sha256_of(file) for file in paths}, facts)
    if path.exists():
        return path
    settings = dict(facts.get("options", {}))
    exact_tail = bool(settings.pop("exact_tail", False))
    header_fields = {
        key: value for key, value in facts.items() if key not in ("options", "from", "sample_rate", "model", "sources")
    }
    rate = facts.get("sample_rate")
    converted = convert_files(source, paths, sample_rate=rate, settings=settings, exact_tail=exact_tail)
    for key in ("model", "sources"):
        if facts.get(key) not in (None, getattr(converted.header, key)):
            what = f"{key} is {getattr(converted.header, key)} in them, checkpoints.toml says {facts[key]}"
            raise CheckpointError(f"{', '.join(facts['from'])} has other files than expected: {what}")
    origin = ", ".join([*facts.get("from", ()), converted.header.origin])
    make_folder(path.parent)
    checkpoints.save(path, converted.weights, replace(converted.header, origin=origin, **header_fields))
    downloads.record_sum(path.name, sha256_of(path), path.stat().st_size)
    return path


def _convert_local(path: Path) -> tuple[str, Path]:
    """Bring a folder or file of another toolkit's layout into the cache."""
    from septool.interop.conversion import find_files

    name = path.absolute().name if path.is_dir() else path.stem
    if ((path if path.is_dir() else path.parent) / "best.safetensors").exists():
        raise _unknown(str(path), set())  # a training run's folder, or its state
    if path.is_dir() and (path / "config.json").exists() and (path / "model.safetensors").exists():
        return name, path / "model.safetensors"
    try:
        source, files = find_files("auto", [path])
    except UsageError:
        raise _unknown(str(path), set()) from None
    try:
        derived = _convert(source, files, {"licence": "unknown", "trained_on": "unknown"})
    except UsageError as error:
        raise UsageError(f"{path}: {error}, to septool models convert {source} {path} -o NAME.safetensors") from None
    if len(files) > 1 and not path.is_dir():  # ESPnet's files are called the same everywhere, their folders are not
        name = path.absolute().parent.name
    entry_sum = downloads.read_sums().get(derived.name, {}).get("sha256", "")
    if sha256_of(derived) != entry_sum:
        derived.unlink(missing_ok=True)
        derived = _convert(source, files, {"licence": "unknown", "trained_on": "unknown"})
    return name, derived


# Repositories of the hub that are in no catalogue.


def _look_at_repository(repository: str, revision: str | None) -> Entry:
    """Make an entry of a repository: its layout by the names of its files, its licence by its card."""
    known = [entry for entry in read_catalogue().values() if _repository(entry) == repository]
    if known and revision in (None, _revision(known[0])):
        return known[0]
    content = downloads.describe_repository(repository, revision or "main")
    names = _layout(repository, list(content.files))
    files = tuple(replace(content.files[name], name=Path(name).name) for name in names)
    ours = any(name.endswith(".safetensors") for name in names)
    hints = known[0] if known else None
    return Entry(
        model=hints.model if hints else "",
        sample_rate=hints.sample_rate if hints else 0,
        sources=hints.sources if hints else 0,
        licence=content.licence or "unknown",
        trained_on=hints.trained_on if hints else "unknown",
        intended_use=hints.intended_use if hints else "",
        notices=hints.notices if hints else "",
        files=files,
        source=OURS if ours else "auto",
        options=dict(hints.options) if hints else {},
        card=f"{HUB}/{repository}",
    )


def _repository(entry: Entry) -> str:
    match = HUB_FILE.fullmatch(entry.files[0].url) if entry.files else None
    return match.group(1) if match else ""


def _revision(entry: Entry) -> str:
    match = HUB_FILE.fullmatch(entry.files[0].url)
    return match.group(2) if match else ""


def _layout(repository: str, names: Sequence[str]) -> list[str]:
    """Pick the files that matter of a repository."""
    parts = [f"{part}.ckpt" for part in ("encoder", "masknet", "decoder")]
    if set(parts) <= set(names):
        return [*(["hyperparams.yaml"] if "hyperparams.yaml" in names else []), *parts]
    for suffixes in ((".safetensors",), WEIGHTS):
        weights = [name for name in names if name.endswith(suffixes) and "/" not in name]
        if len(weights) == 1:
            described = [name for name in names if name == "config.yaml" and weights[0].endswith(".pth")]
            return [*described, *weights]
    for described in (name for name in names if name.endswith("/config.yaml")):  # as ESPnet packs a model
        weights = [name for name in names if Path(name).parent == Path(described).parent and name.endswith(".pth")]
        if len(weights) == 1:
            return [described, *weights]
    raise CheckpointError(
        f"{repository} is in no layout that septool knows; it has {', '.join(sorted(names)[:8]) or 'no files'}"
    )
