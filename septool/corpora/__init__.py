"""The corpora that ``prepare`` knows, one line each."""

from typing import TYPE_CHECKING

from septool.registry import Registry

if TYPE_CHECKING:
    from septool.corpora.base import Corpus

CORPORA: Registry["Corpus"] = Registry(
    "corpus",
    {
        "folder": "septool.corpora.folder:FOLDER",
        "libri2mix": "septool.corpora.librimix:LIBRI2MIX",
        "libri3mix": "septool.corpora.librimix:LIBRI3MIX",
        "wsj0-2mix": "septool.corpora.wsj0mix:WSJ0_2MIX",
        "wsj0-3mix": "septool.corpora.wsj0mix:WSJ0_3MIX",
        "librispeech-2mix": "septool.corpora.librispeech:LIBRISPEECH_2MIX",
        "wham": "septool.corpora.wham:WHAM",
        "wsj0-music": "septool.corpora.wsj0music:WSJ0_MUSIC",
        "aishell2-noise": "septool.corpora.aishell2:AISHELL2_NOISE",
        "voxceleb1": "septool.corpora.voxceleb1:VOXCELEB1",
    },
)
