"""Every published checkpoint: fetched, converted, and equal to the other toolkit's own inference."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from septool import catalogue
from septool.api import load_separator
from septool.downloads import HUB_FILE
from septool.metrics.si_snr import si_snr
from tests.conftest import voice
from tests.hub import Hub
from tests.interop.published import make_files

PUBLISHED = {name: entry for name, entry in catalogue.read_catalogue().items() if entry.files}
EQUAL = 100.0  # dB
LEVEL = 0.1  # RMS of what septool feeds to networks; there it changes nothing


@pytest.mark.filterwarnings("ignore::FutureWarning")  # of what torch deprecates in others' code
@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_checkpoint_computes_what_it_computes_there(
    name: str, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = PUBLISHED[name]
    files, run = make_files(name, entry)
    remote = []
    for each in entry.files:
        content, expected = files[each.name], each.bytes or each.about_bytes
        if expected and not each.name.endswith(".yaml"):
            assert abs(len(content) - expected) < max(0.1 * expected, 2000), "the size of what is published"
        place = HUB_FILE.fullmatch(each.url)
        hub.files[each.name if place is None else f"{place[1]}/{each.name}"] = content
        url = f"{hub.url}/plain/{each.name}" if place is None else each.url
        remote.append(replace(each, url=url, sha256="", bytes=0, about_bytes=len(content)))
    monkeypatch.setattr(catalogue, "read_catalogue", lambda: {name: replace(entry, files=tuple(remote))})

    pipeline = load_separator(name)
    assert (pipeline.header.sample_rate, pipeline.header.sources) == (entry.sample_rate, entry.sources)
    assert pipeline.header.model == entry.model
    if entry.parameters:
        assert isinstance(pipeline.model, torch.nn.Module)
        assert sum(parameter.numel() for parameter in pipeline.model.parameters()) == entry.parameters

    samples = 4096 * (entry.sample_rate // 8000) * (1 if entry.model.startswith("tf-") else 2)  # whole hops of all
    voices = [voice(pitch, rate=entry.sample_rate, seed=seed) for seed, pitch in enumerate((110, 170, 230))]
    mixture = torch.from_numpy(np.sum(voices, axis=0)[entry.sample_rate // 2 :][:samples])
    mixture = mixture - mixture.mean()
    mixture *= LEVEL / mixture.square().mean().sqrt()
    with torch.inference_mode():
        theirs = run(mixture)
    ours = torch.from_numpy(pipeline.separate(mixture, entry.sample_rate, consistency=False))
    assert ours.shape == theirs.shape == (entry.sources, samples)
    equal = [float(si_snr(estimate=a, reference=b)) for a, b in zip(ours.double(), theirs.double(), strict=True)]
    print(f"{name}: {min(equal):.0f} dB")  # noqa: T201 - which make peers shows
    assert min(equal) > EQUAL
