"""The two passes: tracks that add up to the recording, people who keep theirs, memory that stays."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from septool import audio
from septool.conversation.diarization import Diarization, pad_frames
from septool.conversation.rendering import Refine
from septool.conversation.separation import ConversationSeparator
from septool.conversation.speaker_count import ANY_COUNT, SpeakerCount
from septool.conversation.speaker_embedder import Embed, SpeakerEmbedder
from septool.conversation.speakers import find_speakers
from septool.conversation.statistics import CAMPPLUS
from septool.errors import SeptoolError
from septool.metrics.diarization import diarization_error
from septool.signal.levels import remove_dc
from septool.signal.turns import Turn

RATE = 8000
PITCHES = {"ann": 230.0, "bob": 110.0, "cat": 160.0}
# Who speaks from when to when, s; ann and bob overlap from 7 to 8.5, cat and ann from 16 to 17.
SCRIPT = [
    *(("ann", 0.5, 3.0), ("bob", 3.5, 6.0), ("ann", 6.5, 8.5), ("bob", 7.0, 9.5), ("cat", 10.0, 13.0)),
    *(("ann", 13.5, 17.0), ("cat", 16.0, 19.0), ("bob", 19.5, 22.0)),
]
SECONDS = 22.5


def buzz(name: str, samples: int) -> np.ndarray:
    """A hum with the harmonics of a voice and syllables."""
    time = np.arange(samples) / RATE
    wave = sum(np.cos(2 * np.pi * PITCHES[name] * k * time) / k for k in range(1, int(3000 / PITCHES[name])))
    return (0.05 * wave * (1 + 0.5 * np.sin(2 * np.pi * 4 * time))).astype(np.float32)


@pytest.fixture(scope="module")
def sources() -> dict[str, np.ndarray]:
    tracks = {name: np.zeros(round(SECONDS * RATE), dtype=np.float32) for name in PITCHES}
    for name, start, end in SCRIPT:
        first, last = round(start * RATE), round(end * RATE)
        tracks[name][first:last] = buzz(name, last - first)
    return tracks


class Oracle:
    """A separator that knows the sources, gives them in any order, and a ghost where one speaks alone."""

    def __init__(self, sources: dict[str, np.ndarray]) -> None:
        self.sources, self.place, self.step = list(sources.values()), 0, 0
        self.random = np.random.default_rng(0)

    def __call__(self, mixture: np.ndarray) -> np.ndarray:
        inside = [source[self.place : self.place + len(mixture)] for source in self.sources]
        self.place += self.step
        tracks = np.zeros((2, len(mixture)), dtype=np.float32)
        busy = [np.abs(np.convolve(np.abs(each), np.ones(800) / 800, "same")) > 1e-3 for each in inside]
        turn = self.random.integers(2)
        for number, each in enumerate(inside):  # whoever comes second while the first still talks gets the other track
            clash = any((busy[number] & busy[other]).any() for other in range(number))
            tracks[(turn + clash) % 2] += each
        return tracks + 0.05 * tracks[::-1]


def embed(samples: np.ndarray) -> np.ndarray:
    """What a voice sounds like: the energy at each one's harmonics."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples)), 2 * RATE)) ** 2
    energy = [
        sum(spectrum[round(2 * pitch * k) - 2 : round(2 * pitch * k) + 3].sum() for k in range(1, 6))
        for pitch in PITCHES.values()
    ]
    return np.array(energy) / (np.linalg.norm(energy) + 1e-12)


def embedder(embed: Embed = embed, rate: int = RATE) -> SpeakerEmbedder:
    return SpeakerEmbedder(embed, rate, CAMPPLUS)


