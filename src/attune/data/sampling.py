"""Draws by the hash of ids: the same on every machine, and hardly changed by ids that are added."""

import hashlib
from collections.abc import Collection

SEED = 13


def sample_ids(ids: Collection[str], n: int) -> list[str]:
    """Draws n of the ids (all if there are fewer) by a hash of each; an added id replaces at most one of them.

    A smaller sample of the same ids is part of a larger one.

    Returns:
        The drawn ids, ascending.
    """
    keys = {id_: hashlib.sha256(f"{SEED}:{id_}".encode()).digest() for id_ in ids}
    return sorted(sorted(keys, key=keys.__getitem__)[:n])
