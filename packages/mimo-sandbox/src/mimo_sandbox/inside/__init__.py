"""What runs on the far side of the wall: standard library only, nothing from the rest of the package.

The host sends these sources to a bare interpreter (`start.py`), so that the same agent runs under
Linux namespaces and in a container whose image knows nothing of this package.
"""
