"""Photos to groups of similar photos (METHOD, "Grouping")."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float, Int64
from sklearn.cluster import KMeans
from sklearn.preprocessing import normalize
from torch import Tensor

GROUP_SIZE = 8  # photos; the paper's mean group and its batch (METHOD, "Grouping")


def describe(deep: Float[Tensor, "images channels h w"]) -> Float[np.ndarray, "images channels"]:
    """Global average of the last encoder map: what a photo shows, in one vector."""
    return deep.float().mean((2, 3)).cpu().numpy()


def group_photos(
    descriptors: Float[np.ndarray, "photos channels"], *, seed: int = 0, size: int = GROUP_SIZE
) -> tuple[Int64[np.ndarray, " photos"], Float[np.ndarray, "groups channels"]]:
    """K-means with K = ⌈photos / size⌉ on directions (unit vectors): a group index per photo, and the groups' centres.

    Groups are numbered by their size, largest first; every group has at least one photo. Deterministic for a seed.
    """
    units = normalize(descriptors.astype(np.float64))
    distinct = len(np.unique(units.round(6), axis=0))
    count = max(1, min(math.ceil(len(units) / size), distinct))
    fitted = KMeans(count, n_init=4, random_state=seed).fit(units)
    sizes = np.bincount(fitted.labels_, minlength=count)
    order = [int(g) for g in np.argsort(-sizes, kind="stable") if sizes[g] > 0]
    renumber = {old: new for new, old in enumerate(order)}
    labels = np.array([renumber[int(label)] for label in fitted.labels_], dtype=np.int64)
    return labels, fitted.cluster_centers_[order].astype(np.float32)


def nearest_group(descriptor: Float[np.ndarray, " channels"], centres: Float[np.ndarray, "groups channels"]) -> int:
    """The group whose centre is closest to a photo that was not there when the groups were made."""
    unit = normalize(descriptor[None].astype(np.float64))[0]
    return int(np.argmin(((centres - unit) ** 2).sum(1)))


def group_runs(groups: Int64[np.ndarray, " photos"], size: int) -> list[list[int]]:
    """Every photo once, in runs of at most `size` photos of one group, group by group, in the photos' order."""
    runs: list[list[int]] = []
    for group in np.unique(groups):
        members = [int(i) for i in np.flatnonzero(groups == group)]
        runs += [members[start : start + size] for start in range(0, len(members), size)]
    return runs


def group_batches(groups: Int64[np.ndarray, " photos"], *, size: int = GROUP_SIZE, rng: np.random.Generator) -> list[list[int]]:
    """Every photo once, in batches of at most `size` photos of one group, in random order (METHOD, "Group batches")."""
    batches: list[list[int]] = []
    for group in np.unique(groups):
        members = rng.permutation(np.flatnonzero(groups == group))
        batches += [[int(i) for i in members[start : start + size]] for start in range(0, len(members), size)]
    return [batches[i] for i in rng.permutation(len(batches))]
