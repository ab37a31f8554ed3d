"""Talking with a checkpoint: over HTTP (`server.py`), in a browser (`page/`) and in a terminal (`chat.py`)."""