def run(
    sources: dict[str, np.ndarray],
    *,
    block: int = 5000,
    count: SpeakerCount | None = None,
    embed: Embed = embed,
    refine: Refine | None = None,
) -> tuple[Diarization, np.ndarray]:
    mixture = np.sum([*sources.values()], axis=0)
    oracle = Oracle(sources)
    with ConversationSeparator(oracle, embedder(embed), RATE, count=count or ANY_COUNT, refine=refine) as conversation:
        oracle.step = conversation.store.step
        blocks: Iterator[np.ndarray] = (mixture[start : start + block] for start in range(0, len(mixture), block))
        *_, done = conversation.listen(blocks)
        assert done == len(mixture)
        found = conversation.diarize()
        return found, np.concatenate(list(conversation.voices()), axis=1)


def test_everybody_is_found_where_they_speak(sources: dict[str, np.ndarray]) -> None:
    found, voices = run(sources)
    assert found.speakers == ("speaker1", "speaker2", "speaker3")
    error = diarization_error(
        estimate=found.turns, reference=[Turn(start, end, name) for name, start, end in SCRIPT], collar=0.25
    )
    assert error.percent < 15
    assert error.mapping == {"speaker1": "ann", "speaker2": "bob", "speaker3": "cat"}
    assert voices.shape == (4, round(SECONDS * RATE))


def test_somebody_alone_is_the_recording_itself_and_the_others_are_silent(sources: dict[str, np.ndarray]) -> None:
    _, voices = run(sources)
    alone = slice(round(11.0 * RATE), round(12.0 * RATE))  # cat
    np.testing.assert_allclose(voices[2, alone], sources["cat"][alone], atol=1e-6)
    assert np.abs(voices[[0, 1, 3], alone]).max() < 1e-6


def test_tracks_are_refined_where_two_talk_at_once_and_nowhere_else(sources: dict[str, np.ndarray]) -> None:
    asked: list[int] = []

    def refine(mixture: np.ndarray, tracks: np.ndarray) -> np.ndarray:
        assert tracks.shape == (2, len(mixture))
        asked.append(len(mixture))
        return tracks / 2

    (plain, voices), (found, refined) = run(sources), run(sources, refine=refine)
    assert found.turns == plain.turns  # told from the first tracks
    assert asked
    together = slice(round(7.5 * RATE), round(8.0 * RATE))  # ann and bob
    np.testing.assert_allclose(refined[:2, together], voices[:2, together] / 2, atol=1e-6)
    alone = slice(round(11.0 * RATE), round(12.0 * RATE))
    np.testing.assert_array_equal(refined[:, alone], voices[:, alone])
    asked.clear()
    run({"ann": sources["ann"]}, refine=refine)
    assert not asked


@pytest.mark.parametrize("damaged", ["separate", "embed", "refine"])
def test_a_network_that_returns_no_numbers_ends_the_separation(sources: dict[str, np.ndarray], damaged: str) -> None:
    """Else nobody would be told apart, and one person would get the recording."""
    mixture, oracle = np.sum([*sources.values()], axis=0), Oracle(sources)
    networks = {"separate": oracle, "embed": embed, "refine": lambda _, tracks: tracks}
    works = networks[damaged]
    networks[damaged] = lambda *given: works(*given) * np.nan
    hearing = embedder(networks.pop("embed"))
    with ConversationSeparator(**networks, embedder=hearing, rate=RATE) as conversation:
        oracle.step = conversation.store.step

        def separate_all() -> None:
            for _ in conversation.listen([mixture]):
                pass
            conversation.diarize()
            for _ in conversation.voices():
                pass

        with pytest.raises(SeptoolError, match="the model returned non-finite samples; are its weights damaged"):
            separate_all()


def test_one_person_alone_is_the_recording_itself_with_its_pauses(sources: dict[str, np.ndarray]) -> None:
    rng = np.random.default_rng(0)
    noise = 1e-4 * rng.standard_normal(len(sources["ann"])).astype(np.float32)
    alone = {"ann": sources["ann"] + noise}
    # Embeddings of one voice differ in all directions once their mean is taken away.
    directions = np.linalg.qr(rng.standard_normal((16, 16)))[0]
    heard = iter(range(16))
    found, voices = run(alone, embed=lambda _: directions[0] + 0.3 * directions[1 + next(heard) % 15])
    assert found.speakers == ("speaker1",)
    first, last = round(13.5 * RATE), round(17 * RATE)
    np.testing.assert_array_equal(voices[0, first:last], alone["ann"][first:last])
    assert not voices[1, first:last].any()


