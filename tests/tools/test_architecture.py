"""The drawing of the rooms follows the imports, and documents name only what is there."""

from pathlib import Path

import pytest

from tools import architecture

STACK = """
[tool.importlinter]
[[tool.importlinter.contracts]]
type = "layers"
layers = ["septool.top", "septool.left | septool.right", "septool.bottom"]
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    files = {
        "top": '"""Top room.\n\nMore of it."""\nfrom septool import left\nimport septool.bottom\n',
        "left": "def deep():\n    from septool.bottom import thing\n",
        "right": "import json\n",
        "bottom/__init__": '"""Bottom room."""\n',
        "bottom/part": "class Thing:\n    def act(self): ...\n",
    }
    for name, text in files.items():
        path = tmp_path / "septool" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "pyproject.toml").write_text(STACK)
    return tmp_path


def test_the_picture_leaves_out_what_a_longer_way_implies(tree: Path) -> None:
    lines = [line.strip() for line in architecture.picture(tree).splitlines()]
    assert [line for line in lines if "-->" in line] == ["top --> left", "left --> bottom"]


def test_the_table_has_every_import_and_the_first_line_of_the_docstring(tree: Path) -> None:
    _, _, *rows = architecture.room_table(tree).splitlines()
    assert rows == [
        "| [`top`](../septool/top.py) | Top room. | left, bottom |",
        "| [`left`](../septool/left.py) |  | bottom |",
        "| [`right`](../septool/right.py) |  | - |",
        "| [`bottom`](../septool/bottom/__init__.py) | Bottom room. | - |",
    ]


def test_every_module_is_listed_with_what_others_take_from_it(tree: Path) -> None:
    tables = architecture.module_tables(tree)
    assert [line for line in tables.splitlines() if line.startswith("## ")] == [
        "## top",
        "## left",
        "## right",
        "## bottom",
    ]
    assert "| [`bottom/part.py`](../septool/bottom/part.py) |  | `Thing` |" in tables
    assert "| [`left.py`](../septool/left.py) |  | `deep` |" in tables


def test_a_room_without_a_layer_is_refused(tree: Path) -> None:
    (tree / "septool" / "attic.py").touch()
    with pytest.raises(SystemExit, match="attic: in no layer"):
        architecture.picture(tree)


def test_places_that_are_not_there_are_found(tree: Path) -> None:
    text = "`bottom/part.py`: `Thing.act`, `bottom/part.py`: `Thing.rest`, `attic.py`, `left.py`: `deep` and `top.py`"
    assert architecture.missing_places(text, tree) == ["bottom/part.py: Thing.rest", "attic.py"]
