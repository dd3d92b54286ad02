"""The local page and its REST API: recordings in, voices out, over HTTP."""
