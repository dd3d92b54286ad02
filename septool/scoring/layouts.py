"""Layouts of folders of separated voices: files paired by item and voice."""

import csv
import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from septool import audio
from septool.data.manifest import file_stem
from septool.errors import UsageError
from septool.printable import count, first_few

# Of voices, below a folder and without suffix: septool's, the published sets', asteroid's, SpeechBrain's.
TEMPLATES = ("{id}_s{voice}", "s{voice}/{id}", "{id}_est{voice}", "{id}_source{voice}hat", "{id}_source{voice}")
MIXTURES = ("{id}", "mix/{id}", "mixture/{id}", "mix_clean/{id}", "mix_both/{id}", "mix_single/{id}")


@dataclass(frozen=True)
class VoiceFiles:
    """The files of a folder, by item and voice."""

    folder: Path
    template: str
    voices: dict[str, dict[int, Path]]  # item to number of the voice to file; items and voices sorted
    mixtures: dict[str, Path]  # item to its mixture, as far as there is one
    rivals: tuple[Path, ...] = ()  # two mixtures of one item, if there are, below the folder

    def name(self, id: str, voice: int) -> str:
        """Return what the file of a voice, counted from 1, is called."""
        return self.template.format(id=id, voice=voice)


def nfc(name: str) -> str:
    """Return a name in composed form; macOS decomposes letters with accents, and other systems do not."""
    return unicodedata.normalize("NFC", name)


def parse_template(text: str) -> str:
    """Check a template such as ``{id}_s{voice}.wav`` and return it without the suffix of a file.

    Raises:
        UsageError: it lacks one of the two fields, or has others or stray braces.
    """
    suffix = Path(text).suffix
    template = text[: -len(suffix)] if suffix.lower() in audio.SUFFIXES else text
    fields = re.compile(r"\{(id|voice)\}")
    if sorted(fields.findall(template)) != ["id", "voice"] or set("{}") & set(fields.sub("", template)):
        raise UsageError(f"--pair {text!r} has to hold {{id}} and {{voice}}, such as {{id}}_s{{voice}}.wav")
    return template


def parse_mixture(text: str) -> str:
    """Return the pattern of mixtures that ``mix_both`` or ``mix_both/{id}.wav`` means, without the suffix of a file.

    Raises:
        UsageError: it has other fields, or stray braces.
    """
    suffix = Path(text).suffix
    pattern = text[: -len(suffix)] if suffix.lower() in audio.SUFFIXES else text
    pattern = pattern if "{id}" in pattern else f"{pattern.rstrip('/')}/{{id}}"
    if set("{}") & set(pattern.replace("{id}", "", 1)):
        raise UsageError(f"--mixture {text!r} is a folder, or has {{id}} in it, such as mix_both/{{id}}.wav")
    return pattern


def is_table(pair: str) -> bool:
    """Return whether ``--pair`` names a CSV file rather than a template."""
    return Path(pair).suffix.lower() == ".csv"


def read_pairs(table: Path, references: Path, estimates: Path) -> tuple[VoiceFiles, VoiceFiles]:
    """Read which files belong together from CSV with the columns ``id``, ``reference``, ``estimate``, a row a voice.

    Args:
        table: paths in it are below the two folders; ``mixture``, if there is one, below that of the references.
        references: their folder.
        estimates: theirs.

    Raises:
        UsageError: no such table, other columns, or a row without a name in one of them.
    """
    columns = ("id", "reference", "estimate")
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:  # as spreadsheets begin it
            reader = csv.DictReader(file)
            missing = [name for name in columns if name not in (reader.fieldnames or ())]
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"--pair {table} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if missing:
        raise UsageError(f"--pair {table} has no column {missing[0]!r}; it takes id, reference, estimate and mixture")
    true: dict[str, dict[int, Path]] = {}
    found: dict[str, dict[int, Path]] = {}
    mixtures: dict[str, Path] = {}
    for line, row in enumerate(rows, 2):
        for name in columns:
            if not row[name]:
                raise UsageError(f"--pair {table}, line {line} has no {name}")
        voice = len(true.setdefault(row["id"], {})) + 1
        true[row["id"]][voice] = references / row["reference"]
        found.setdefault(row["id"], {})[voice] = estimates / row["estimate"]
        if row.get("mixture"):
            mixtures.setdefault(row["id"], references / row["mixture"])
    return VoiceFiles(references, "", true, mixtures), VoiceFiles(estimates, "", found, {})


