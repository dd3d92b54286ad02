"""Within- and between-speaker variances of a speaker network's embeddings, and the thresholds derived from them."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class EmbeddingStatistics:
    """Variances, summed over all dimensions, and cosines of unit-length embeddings."""

    # Measured on simulated conversations of known speakers.
    between: float  # variance of the speaker means
    within: float  # variance of one speaker's runs
    within_second: float  # additional variance of a run, divided by its seconds
    dimensions: float  # effective number of dimensions
    # Tuned on simulated conversations.
    overlap: float  # relative increase of the variance in fully overlapped speech
    evidence: float  # weight of a run: windows overlap by half, and the noise of consecutive runs is correlated
    runs: int  # maximum evidence of a recording, in runs; see Partition
    person: float  # cost of an additional speaker, in nats
    groups_apart: float  # mean-centered cosine distance at which the tree is cut: half that of two speakers
    one_voice: float  # cosine distance, without mean-centering, below which a recording has one speaker
    alike: float  # cosine from which embeddings of two recordings have the same speaker


# Measured and tuned with another network's embeddings (docs/log.md, 2026-11-30). On 24 simulated conversations at 16
# kHz, this one's have variances of 0.72 between speakers, and 0.02 and 0.48 a second within. With those the number of
# speakers is right in 21 of them, with these in 22. Cosine between speakers of the validation conversations and their
# own voiceprints from another recording: 0.59 to 0.80 for all 15; to those of other speakers: median 0.05, 95th
# percentile 0.26 (tools/measure_naming.py).
CAMPPLUS = EmbeddingStatistics(
    between=0.6,
    within=0.09,
    within_second=0.53,
    dimensions=25,  # most variance of the speaker means is in 19, of one speaker's runs in 66
    overlap=0.6,
    evidence=0.3,
    runs=60,
    person=4.0,
    groups_apart=0.5,
    one_voice=0.7,
    alike=0.45,
)
# one_voice: any value from 0.2 to 0.28 finds the same numbers of speakers. Cosine to the own voiceprint: 0.77 to 0.99,
# above 0.8 for 13 of 14; to those of other speakers: median 0.38, 95th percentile 0.78.
SPEAKER_NET = EmbeddingStatistics(
    between=0.585,
    within=0.03,
    within_second=0.2,
    dimensions=8,  # most variance of the speaker means is in 5, of one speaker's runs in 7
    overlap=5.0,
    evidence=0.3,
    runs=100,
    person=4.0,
    groups_apart=0.35,
    one_voice=0.22,
    alike=0.8,
)
# By digest of the weights that they were measured with; see septool.inference.voiceprints.network_digest.
STATISTICS = {
    "b5b26b06a8f7eb3392a5c21234756e618b73b16ba4cab3b41d5f1193e3a51a94": CAMPPLUS,
    "603653e3a744e7a3e1bc1ac89c375712b38893d41864afdbe82293da885cf9f1": SPEAKER_NET,
}
