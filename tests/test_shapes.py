"""Every public function that takes or returns signals says their shape: ``[batch, time]``."""

import ast
import re
from collections.abc import Iterator, Mapping, Set
from functools import cache
from pathlib import Path

import pytest

import septool

PACKAGE = Path(septool.__file__).parent
SIGNAL = re.compile(r"\b(Tensor|ndarray)\b")
WEIGHTS = re.compile(r"(?:Mapping|dict)\[str, Tensor\]")  # by name, each of its own shape
SHAPE = re.compile(r"\[[\w., +*/()-]*\]")
Function = ast.FunctionDef | ast.AsyncFunctionDef
Classes = Mapping[str, ast.ClassDef]


def public_functions(
    body: list[ast.stmt], owner: ast.ClassDef | None = None
) -> Iterator[tuple[ast.ClassDef | None, Function]]:
    """Yield the public functions of a module and the public methods of its public classes, with the class."""
    for node in body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from public_functions(node.body, node)
        elif not isinstance(node, Function) or "overload" in map(ast.unparse, node.decorator_list):
            continue
        elif not node.name.startswith("_") or node.name in ("__init__", "__call__"):
            yield owner, node


def has_signals(function: Function, aliases: Set[str]) -> bool:
    """Return whether a function takes or returns tensors or arrays of known type, or what an alias calls so."""
    arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    written = [ast.unparse(each) for argument in arguments if (each := argument.annotation)]
    written += [ast.unparse(function.returns)] if function.returns else []
    names = {name for text in written for name in re.findall(r"\w+", text)}
    return bool(aliases & names) or any(SIGNAL.search(WEIGHTS.sub("", text)) for text in written)


def signal_aliases(tree: ast.Module) -> set[str]:
    """Return the names that a module gives to unions with tensors or arrays."""
    found = set()
    for node in tree.body:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.BinOp() as value) if SIGNAL.search(
                ast.unparse(value)
            ):
                found.add(name)
    return found


def said_of(function: Function, owner: ast.ClassDef | None, classes: Classes) -> str:
    """Return what is written of a function: for a method without a docstring also what it overrides, and its class."""
    said = ast.get_docstring(function) or ""
    if owner is None or (said and function.name != "__init__"):
        return said
    said += ast.get_docstring(owner) or ""
    for base in map(ast.unparse, owner.bases):
        above = classes.get(re.sub(r"\[.*", "", base).rpartition(".")[2])
        if above is not None and above is not owner and function.name != "__init__":
            same = (node for node in above.body if isinstance(node, Function) and node.name == function.name)
            said += said_of(next(same, function), above, classes)
    return said


def without_shapes(source: str, classes: Classes, aliases: Set[str] = frozenset()) -> list[str]:
    """Return the functions that have signals and of which no shape is written."""
    tree = ast.parse(source)
    return [
        f"{owner.name}.{function.name}" if owner else function.name
        for owner, function in public_functions(tree.body)
        if has_signals(function, aliases) and not SHAPE.search(said_of(function, owner, classes))
    ]


@cache
def package_trees() -> dict[str, ast.Module]:
    """Every module of the package by its name."""
    return {
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts): ast.parse(path.read_text(encoding="utf-8"))
        for path in PACKAGE.rglob("*.py")
    }


@cache
def package_classes() -> Classes:
    trees = package_trees().values()
    return {node.name: node for tree in trees for node in tree.body if isinstance(node, ast.ClassDef)}


def known_aliases(tree: ast.Module) -> set[str]:
    """Return the aliases of signals that a module makes or imports."""
    found = signal_aliases(tree)
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module in package_trees():
            found |= {each.name for each in node.names} & signal_aliases(package_trees()[node.module])
    return found


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_every_public_function_says_the_shape_of_its_signals(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    assert without_shapes(source, package_classes(), known_aliases(ast.parse(source))) == []


def test_a_function_without_a_shape_is_found() -> None:
    source = '''
Waves = Tensor | np.ndarray
def scale(x: "Tensor") -> "Tensor":
    """Scale."""
def shape(x: np.ndarray) -> float:
    """Measure ``[batch, time]``."""
def count(n: int) -> int:
    """Count."""
def again(x: Waves) -> None:
    """Do it again."""
def _own(x: Tensor) -> None:
    """Do."""
class Network:
    def forward(self, x: Tensor) -> Tensor:
        pass
    def halve(self, *, x: Tensor | None = None) -> None:
        """Halve."""
    def double(self, x: Tensor) -> None:
        """Double ``[batch, time]``."""
class Layer:
    """A layer of vectors ``[batch, channel]``."""
    def __init__(self, weight: Tensor) -> None:
        pass
    def __call__(self, x: Tensor) -> Tensor:
        pass
class Deep(Network):
    def double(self, x: Tensor) -> None:
        pass
    def halve(self, *, x: Tensor | None = None) -> None:
        pass
'''
    tree = ast.parse(source)
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    assert signal_aliases(tree) == {"Waves"}
    found = without_shapes(source, classes, signal_aliases(tree))
    assert found == ["scale", "again", "Network.forward", "Network.halve", "Deep.halve"]
