"""The reference pages of recipes and corpora say something of everything that there is."""

import pytest

from septool.corpora import CORPORA
from septool.training.recipe import Data
from septool.training.recipe_files import load_recipe, recipe_names
from tools import reference


@pytest.mark.parametrize("kind", reference.recipe_sections().values(), ids=lambda kind: kind.__name__)
def test_every_setting_has_a_meaning(kind: type) -> None:
    """Sections of their own aside."""
    sections = {name.strip("[]").rpartition(".")[2] for name in reference.recipe_sections()}
    assert not [name for name, said in reference.field_comments(kind).items() if not said and name not in sections]


def test_comments_above_and_beside_a_field_are_its_meaning() -> None:
    said = reference.field_comments(Data)
    assert said["sample_rate"] == "Hz"
    assert said["mixing"].startswith('"dynamic"')
    assert "--set loop.batch=8" in reference.settings_page()


@pytest.mark.parametrize("section", ["[data]", "[mixing.rooms]", "[[mixing.backgrounds]]", "[distillation]", "[loop]"])
def test_every_section_is_on_the_page(section: str) -> None:
    assert f"\n`{section}`\n" in reference.settings_page()


def test_every_corpus_has_a_section() -> None:
    page = reference.corpora_page()
    assert all(f"\n## {name}\n" in page for name in CORPORA)


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_says_what_prepares_its_data(name: str) -> None:
    cell = reference.prepared_by(load_recipe(name).data.train)
    assert f"#{cell.partition('`')[2].partition('`')[0]})" in cell
