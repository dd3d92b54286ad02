"""Manifests: the same rows give the same bytes, and a row that does not fit is named by its line."""

import json
import math
import ntpath
import os
from dataclasses import replace
from pathlib import Path

import pytest

from septool.data import manifest
from septool.data.manifest import Enrollment, Mixture, Source
from septool.errors import ManifestError
from septool.files import sha256_of

ROW = Mixture(
    id="b",
    split="dev",
    sample_rate=8000,
    mode="max",
    frames=800,
    sources=(
        Source(path="a/1.wav", start=10, frames=700, gain_db=-1.5, speaker="ann", gender="f"),
        Source(path="ü 2.wav", speaker="bob", speed=1.05),
    ),
    noise=Source(path="hum.flac"),
    mixture="b.wav",
    enrollment=Enrollment(path="a/3.wav", speaker="ann"),
)


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    rows = [ROW, replace(ROW, id="a", noise=None, enrollment=None, mixture=None, frames=None)]
    path = tmp_path / "rows.jsonl"
    path.write_text(manifest.dump_manifest(rows), encoding="utf-8")
    assert manifest.read_manifest(path) == [rows[1], rows[0]]  # sorted
    assert all(row.root == tmp_path for row in manifest.read_manifest(path))
    whole = ["a/1.wav", "ü 2.wav", "hum.flac", "a/3.wav", "b.wav"]
    assert [row.recordings() for row in manifest.read_manifest(path)] == [
        [tmp_path / name for name in whole[:2]],
        [tmp_path / name for name in whole],
    ]


@pytest.mark.parametrize("key", ["enrolment", "enrollment"])
def test_an_enrollment_goes_by_both_spellings(tmp_path: Path, key: str) -> None:
    text = manifest.dump_manifest([ROW])
    assert '"enrolment": {"path": "a/3.wav"' in text
    (tmp_path / "rows.jsonl").write_text(text.replace('"enrolment"', f'"{key}"'), encoding="utf-8")
    assert manifest.read_manifest(tmp_path / "rows.jsonl") == [ROW]


def test_the_text_of_a_row() -> None:
    row = Mixture(id="a", sample_rate=8000, sources=(Source(path="ü.wav", speaker="ann"),))
    assert manifest.dump_manifest([row]) == (
        '{"id": "a", "sources": [{"path": "ü.wav", "start": 0, "frames": -1, "gain_db": 0.0, "speaker": "ann", '
        '"speed": 1.0}], "sample_rate": 8000, "split": "", "mode": "min", "frames": null, "noise": null, '
        '"mixture": null, "enrolment": null}\n'
    )


def test_the_order_of_the_rows_does_not_matter() -> None:
    rows = [replace(ROW, id=name) for name in "cab"]
    assert manifest.dump_manifest(rows) == manifest.dump_manifest(rows[::-1])


def test_names_with_unusual_line_ends_stay_one_row(tmp_path: Path) -> None:
    row = replace(ROW, id="a\u2028b\x85c\x0bd")
    path = tmp_path / "rows.jsonl"
    path.write_text(manifest.dump_manifest([row]), encoding="utf-8", newline="")
    assert manifest.read_manifest(path) == [row]


