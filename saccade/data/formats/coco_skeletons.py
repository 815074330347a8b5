"""What COCO's keypoints are: which is which in a mirror, and how exactly people mark each one."""

from collections.abc import Sequence

from saccade.structures import Skeleton

# cocodataset.org, "Keypoint evaluation", 1.3: the standard deviation with which people mark the same point of a body,
# relative to the root of the body's area.
COCO = {
    **{"nose": 0.026, "eye": 0.025, "ear": 0.035, "shoulder": 0.079, "elbow": 0.072},
    **{"wrist": 0.062, "hip": 0.107, "knee": 0.087, "ankle": 0.089},
}
COCO_NAMES = (
    *("nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow"),
    *("right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee"),
    *("left_ankle", "right_ankle"),
)
# CrowdPose (Li et al., CVPR 2019) has COCO's, and for head and neck those of its evaluation code.
CROWDPOSE = COCO | {"head": 0.079, "neck": 0.079}
CROWDPOSE_NAMES = (
    *("left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hip"),
    *("right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle", "head", "neck"),
)
UNKNOWN_SIGMA = 0.05  # of keypoints that nobody has published a figure for

Described = tuple[tuple[str, ...], tuple[tuple[int, int], ...]]


def skeleton_of(categories: Sequence[Described], notes: list[str]) -> Skeleton | None:
    """The one skeleton of a set; None when no category has keypoints, or two have different ones.

    categories  of each the names of its keypoints, perhaps none, and the pairs that are joined, counted from 1
    notes       where to say what cannot be kept
    """
    described = {names: edges for names, edges in reversed(categories) if names}
    if not described:
        return None
    if len(described) > 1:
        counts = " and ".join(str(len(names)) for names in described)
        notes.append(f"keypoints were left out: categories differ in them ({counts}), and a set has one skeleton")
        return None
    (names, edges), count = next(iter(described.items())), len(next(iter(described)))
    inside = tuple((a - 1, b - 1) for a, b in edges if 1 <= a <= count and 1 <= b <= count)
    if len(inside) < len(edges):
        wrong = next(edge for edge in edges if not all(1 <= end <= count for end in edge))
        notes.append(
            f"{len(edges) - len(inside)} of {len(edges)} edges of the skeleton were left out: they join keypoints that "
            f"are not there, as {wrong[0]} and {wrong[1]} of 1 to {count}"
        )
    return Skeleton(names, inside, mirror_of(names), _sigmas(names))


def mirror_of(names: Sequence[str]) -> tuple[int, ...]:
    """Which keypoint each one is in a mirror, by its name: left and right change places, wherever they stand in it."""
    lower = [name.lower() for name in names]
    mirror = list(range(len(names)))
    for left, name in enumerate(lower):
        other = name.replace("left", "right")
        if other != name and lower.count(name) == lower.count(other) == 1:
            right = lower.index(other)
            mirror[left], mirror[right] = right, left
    return tuple(mirror)


def _sigmas(names: tuple[str, ...]) -> tuple[float, ...]:
    for known, table in ((COCO_NAMES, COCO), (CROWDPOSE_NAMES, CROWDPOSE)):
        if names == known:
            return tuple(table[name.split("_")[-1]] for name in names)
    return (UNKNOWN_SIGMA,) * len(names)
