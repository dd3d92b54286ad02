"""Shell completion of option values: models, recipes, metrics, devices, papers, formats."""

from collections.abc import Iterable


def _matching(names: Iterable[str], incomplete: str) -> list[str]:
    """Return the names that go on from what is typed, after its last comma."""
    before, comma, last = incomplete.rpartition(",")
    return [before + comma + name for name in sorted(names) if name.startswith(last)]


def models(incomplete: str) -> list[str]:
    """Return networks and checkpoints by name."""
    from septool.catalogue import read_catalogue
    from septool.models import MODELS

    return _matching({*MODELS, *read_catalogue()}, incomplete)


def checkpoints(incomplete: str) -> list[str]:
    """Return checkpoints by name, and the networks that have a default one."""
    from septool.catalogue import read_catalogue

    known = read_catalogue()
    return _matching({*known, *(entry.model for entry in known.values() if entry.default)}, incomplete)


def recipes(incomplete: str) -> list[str]:
    """Return bundled recipes by name."""
    from importlib.resources import files

    names = (path.name for path in files("septool").joinpath("recipes").iterdir())
    return _matching((name.removesuffix(".toml") for name in names if name.endswith(".toml")), incomplete)


def metrics(incomplete: str) -> list[str]:
    """Return metrics by name."""
    from septool.metrics import METRICS

    return _matching(METRICS, incomplete)


def devices(incomplete: str) -> list[str]:
    """Return kinds of devices, whether they are here or not."""
    return _matching(("auto", "cpu", "cuda", "mps"), incomplete)
