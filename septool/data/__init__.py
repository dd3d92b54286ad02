"""Speech data: manifests, trials, the utterance pool, mixing on the fly, enrollment sampling, published renderings.

What belongs here is anything between recordings on disk and the arrays a model is trained or scored on.
"""
