"""Chimera++: its size, and its masks equal to an independent implementation's."""

import torch

from septool.models.chimera import CONFIGS, Chimera, Config
from tests.models.parity import assert_parity, fixture, load_renamed


def test_parameters_are_the_published_32_9_million() -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in Chimera(CONFIGS["paper"]).parameters()) == 32_866_038


def test_masks_are_those_of_an_independent_implementation() -> None:
    tensors = fixture("chimerapp")
    model = Chimera(Config(fft=64, hop=16, hidden=16, layers=2, embedding=8)).eval()
    load_renamed(model, tensors, {"rnn.rnn.": "lstm.lstm.", "embedding_layer.": "embedding.", "mask_layer.": "mask."})
    frames_first = {key: y.mT if key.startswith("y") else y for key, y in tensors.items()}
    assert_parity(lambda x: model.masks(model.spectrum(x)), frames_first)


def test_embeddings_have_unit_length() -> None:
    model = Chimera(Config(fft=64, hop=16, hidden=16, layers=2, embedding=8)).eval()
    with torch.inference_mode():
        embedding = model.embed(model.encode(model.spectrum(torch.randn(2, 400))))
    assert embedding.shape == (2, 26, 33, 8)
    torch.testing.assert_close(embedding.norm(dim=-1), torch.ones(2, 26, 33))
