"""Decoding with MTP drafts: `engine.py` admits requests and steps; a round is `rounds.py` in PyTorch, `csrc/` in C."""
