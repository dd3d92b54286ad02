"""Publishing a checkpoint on the hub: weights, card and metadata."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

from septool import catalogue, checkpoints, downloads
from septool.config import JsonDict, shipped
from septool.errors import UsageError
from septool.files import sha256_of
from septool.headers import Header
from septool.models import MODELS
from septool.version import __version__

# The hub's identifiers of licences, which are those of SPDX in lower case; others go by "other" and their name.
LICENCES = ("cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "cc0-1.0", "apache-2.0", "mit")
HUB_TAGS = {
    "separator": "speech-separation",
    "extractor": "target-speaker-extraction",
    "speaker": "speaker-recognition",
}


@dataclass(frozen=True)
class Pushed:
    """What was published."""

    model: str
    url: str  # address of the commit
    files: tuple[str, ...]
    bytes: int
    licence: str


def push(model: str, to: str, *, licence: str | None = None, private: bool = False) -> Pushed:
    """Publish a checkpoint in a repository of the hub, which is made if it is not there.

    Args:
        model: a checkpoint's name, or a ``.safetensors`` file.
        to: ``hf:OWNER/NAME``.
        licence: licence of the weights, where the checkpoint does not say it, in SPDX's spelling (``CC-BY-4.0``) or
            with spaces (``CC BY 4.0``).
        private: whether a repository that has to be made is private.

    Raises:
        UsageError: no repository, or weights of unknown licence.
        CheckpointError: no such checkpoint, a damaged one, or a hub that refuses.
    """
    match = catalogue.HUB_NAME.fullmatch(to)
    if match is None or match.group(2):
        raise UsageError(f"{to} is no repository to publish in; write hf:OWNER/NAME")
    name, path = catalogue.resolve_checkpoint(model)
    header = checkpoints.read_header(path)
    checkpoints.check_config(header, path)
    stated = header.licence if header.licence not in ("", "unknown") else None
    if stated and licence and licence_identifier(stated) != licence_identifier(licence):
        raise UsageError(f"--licence {licence} was given, but the checkpoint says {stated}")
    if not (stated or licence):
        raise UsageError(f"{name} does not say under which licence its weights are; give it with --licence")
    completed = replace(header, licence=stated or licence or "")
    card = make_card(name, match.group(1), completed, own=_own_card(name, path))
    config = {"library_name": "septool", "septool_version": __version__} | {
        key: getattr(completed, key) for key in ("model", "config", "sample_rate", "sources")
    }
    weights: bytes | Path = path if completed == header else checkpoints.with_header(path, completed)
    files: dict[str, bytes | Path] = {
        "README.md": card.encode(),
        "config.json": json.dumps(config, indent=2, sort_keys=True).encode(),
        "model.safetensors": weights,
    }
    url = downloads.upload(match.group(1), files, message=f"{name}, by septool {__version__}", private=private)
    size = sum(len(content) if isinstance(content, bytes) else content.stat().st_size for content in files.values())
    return Pushed(name, url, tuple(files), size, completed.licence)


def licence_identifier(name: str) -> str:
    """Return a licence's name as the hub spells it, ``cc-by-4.0`` for both ``CC BY 4.0`` and ``CC-BY-4.0``."""
    spelled = "-".join(name.lower().split())
    return "cc0-1.0" if spelled == "cc0" else spelled


def _own_card(name: str, path: Path) -> Path | None:
    """Return our own card of bundled weights; None of others, which may be called the same."""
    entry = catalogue.read_catalogue().get(name)
    if entry is None or entry.file is None or sha256_of(path) != entry.sha256:
        return None
    card = shipped(f"docs/models/{name}.md")
    return card if card.exists() else None


def make_card(name: str, repository: str, header: Header, *, own: Path | None = None) -> str:
    """Return the card of a checkpoint: what the hub reads, what there is to know of it, and how it is used.

    Args:
        name: the checkpoint's.
        repository: the one that it will be in.
        header: the checkpoint's.
        own: a card that there is of these weights; by default one is made of the header.
    """
    identifier = licence_identifier(header.licence)
    front: JsonDict = {"license": identifier if identifier in LICENCES else "other"}
    if identifier not in LICENCES:
        front["license_name"] = "".join(c if c.isalnum() else "-" for c in header.licence.lower())
    role = MODELS[header.model].role
    front |= {"library_name": "septool", "tags": ["audio", HUB_TAGS[role], header.model]}
    if role != "speaker":
        front["pipeline_tag"] = "audio-to-audio"
    lines = ["---", *(f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in front.items()), "---", ""]
    if own is not None:
        lines.append(own.read_text(encoding="utf-8").rstrip())
    else:
        lines += [f"# {name}", ""]
        rows = {
            "Model": header.model,
            "Voices": str(header.sources) if role == "separator" else "",
            "Sample rate": f"{header.sample_rate} Hz",
            "Trained on": header.trained_on or "unknown",
            "Measured": _words(header.measured),
            "Published": _words(header.published),
            "Intended use": header.intended_use,
            "From": header.origin,
            "Licence": header.licence,
            "Notices": header.notices,
        }
        lines += ["| | |", "|---|---|", *(f"| {key} | {value} |" for key, value in rows.items() if value)]
    verb = "extract call.wav --reference voice.wav" if role == "extractor" else "separate call.wav"
    loader = "load_extractor" if role == "extractor" else "load_separator"
    if role != "speaker":
        lines += ["", "## Use", "", "```sh", f"septool {verb} --model hf:{repository}", "```", "", "```python"]
        lines += ["import septool", "", f'pipeline = septool.{loader}("hf:{repository}")', "```"]
    return "\n".join(lines) + "\n"


def _words(values: JsonDict) -> str:
    return ", ".join(f"{key} {value}" for key, value in values.items())