def test_soft_ends_of_words_are_not_cut_off(sources: dict[str, np.ndarray]) -> None:
    soft = {name: source.copy() for name, source in sources.items()}
    end = round(13.0 * RATE)  # of what cat says, after which nobody speaks for half a second
    soft["cat"][end : end + 800] += 0.005 * buzz("cat", 800)
    _, voices = run(soft)
    np.testing.assert_allclose(voices[2, end : end + 800], soft["cat"][end : end + 800], atol=1e-6)


def test_voices_and_the_rest_add_up_to_the_recording(sources: dict[str, np.ndarray]) -> None:
    _, voices = run(sources)
    np.testing.assert_allclose(voices.sum(0), sum(sources.values()), atol=1e-5)


@pytest.mark.parametrize("block", [1, 700, 10**6])
def test_blocks_change_nothing(sources: dict[str, np.ndarray], block: int) -> None:
    short = {name: source[: 3 * RATE] for name, source in sources.items()} if block == 1 else sources
    expected, voices = run(short)
    found, again = run(short, block=block)
    assert found.turns == expected.turns
    np.testing.assert_array_equal(again, voices)


def test_a_number_of_people_that_is_asked_for_is_given(sources: dict[str, np.ndarray]) -> None:
    found, voices = run(sources, count=SpeakerCount(2, 2))
    assert (len(found.speakers), len(voices)) == (2, 3)


def test_both_are_given_where_two_are_asked_for_and_one_is_heard() -> None:
    alone = {name: buzz(name, 4 * RATE) for name in list(PITCHES)[:1]}
    found, voices = run(alone, count=SpeakerCount(2, 2))
    assert (len(found.speakers), len(voices)) == (2, 3)
    assert (np.square(voices[:2]).sum(1) > 0).all()
    assert len(run(alone)[0].speakers) == 1


@pytest.mark.parametrize("samples", [0, 1, 100, 8000])
def test_silence_has_nobody_in_it(samples: int) -> None:
    with ConversationSeparator(lambda mixture: np.zeros((2, len(mixture))), embedder(), RATE) as conversation:
        for _ in conversation.listen([np.zeros(samples, dtype=np.float32)]):
            pass
        assert conversation.diarize().turns == []
        rest = np.concatenate(list(conversation.voices()), axis=1)
    assert rest.shape == (1, max(samples, 1))


def test_an_offset_changes_nothing(sources: dict[str, np.ndarray]) -> None:
    """Neither who speaks when nor the tracks, in which it would come and go with the person."""
    found, voices = run(sources)
    mixture = np.sum([*sources.values()], axis=0) + np.float32(0.05)
    oracle = Oracle(sources)
    with ConversationSeparator(oracle, embedder(), RATE) as conversation:
        oracle.step = conversation.store.step
        for _ in conversation.listen([mixture]):
            pass
        assert conversation.diarize().turns == found.turns
        np.testing.assert_allclose(np.concatenate(list(conversation.voices()), axis=1), voices, atol=0.003)


