"""The rooms of the package and the arrows between them, read off its imports, for docs/architecture.md."""

import ast
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGE = "septool"
PLACE = re.compile(r"`(\w[\w/]*\.py)`(?:: `(\w+(?:\.\w+)*)`)?")
Arrows = Mapping[str, set[str]]


def layers(root: Path = ROOT) -> list[list[str]]:
    """Return the rooms as import-linter's contract stacks them, the highest first."""
    settings = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    (stack,) = (contract["layers"] for contract in settings["contracts"] if contract["type"] == "layers")
    return [[name.strip().removeprefix(f"{PACKAGE}.") for name in layer.split("|")] for layer in stack]


def find_rooms(root: Path = ROOT) -> dict[str, list[Path]]:
    """Return the files of every room: of a folder, or a module at the root."""
    rooms: dict[str, list[Path]] = {}
    for path in sorted((root / PACKAGE).rglob("*.py")):
        room = path.relative_to(root / PACKAGE).with_suffix("").parts[0]
        if not room.startswith("__"):
            rooms.setdefault(room, []).append(path)
    return rooms


def find_arrows(rooms: Mapping[str, list[Path]]) -> Arrows:
    """Return which other rooms each one imports, at the top of a module, in a function or for its types."""
    return {
        room: {name for path in paths for name in _imported(path) if name in rooms} - {room}
        for room, paths in rooms.items()
    }


def _imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        yield from (name.split(".")[1] for name in names if name.startswith(f"{PACKAGE}."))


def reduce_arrows(arrows: Arrows) -> Arrows:
    """Leave out every arrow that is implied by a longer way."""

    def reach(room: str) -> set[str]:
        return set().union(*({other} | reach(other) for other in arrows[room])) if arrows[room] else set()

    return {room: below - set().union(*(reach(other) for other in below)) for room, below in arrows.items()}


def picture(root: Path = ROOT) -> str:
    """Return the rooms as a Mermaid flowchart, a layer in each box.

    Raises:
        SystemExit: a room is in no layer.
    """
    rooms, stack = find_rooms(root), layers(root)
    if homeless := rooms.keys() - {room for layer in stack for room in layer}:
        raise SystemExit(f"{', '.join(sorted(homeless))}: in no layer of pyproject.toml's contract")
    lines = ["```mermaid", "flowchart TD"]
    for number, layer in enumerate(stack):
        there = [room for room in layer if room in rooms]
        if there:
            lines += [f'    subgraph L{number}[" "]', "    direction LR", *(f"    {room}" for room in there), "    end"]
    arrows = reduce_arrows(find_arrows(rooms))
    lines += [f"    {room} --> {other}" for layer in stack for room in layer for other in sorted(arrows.get(room, ()))]
    return "\n".join([*lines, "```"])


def room_table(root: Path = ROOT) -> str:
    """Return what each room is and imports, the highest first."""
    rooms, order = find_rooms(root), [room for layer in layers(root) for room in layer]
    arrows = find_arrows(rooms)
    lines = ["| room | what it is | imports |", "|---|---|---|"]
    for room in order:
        if room not in rooms:
            continue
        folder = root / PACKAGE / room
        module = folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")
        summary = _first_line(ast.parse(module.read_text(encoding="utf-8")))
        below = ", ".join(other for other in order if other in arrows[room])
        lines.append(f"| [`{room}`](../{module.relative_to(root).as_posix()}) | {summary} | {below or '-'} |")
    return "\n".join(lines)


def module_tables(root: Path = ROOT) -> str:
    """Return what every module is and defines for others, a table for each room, the highest first."""
    rooms = find_rooms(root)
    parts = []
    for room in (room for layer in layers(root) for room in layer if room in rooms):
        lines = [f"## {room}", "", "| module | what it is | what others take from it |", "|---|---|---|"]
        for path in rooms[room]:
            tree = ast.parse(path.read_text(encoding="utf-8"))
            names = ", ".join(f"`{name}`" for name in _public_names(tree))
            inside = path.relative_to(root / PACKAGE).as_posix()
            lines.append(f"| [`{inside}`](../{PACKAGE}/{inside}) | {_first_line(tree)} | {names} |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def _first_line(tree: ast.Module) -> str:
    return (ast.get_docstring(tree) or "").split("\n")[0].replace("|", "\\|")


def _public_names(tree: ast.Module) -> Iterator[str]:
    """Yield the functions and classes of a module whose names are for others, as they stand in it."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield node.name


def missing_places(text: str, root: Path = ROOT) -> list[str]:
    """Return the places that a document names, as a path or as a path and what is in it, and that are not there."""
    missing = []
    for file, name in PLACE.findall(text):
        path = root / (
            file if file.startswith((f"{PACKAGE}/", "tests/", "tools/", "benchmarks/")) else f"{PACKAGE}/{file}"
        )
        if path.stem in ("x", "test_x"):  # stands for any
            continue
        if not path.is_file():
            missing.append(file)
            continue
        body = ast.parse(path.read_text(encoding="utf-8")).body
        for part in filter(None, name.split(".")):
            own = [node for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == part]
            if not own:
                missing.append(f"{file}: {name}")
                break
            body = own[0].body
    return missing
