"""Which part of a training run each kind of example gets."""

from __future__ import annotations

from collections.abc import Mapping

REAL, AFTER, SAME = "real", "after", "same"
KINDS = (REAL, AFTER, SAME)
# What brought most switches on the embedded model: without more real ones than clips have by themselves a LoRA learns less.
DEFAULT_SHARES = {REAL: 0.45, AFTER: 0.15, SAME: 0.40}
MOST_MULTIPLE, CLOSE = 32, 0.01


def parse_shares(text: str) -> dict[str, float]:
    """Shares written as "real=.45,after=.15,same=.40"; kinds that are left out get none.

    Raises ValueError for an unknown kind, something that is no number from 0 on, and shares that are all 0.
    """
    shares = dict.fromkeys(KINDS, 0.0)
    for part in text.split(","):
        name, _, number = part.partition("=")
        shares[_kind(name, text)] = _share(number, text)
    if not any(shares.values()):
        raise ValueError(f"shares are {text!r}, all of them 0; give at least one kind a share above 0.")
    return shares


def _kind(name: str, text: str) -> str:
    if name.strip() not in KINDS:
        raise ValueError(
            f"shares are {text!r}; write them as real=.45,after=.15,same=.40, with no other names."
        )
    return name.strip()


def _share(number: str, text: str) -> float:
    try:
        value = float(number)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1000:
        raise ValueError(f"shares are {text!r}; {number.strip()!r} is no number from 0 on.")
    return value


def repeats_for(counts: Mapping[str, int], shares: Mapping[str, float]) -> dict[str, int]:
    """How often each kind is repeated in an epoch, so that its examples come as near to its share as whole numbers allow.

    Kinds without examples or without a share are left out; the others divide what is left among them.
    """
    wanted = {kind: share for kind, share in shares.items() if share > 0 and counts.get(kind, 0) > 0}
    if not wanted:
        return {}
    each = {kind: share / counts[kind] for kind, share in wanted.items()}
    least, total = min(each.values()), sum(wanted.values())
    found: list[tuple[float, dict[str, int]]] = []
    for multiple in range(1, MOST_MULTIPLE + 1):
        repeats = {kind: max(1, round(multiple * weight / least)) for kind, weight in each.items()}
        got = shares_of(counts, repeats)
        found.append((max(abs(got[kind] - share / total) for kind, share in wanted.items()), repeats))
        if found[-1][0] <= CLOSE:
            break
    return min(found, key=lambda item: item[0])[1]


def shares_of(counts: Mapping[str, int], repeats: Mapping[str, int]) -> dict[str, float]:
    """The share of an epoch that each repeated kind has."""
    seen = {kind: times * counts[kind] for kind, times in repeats.items()}
    total = sum(seen.values())
    return {kind: number / total for kind, number in seen.items()}
