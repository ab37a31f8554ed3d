"""Synthetic reasoning data (§2.1)."""