def test_lines_of_another_system_and_empty_ones_are_read(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("\n" + manifest.dump_manifest([ROW]).replace("\n", "\r\n") + "  \n", encoding="utf-8", newline="")
    assert manifest.read_manifest(path) == [ROW]


GOOD = {"id": "x", "sample_rate": 8000, "sources": [{"path": "a.wav"}]}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "line 2 is not JSON (Expecting property name enclosed in double quotes at character 2); a manifest has"),
        ("a.wav", "line 2 is not JSON (Expecting value at character 1); a manifest has an object a line, as septool"),
        ("[]", "line 2: a row is a JSON object"),
        ('"text"', "line 2: a row is a JSON object"),
        ({"id": "x", "sample_rate": 8000}, "line 2: sources is missing"),
        (GOOD | {"sources": []}, "line 2: Mixture: sources is empty"),
        (GOOD | {"sources": [{"start": 3}]}, "line 2: sources[0].path is missing"),
        (GOOD | {"sources": "a.wav"}, "line 2: sources is 'a.wav'; it has to be a list, such as ['a.wav']"),
        (GOOD | {"sources": [{"path": 3}]}, "line 2: sources[0].path is 3; it has to be of type str"),
        (GOOD | {"mode": "mean"}, "line 2: mode is 'mean'; it can be min, max"),
        (GOOD | {"sample_rate": 0}, "line 2: Mixture: sample_rate is 0"),
        (GOOD | {"sampel_rate": 1}, "line 2: unknown key 'sampel_rate'; did you mean 'sample_rate'?"),
        (GOOD | {"sources": [{"path": "a", "speed": 0}]}, "line 2: sources[0]: a has the speed 0.0"),
        (GOOD | {"sources": [{"path": "a", "start": -1}]}, "line 2: sources[0]: a starts at -1"),
        (GOOD | {"noise": {"path": "a", "gain_db": math.nan}}, "line 2: noise: a has the gain nan dB; it has to be"),
        (GOOD | {"sources": [{"path": "a", "gain_db": math.inf}]}, "line 2: sources[0]: a has the gain inf dB"),
        (GOOD | {"voices_gain_db": -math.inf}, "line 2: Mixture: voices_gain_db is -inf dB"),
        (GOOD | {"frames": -5}, "line 2: Mixture: frames is -5; a mixture has at least one"),
        (GOOD | {"enrolment": {"path": "e", "start": -5}}, "line 2: enrollment: e starts at -5"),
        (GOOD | {"enrollment": {"path": "e", "frames": -2}}, "line 2: enrollment: e starts at 0 and has -2 frames"),
        (
            GOOD | {"enrollment": {"path": "e", "target": 1}},
            "line 2: Mixture: enrollment.target is 1; the sources are numbered from 0 to 0",
        ),
        (GOOD | {"id": "b"}, "line 2: the id 'b' is there already; every row needs its own"),
        (
            GOOD | {"noise": {"path": "a", "gain": 1}},
            "line 2: unknown key 'noise.gain'; did you mean 'noise.gain_db'?",
        ),
    ],
)
def test_a_row_that_does_not_fit_is_named(tmp_path: Path, content: str | dict[str, object], said: str) -> None:
    path = tmp_path / "rows.jsonl"
    text = content if isinstance(content, str) else json.dumps(content)
    path.write_text(manifest.dump_manifest([ROW]) + text + "\n", encoding="utf-8")
    with pytest.raises(ManifestError) as error:
        manifest.read_manifest(path)
    assert str(error.value).startswith(f"{path}, {said}")


def test_what_is_no_manifest(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    with pytest.raises(ManifestError, match=r"rows\.jsonl does not exist; septool prepare writes manifests"):
        manifest.read_manifest(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ManifestError, match=r"rows\.jsonl is not a manifest: it is not text"):
        manifest.read_manifest(path)
    path.write_text("\n\n")
    with pytest.raises(ManifestError, match=r"rows\.jsonl has no rows"):
        manifest.read_manifest(path)


def test_every_source_is_listed_once() -> None:
    first = Mixture(id="1", sample_rate=8000, sources=(Source(path="a"), Source(path="b")))
    again = Mixture(id="2", sample_rate=8000, sources=(Source(path="b", gain_db=3.0), Source(path="b", start=5)))
    assert [(row.id, source.path, source.start) for row, source in manifest.iter_sources([first, again])] == [
        ("1", "a", 0),
        ("1", "b", 0),
        ("2", "b", 5),
    ]


def test_sums_are_of_the_bytes(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"abc")
    assert sha256_of(path) == sha256_of(b"abc")
    assert sha256_of(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.parametrize("character", [0, 0xD800, 0xDC7F, 0xDD00, 0xDFFF])
def test_a_name_that_no_file_can_have(character: int) -> None:
    with pytest.raises(ValueError, match="cannot be a file's name"):
        Source(path=f"a{chr(character)}b.wav")


def test_halves_of_characters_are_written_as_they_were_read(tmp_path: Path) -> None:
    row = replace(ROW, id="caf\udce9", sources=(Source(path="caf\udce9 \u00e9.wav", text="\ud83d"),))
    (path := tmp_path / "rows.jsonl").write_text(manifest.dump_manifest([row]), encoding="utf-8")
    assert manifest.read_manifest(path) == [row]


def test_what_a_short_row_leaves_out_is_written_as_of_one_that_was_made(tmp_path: Path) -> None:
    short = tmp_path / "short.jsonl"
    short.write_text('{"id": "a", "sample_rate": 8000, "sources": [{"path": "a.wav"}]}\n')
    made = manifest.Mixture(id="a", sample_rate=8000, sources=(manifest.Source(path="a.wav"),))
    assert manifest.dump_manifest(manifest.read_manifest(short)) == manifest.dump_manifest([made])


def test_between_drives_the_way_is_the_whole_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os.path, "relpath", lambda path, folder: ntpath.relpath(f"D:{path}", f"C:{folder}"))
    assert manifest.manifest_path(tmp_path / "speech", tmp_path / "out") == (tmp_path / "speech").resolve()
