"""Models applied to recordings: level, segments and stitching, batches of files, paths, enrollment, the HTML report.

What belongs here is anything that ``separate``, ``extract`` and the Python API share between a loaded model and the
files that go in and come out. Nothing here trains, scores a corpus, or knows the command line.
"""
