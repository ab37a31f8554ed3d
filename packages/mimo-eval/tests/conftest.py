from __future__ import annotations

from hypothesis import settings

# No limit of time for one example: other work on the machine makes any time long.
settings.register_profile("patient", settings(), deadline=None)
settings.load_profile("patient")
