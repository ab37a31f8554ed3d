"""Filters of supervised fine-tuning samples (§3.1)."""
