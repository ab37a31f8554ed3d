"""Tagging by small language models (§2.1)."""
