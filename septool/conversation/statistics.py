"""How the embeddings of a speaker network are spread, within people and among them, and what follows from it."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class EmbeddingStatistics:
    """Of embeddings of length one: variances, of all directions together, and cosines."""

    # As measured in drawn conversations of known people.
    between: float  # variance of people's means
    within: float  # of one person's runs
    within_second: float  # of them, over the seconds of a run
    dimensions: float  # directions that most of the variance is in
    # Chosen on drawn conversations.
    overlap: float  # by how much variance is larger, as a part, where two people speak all the time
    evidence: float  # part of a run that is news: windows share half of what they hear, and noise goes on between runs
    runs: int  # whose evidence all runs of a recording have at most together, see Partition
    person: float  # nats that one person more has to be worth
    groups_apart: float  # cosine distance, less the recording's mean, at which the tree is cut: half that of two people
    one_voice: float  # cosine distance, as they are, below which a recording has one person
    alike: float  # cosine from which two are of one voice, in another recording


# Two groups of one voice are up to 0.6 apart in 52 of 55 recordings (dev-1voice), of 33 conversations from 0.85 on.
# People of the validation conversations and a voiceprint of another recording of them: 0.62 to 0.90 in 13 of 14; of
# somebody else 0.00 in the middle, 0.27 at 95 % (tools/measure_naming.py).
GE2E = EmbeddingStatistics(
    between=0.6,
    within=0.09,
    within_second=0.53,
    dimensions=25,  # people's means have most of their variance in 19, runs of one person in 66
    overlap=0.6,
    evidence=0.3,
    runs=60,
    person=4.0,
    groups_apart=0.5,
    one_voice=0.7,
    alike=0.45,
)
# One voice: 0.2 to 0.28 find the number alike. Names: own 0.77 to 0.99, 13 of 14 above 0.8; others 0.38, 0.78 at 95 %.
SPEAKER_NET = EmbeddingStatistics(
    between=0.585,
    within=0.03,
    within_second=0.2,
    dimensions=8,  # people's means have most of their variance in 5, runs of one person in 7
    overlap=5.0,
    evidence=0.3,
    runs=100,
    person=4.0,
    groups_apart=0.35,
    one_voice=0.22,
    alike=0.8,
)
# By the digest of the weights that they were measured with, see septool.inference.voiceprints.network_digest.
STATISTICS = {
    "ea21c640bcb80893081d85f93de179c5679506d5a0dc1d2287b92477ee5040dd": GE2E,
    "603653e3a744e7a3e1bc1ac89c375712b38893d41864afdbe82293da885cf9f1": SPEAKER_NET,
}
