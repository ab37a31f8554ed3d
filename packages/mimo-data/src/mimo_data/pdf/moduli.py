"""The word "mod" in a formula: LaTeX has operators for it."""

from __future__ import annotations

import re

_MODULUS = re.compile(r"(\\q?quad *)?(\()? *\\text\{ ?mod ?\}")


def with_moduli(latex: str) -> str:
    """With the word "mod" as the operator that it is, and each modulus in parentheses as its argument."""
    parts: list[str] = []
    while found := _MODULUS.search(latex):
        space, opened = found.groups()
        rest = latex[found.end() :].lstrip()
        end = _closing(rest) if opened else -1
        if opened and end < 0:
            parts.append(latex[: found.end()])
        elif opened:
            parts += [latex[: found.start()], rf"\pmod{{{rest[:end].strip()}}}"]
            rest = rest[end + 1 :]
        else:
            parts += [latex[: found.start()], rf"\{'mod' if space else 'bmod'} "]
        latex = rest
    return "".join([*parts, latex])


def _closing(latex: str) -> int:
    """Where the parenthesis that is open at the start is closed; -1 for nowhere."""
    depth = 1
    for position, sign in enumerate(latex):
        depth += (sign == "(") - (sign == ")")
        if not depth:
            return position
    return -1
