"""Every public function that takes or returns signals says their shape: ``[batch, time]``."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import septool

PACKAGE = Path(septool.__file__).parent
SIGNAL = re.compile(r"\b(Tensor|ndarray)\b")
WEIGHTS = re.compile(r"(?:Mapping|dict)\[str, Tensor\]")  # by name, each of its own shape
SHAPE = re.compile(r"\[[\w., +*/()-]*\]")
Function = ast.FunctionDef | ast.AsyncFunctionDef


def public_functions(body: list[ast.stmt], prefix: str = "") -> Iterator[tuple[str, Function]]:
    """Yield the public functions of a module and the public methods of its public classes, with their names."""
    for node in body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from public_functions(node.body, f"{prefix}{node.name}.")
        elif isinstance(node, Function) and not node.name.startswith("_"):
            yield prefix + node.name, node


def has_signals(function: Function) -> bool:
    """Say whether a function takes or returns tensors or arrays of known type."""
    arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    annotations = [argument.annotation for argument in arguments] + [function.returns]
    return any(SIGNAL.search(WEIGHTS.sub("", ast.unparse(each))) for each in annotations if each)


def without_shapes(source: str) -> list[str]:
    """Return the functions that have signals and a docstring in which no shape stands.

    Methods without a docstring do what the class above them says of them; that they have one if there is none, ruff
    checks.
    """
    return [
        name
        for name, function in public_functions(ast.parse(source).body)
        if has_signals(function) and (said := ast.get_docstring(function)) and not SHAPE.search(said)
    ]


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_every_public_function_says_the_shape_of_its_signals(path: Path) -> None:
    assert without_shapes(path.read_text(encoding="utf-8")) == []


def test_a_function_without_a_shape_is_found() -> None:
    source = '''
def scale(x: "Tensor") -> "Tensor":
    """Scale."""
def shape(x: np.ndarray) -> float:
    """Measure ``[batch, time]``."""
def count(n: int) -> int:
    """Count."""
def _own(x: Tensor) -> None:
    """Do."""
class Network:
    def forward(self, x: Tensor) -> Tensor:
        pass
    def halve(self, *, x: Tensor | None = None) -> None:
        """Halve."""
'''
    assert without_shapes(source) == ["scale", "Network.halve"]
