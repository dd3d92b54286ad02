"""Batches of recordings: inputs and the names of their outputs, runs over all of them, records and HTML reports.

What belongs here is what the verbs that read recordings and write voices share besides the models: finding the
recordings, naming the files, going through them in one process or several, and telling what became of each. What is
done with one recording is ``inference``.
"""