def find_voices(
    folder: Path, template: str | None = None, *, mixture: str | None = None, apart_from: Path | None = None
) -> VoiceFiles:
    """Find the files of a folder that hold voices.

    Args:
        folder: where to look, folders below included.
        template: how files are named; by default the first of :data:`TEMPLATES` by which one is named.
        mixture: how mixtures are named, if that is asked for; see :func:`parse_mixture`. By default any of
            :data:`MIXTURES`.
        apart_from: the folder of the other side, which may lie in this one.

    Raises:
        UsageError: no folder, two files of one name, voices counted from 0 in one item and from 1 in another, or no
            mixtures of the name that was asked for.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder")
    names = {path: path.relative_to(folder) for path in _audio_files(folder)}
    if apart_from is not None and folder.resolve() in (below := apart_from.resolve()).parents:
        names = {path: name for path, name in names.items() if below not in path.resolve().parents}
    paths = {path: nfc(name.with_suffix("").as_posix()) for path, name in names.items()}
    templates = TEMPLATES if template is None else (parse_template(template),)
    matches = [(chosen, _match(paths, chosen)) for chosen in templates]
    chosen, voices = next((match for match in matches if match[1]), matches[0])
    by_item: dict[str, dict[int, Path]] = {}
    for (id, voice), path in sorted(voices.items()):
        by_item.setdefault(id, {})[voice] = path
    # Voices counted from 0 are those of other programs; an item's own count would tell a lost voice from none.
    from_zero = [numbers for numbers in by_item.values() if 0 in numbers]
    if from_zero:
        highest = max(map(max, from_zero))
        for numbers in by_item.values():
            if 0 not in numbers and max(numbers) > highest:
                zero, one = names[from_zero[0][0]], names[numbers[max(numbers)]]
                raise UsageError(f"{folder} counts voices from 0 ({zero}) and from 1 ({one}); name all alike")
        by_item = {id: {voice + 1: path for voice, path in numbers.items()} for id, numbers in by_item.items()}
    mixtures: dict[str, Path] = {}
    rivals: tuple[Path, ...] = ()
    for pattern in MIXTURES if mixture is None else (parse_mixture(mixture),):
        for (id, _), path in _match(paths, pattern).items():
            if id in by_item and mixtures.setdefault(id, path) != path and not rivals:
                rivals = names[mixtures[id]], names[path]
    if mixture is not None and by_item and not mixtures:
        raise UsageError(f"{folder} has no mixtures named {parse_mixture(mixture)}, as --mixture says")
    return VoiceFiles(folder, chosen, by_item, mixtures, rivals)


def _audio_files(folder: Path) -> Iterable[Path]:
    return audio.find_audio_files(folder).files


def _match(paths: dict[Path, str], template: str) -> dict[tuple[str, int], Path]:
    """Return the files named by a template, by item and voice (0 where it has none)."""
    pattern = re.escape(template).replace(r"\{id\}", "(?P<id>.+)").replace(r"\{voice\}", r"(?P<voice>\d+)")
    found: dict[tuple[str, int], Path] = {}
    for path, name in paths.items():
        if match := re.fullmatch(pattern, name):
            key = file_stem(match["id"]), int(match.groupdict().get("voice", 0))
            if key in found and template not in MIXTURES:
                raise UsageError(f"{found[key]} and {path} go by the same name; remove one")
            found.setdefault(key, path)
    return found


def surplus_voices(files: VoiceFiles, counts: dict[str, int]) -> Iterator[str]:
    """Yield a line for items, and for voices of an item, that no reference belongs to."""
    strangers = [id for id in files.voices if id not in counts]
    if strangers:
        yield f"{files.folder} has {count(len(strangers), 'item')} without a reference: {first_few(strangers)}"
    for id, known in counts.items():
        more = [voice for voice in files.voices.get(id, ()) if voice > known]
        if more:
            names = ", ".join(files.name(id, voice) for voice in more)
            yield f"{id}: {len(more)} more estimates than references, {names}; the best {known} are scored"
