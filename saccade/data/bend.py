"""What is marked on an image, moved as training moves the image: by its view, then by its field."""

from dataclasses import replace

from saccade.geometry.field import Field
from saccade.geometry.view import View
from saccade.structures import VOID, Instances, LabelMap, Skeleton


def move_instances(
    things: Instances, view: View, field: Field | None = None, skeleton: Skeleton | None = None
) -> Instances:
    """The same things in network pixels. Nothing is clipped or left out; runs end at the edge of the image.

    things    in original pixels
    field     what bends the image after the view; None bends nothing
    skeleton  what the keypoints are; needed where there are any and the view is a mirror

    A box becomes the box of its bent outline, and an area grows as what is in that outline does.
    """
    things = things.moved(view, skeleton)
    if field is None or not len(things):
        return things
    bent = replace(things, boxes=field.move_boxes(things.boxes))
    if things.masks is not None:
        bent = replace(bent, masks=tuple(mask and field.move_mask(mask) for mask in things.masks))
    if things.keypoints is not None:
        bent = replace(bent, keypoints=field.move_keypoints(things.keypoints))
    if things.areas is not None:
        bent = replace(bent, areas=things.areas * field.growth(things.boxes))
    return bent


def move_labels(known: LabelMap, view: View, field: Field | None = None) -> LabelMap:
    """The map of labels in network pixels: never blended, void where nothing of the image is.

    known  in original pixels
    field  what bends the image after the view; None bends nothing
    """
    labels = view.apply(known.labels[..., None], interpolation="nearest", fill=(VOID,))
    if field is not None:
        labels = field.apply(labels, interpolation="nearest", fill=(VOID,))
    return LabelMap(labels[..., 0], known.classes)
