"""Files of scored items: JSON lines that grow item by item, CSV, and Parquet."""

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from septool.atomic import atomic_write
from septool.claims import claim
from septool.config import JsonDict, JsonMapping
from septool.errors import SeptoolError
from septool.files import parse_json_lines, read_bytes
from septool.metrics import METRICS, metric_versions
from septool.printable import printable
from septool.scoring.items import PROVENANCE, Item

FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what spreadsheets take for the beginning of a formula


def load_items(path: Path) -> list[Item]:
    """Read all items of a file of JSON lines; the last line of a run that was killed is left out.

    Raises:
        SeptoolError: it cannot be read, or holds no item.
    """
    try:
        content = read_bytes(path)
    except OSError as error:
        raise SeptoolError(f"{path} cannot be read: {error.strerror}") from None
    items = []
    for row in parse_json_lines(content):
        with suppress(ValueError, KeyError, TypeError, AttributeError):
            items.append(Item.from_row(row))
    if not items and content.strip():
        raise SeptoolError(f"{path} holds no scored items; septool eval --out FILE.jsonl writes them")
    return items


def read_facts(path: Path) -> JsonMapping:
    """Return what the first line of a file of items says of all of them; nothing, where it has no such line."""
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        try:
            header = json.loads(file.readline())["header"]
        except (ValueError, KeyError, TypeError, RecursionError):
            return {}
    return header if isinstance(header, dict) else {}


def read_items(path: Path, metrics: Sequence[str], provenance: Mapping[str, str]) -> dict[str, Item]:
    """Read the items that are done: without failure, and scored by all these metrics.

    Raises:
        SeptoolError: the file holds items of another manifest, model or setting, or scores that would be lost.
    """
    items: dict[str, Item] = {}
    for item in load_items(path):
        if other := [called for key, called in PROVENANCE.items() if item.provenance.get(key) != provenance.get(key)]:
            raise SeptoolError(f"{path} holds scores of another {other[0]}; use --force to replace it")
        if item.error:
            continue
        if item.scores.keys() >= set(metrics):
            items[item.id] = item
        elif lost := sorted(item.scores.keys() - set(metrics)):
            raise SeptoolError(
                f"{path} holds scores by {lost[0]}, which would be lost; ask for it too, use another --out or --force"
            )
    return items


def describe_scores(metrics: Iterable[str], facts: JsonMapping) -> JsonDict:
    """Return what the first line of a file of items says: definitions, versions, and what is the same for all."""
    definitions = {name: METRICS[name].definition for name in metrics}
    return {"metrics": definitions, "versions": metric_versions(definitions), **facts}


@contextmanager
def item_writer(
    out: Path | None, existing: Iterable[Item], metrics: Sequence[str], facts: JsonMapping | None = None
) -> Iterator[Callable[[Item], None]]:
    """Yield what takes items to a file, which begins with a header and the existing ones.

    JSON lines are written one by one, so that a run that is stopped leaves its items. CSV is written at the end,
    since its columns depend on all items.

    Raises:
        SeptoolError: the file cannot be written, or another run on this machine is adding lines to it.
    """
    items = list(existing)
    if out is None or out.suffix != ".jsonl":
        yield items.append
        if out is not None and out.suffix == ".parquet":
            write_items_parquet(out, items, metrics, facts or {})
        elif out is not None:
            write_items_csv(out, items, metrics)
        return

    def refuse() -> None:
        raise SeptoolError(f"{out} is being written by another run; wait for its end or use another --out")

    with claim(out, refuse):
        with atomic_write(out) as partial_path:
            scored = dict.fromkeys([*metrics, *(name for item in items for name in item.scores)])
            header = json.dumps({"header": describe_scores(scored, facts or {})}) + "\n"
            partial_path.write_text(header + "".join(map(_line, items)), encoding="utf-8")
        with out.open("a", encoding="utf-8") as file:

            def append(item: Item) -> None:
                try:
                    file.write(_line(item))
                    file.flush()
                except OSError as error:
                    raise SeptoolError(f"{out} cannot be written: {error.strerror}") from None

            yield append


def _line(item: Item) -> str:
    return json.dumps(item.to_row()) + "\n"


def write_items_csv(out: Path, items: Sequence[Item], metrics: Sequence[str]) -> None:
    """Write the items as CSV with one row per reference, or per item where there is none."""
    besides = list(dict.fromkeys(name for item in items for name in item.detections))
    provenance = [key for key in PROVENANCE if any(key in item.provenance for item in items)]
    with (
        atomic_write(out) as partial_path,
        partial_path.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(["id", "source", *metrics, *besides, "note", *provenance])
        for item in items:
            id, of = _plain_text(item.id), [item.provenance.get(key, "") for key in provenance]
            if item.error:
                writer.writerow([id, "", *("" for _ in (*metrics, *besides)), _plain_text(item.error), *of])
                continue
            more = [f"{item.detections[name]:.4f}" if name in item.detections else "" for name in besides]
            if not item.order:
                writer.writerow([id, "", *("" for _ in metrics), *more, "", *of])
            for voice in range(len(item.order)):
                values = [item.scores[metric][voice] for metric in metrics]
                notes = {reason for metric in metrics if (reason := item.reasons[metric][voice])}
                numbers = ["" if value is None else f"{value:.4f}" for value in values]
                writer.writerow([id, voice + 1, *numbers, *more, _plain_text("; ".join(sorted(notes))), *of])


def write_items_parquet(out: Path, items: Sequence[Item], metrics: Sequence[str], facts: JsonMapping) -> None:
    """Write the items as Parquet with one row per reference, as the CSV has them, numbers in full.

    The file's metadata holds the definitions of the metrics and the versions under ``septool``.
    """
    import pyarrow as pa  # pyright: ignore[reportMissingImports]
    import pyarrow.parquet as pq  # pyright: ignore[reportMissingImports]

    besides = list(dict.fromkeys(name for item in items for name in item.detections))
    rows = []
    for item in items:
        own = {"id": printable(item.id), **item.detections, **item.provenance}
        if item.error or not item.order:
            rows.append(own | {"note": printable(item.error) or None})
        for voice in range(len(item.order)):
            notes = sorted({reason for metric in metrics if (reason := item.reasons[metric][voice])})
            scores = {metric: item.scores[metric][voice] for metric in metrics}
            rows.append(own | {"source": voice + 1, **scores, "note": printable("; ".join(notes)) or None})
    numbers = [(name, pa.float64()) for name in (*metrics, *besides)]
    provenance = [(key, pa.string()) for key in PROVENANCE if any(key in item.provenance for item in items)]
    schema = pa.schema([("id", pa.string()), ("source", pa.int32()), *numbers, ("note", pa.string()), *provenance])
    metadata = json.dumps(describe_scores(metrics, facts))
    with atomic_write(out) as partial_path:
        pq.write_table(pa.Table.from_pylist(rows, schema.with_metadata({"septool": metadata})), partial_path)


def _plain_text(text: str) -> str:
    """Keep a spreadsheet from running a name as a formula."""
    return f"'{text}" if text.startswith(FORMULA) else text
