"""The notebook runs from its first cell to its last."""

import json

import pytest

from tests.conftest import ROOT


@pytest.mark.slow
def test_the_notebook_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    nbformat = pytest.importorskip("nbformat", reason='notebooks need pip install "septool[docs]"')
    nbclient = pytest.importorskip("nbclient", reason='notebooks need pip install "septool[docs]"')
    pytest.importorskip("ipykernel", reason='notebooks need pip install "septool[docs]"')
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = nbformat.read(ROOT / "examples" / "separate.ipynb", as_version=4)
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(ROOT)}}).execute()


def test_the_notebook_is_kept_without_outputs() -> None:

    notebook = json.loads((ROOT / "examples" / "separate.ipynb").read_text(encoding="utf-8"))
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert len(code) >= 5
    assert not [cell for cell in code if cell["outputs"] or cell["execution_count"]]
