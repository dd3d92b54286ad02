"""What reports share: pages from templates, and pictures of spectrograms.

What belongs here is what does not depend on what is reported. Each package writes its own reports, from templates of
its own that may extend those here.
"""
