"""The corpora that ``prepare`` knows, a line each."""

from septool.registry import Registry

CORPORA = Registry(
    "corpus",
    {
        "folder": "septool.corpora.folder:prepare",
    },
)
