"""Global deduplication: by address, exact text and MinHash (§2.1)."""
