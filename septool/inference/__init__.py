"""Applying models to a recording: levels, segments, passes, engines, streams, enrollment, findings.

What belongs here is anything that ``separate``, ``extract`` and the Python API share between a loaded model and the
samples that go in and come out. Nothing here trains, scores a corpus, or knows of the command line or of more than one
recording.
"""

SEGMENT_S, OVERLAP_S = 30.0, 4.0  # default segment and overlap of separators
EXTRACTION_SEGMENT_S, EXTRACTION_OVERLAP_S = 10.0, 2.0  # those of extractors, which decide presence per segment