def test_whoever_is_heard_beyond_borders_alone_is_nobody(
    sources: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fourth run is bob's to the end of the first window, which counts to 7 s alone."""
    bob = sources["bob"].copy()
    bob[round(6.5 * RATE) : round(7.3 * RATE)] = 0
    sources = sources | {"bob": bob}
    expected, _ = run(sources)

    def find_one_more(*arguments: Any, **settings: Any) -> np.ndarray:
        labels = find_speakers(*arguments, **settings | {"count": SpeakerCount(3, 3)})
        labels[3] = labels.max() + 1
        return labels

    monkeypatch.setattr("septool.conversation.diarization.find_speakers", find_one_more)
    found, voices = run(sources)
    assert found.speakers == expected.speakers
    assert found.turns == expected.turns
    assert len(voices) == 4
    asked, voices = run(sources, count=SpeakerCount(4, 4))
    assert (len(asked.speakers), len(voices)) == (4, 5)


@pytest.mark.parametrize(
    ("others", "expected"),
    [
        ([0, 0, 0, 0, 0, 0, 0, 0, 0], 3.0),  # nobody
        ([0, 0, 0, 1, 1, 1, 1, 1, 1], 1.0),  # half way
        ([0, 1, 1, 1, 1, 1, 1, 1, 1], 0.0),  # at once
        ([0, 0, 0, 0, 0, 0, 0, 1, 1], 3.0),  # far enough
        ([1, 1, 1, 1, 1, 1, 1, 1, 1], 3.0),  # both, already
        ([0], 3.0),  # the recording ends there
    ],
)
def test_turns_do_not_reach_into_what_somebody_else_says(others: list[int], expected: float) -> None:
    assert pad_frames(np.array(others, dtype=bool), 3.0) == expected


@contextmanager
def at_twice_the_rate(
    recording: np.ndarray, block: int = 7001
) -> Iterator[tuple[ConversationSeparator, list[np.ndarray], list[int]]]:
    """Return who has heard a recording at twice the separator's rate, what was separated, and how much was done."""
    given: list[np.ndarray] = []

    def separate(mixture: np.ndarray) -> np.ndarray:
        given.append(mixture)
        return np.stack([mixture, np.zeros_like(mixture)])

    blocks = (recording[start : start + block] for start in range(0, len(recording), block))
    with ConversationSeparator(separate, embedder(lambda _: np.ones(2), 2 * RATE), RATE) as conversation:
        done = [*conversation.listen(blocks, 2 * RATE)]
        yield conversation, given, done


@pytest.mark.parametrize(
    ("recorded", "expected"), [(4000, 8000), (8000, 8000), (11025, 16000), (16000, 16000), (44100, 16000)]
)
def test_what_is_recorded_at_more_than_the_rate_of_the_separator_is_heard_at_more(recorded: int, expected: int) -> None:
    higher = ConversationSeparator(lambda mixture: np.stack([mixture] * 2), embedder(rate=2 * RATE), RATE)
    assert higher.choose_rate(recorded) == expected
    same = ConversationSeparator(lambda mixture: np.stack([mixture] * 2), embedder(), RATE)
    assert same.choose_rate(recorded) == RATE


@pytest.mark.parametrize("block", [1000, 7001, 10**6])
@pytest.mark.parametrize("odd", [0, 1])
def test_what_is_heard_at_twice_the_rate_is_separated_as_if_it_were_not(
    sources: dict[str, np.ndarray], block: int, odd: int
) -> None:
    high = audio.resample(np.sum([*sources.values()], axis=0), RATE, 2 * RATE)[odd:]
    mixture = audio.resample(high, 2 * RATE, RATE)
    with at_twice_the_rate(high, block) as (conversation, given, done):
        store = conversation.store
        assert done[-1] == store.samples == len(mixture)
        assert [window.start for window in store.windows] == [store.step * n for n in range(len(store.windows))]
        for number, (window, samples) in enumerate(zip(store.windows, given, strict=True)):
            place = slice(window.start, window.start + window.samples)
            assert len(samples) == window.samples
            np.testing.assert_allclose(samples, mixture[place], atol=1e-5)
            heard = high[2 * place.start : 2 * place.stop]
            np.testing.assert_array_equal(store.read_recorded(number)[: len(heard)], heard)
        conversation.diarize()
        voices = np.concatenate(list(conversation.voices()), axis=1)
        np.testing.assert_allclose(voices.sum(0), mixture, atol=1e-5)


@pytest.mark.parametrize(("samples", "expected"), [(0, 1), (1, 1), (2, 1), (3, 2), (16000, 8000), (16001, 8001)])
def test_little_or_nothing_is_heard_at_twice_the_rate(samples: int, expected: int) -> None:
    noise = 0.1 * np.random.default_rng(0).standard_normal(samples).astype(np.float32)
    with at_twice_the_rate(noise) as (conversation, given, done):
        assert (len(given), done) == (1, [expected])
        expected_noise = remove_dc(np.pad(noise, (0, 2 * expected - samples)))
        np.testing.assert_array_equal(conversation.store.read_recorded(0), expected_noise)
        conversation.diarize()
        assert sum(part.shape[1] for part in conversation.voices()) == expected


def test_a_whole_number_of_windows_is_heard_at_twice_the_rate() -> None:
    store = ConversationSeparator(lambda mixture: mixture, embedder(), RATE).store
    noise = 0.1 * np.random.default_rng(0).standard_normal(2 * (store.size + store.step) + 1).astype(np.float32)
    with at_twice_the_rate(noise[:-1]) as (_, given, _):
        assert [*map(len, given)] == [store.size, store.size]
    with at_twice_the_rate(noise) as (_, given, _):
        assert [*map(len, given)] == [store.size, store.size, store.size - store.step + 1]


def test_a_voice_is_told_by_what_it_says_alone_at_the_higher_rate(sources: dict[str, np.ndarray]) -> None:
    """Whoever hardly speaks alone is heard in what was separated, which is brought to that rate."""
    time = np.arange(round(SECONDS * 2 * RATE)) / (2 * RATE)
    hiss = 0.01 * np.cos(2 * np.pi * 6000 * time).astype(np.float32)  # which no separator at 8 kHz has
    mixture = audio.resample(np.sum([*sources.values()], axis=0), RATE, 2 * RATE) + hiss
    high: list[float] = []
    lengths: list[int] = []

    def listen_to(samples: np.ndarray) -> np.ndarray:
        spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples)), 4 * RATE))
        high.append(2 * spectrum[11990:12010].max() / np.hanning(len(samples)).sum())
        lengths.append(len(samples))
        return embed(audio.resample(samples, 2 * RATE, RATE))

    oracle = Oracle(sources)
    with ConversationSeparator(oracle, embedder(listen_to, 2 * RATE), RATE) as conversation:
        oracle.step = conversation.store.step
        for _ in conversation.listen([mixture], 2 * RATE):
            pass
        found = conversation.diarize()
    expected, _ = run(sources)
    assert found.speakers == expected.speakers
    assert {level > 0.005 for level in high} == {True, False}
    for level, length in zip(high, lengths, strict=True):
        assert level > 0.005 or level < 1e-4
        assert level < 1e-4 or length >= RATE  # half a second


def test_a_recording_at_the_rate_of_the_separator_is_heard_in_runs_as_before(sources: dict[str, np.ndarray]) -> None:
    expected: list[np.ndarray] = []
    heard: list[np.ndarray] = []

    def listen_to(samples: np.ndarray) -> np.ndarray:
        expected.append(samples)
        return embed(samples)

    def listen_higher(samples: np.ndarray) -> np.ndarray:
        heard.append(samples)
        return embed(audio.resample(samples, 2 * RATE, RATE))

    plain, _ = run(sources, embed=listen_to)
    oracle = Oracle(sources)
    with ConversationSeparator(oracle, embedder(listen_higher, 2 * RATE), RATE) as conversation:
        oracle.step = conversation.store.step
        for _ in conversation.listen([np.sum([*sources.values()], axis=0)]):
            pass
        assert conversation.diarize().turns == plain.turns
    for low, high in zip(expected, heard, strict=True):
        np.testing.assert_array_equal(high, audio.resample(low, RATE, 2 * RATE))
