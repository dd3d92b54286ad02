"""Applying models to recordings: levels, segments, batches of files, enrollment, HTML reports.

What belongs here is anything that ``separate``, ``extract`` and the Python API share between a loaded model and the
files that go in and come out. Nothing here trains, scores a corpus, or knows the command line.
"""
