"""saccade: train, test, explain and ship convolutional networks, from a folder of images to a model you understand."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from saccade.data.source import read as read
    from saccade.errors import SaccadeError as SaccadeError
    from saccade.models import create_model as create_model
    from saccade.models import list_models as list_models
    from saccade.predict import load as load
    from saccade.recipes.curve import curve as curve
    from saccade.recipes.evaluate import evaluate as evaluate
    from saccade.recipes.explain import explain as explain
    from saccade.recipes.fit import fit as fit

__version__ = "0.1.0"

# Where each public name lives. They are imported when they are first used: torch alone takes seconds.
_PUBLIC = {
    "SaccadeError": "saccade.errors",
    "create_model": "saccade.models",
    "list_models": "saccade.models",
    "load": "saccade.predict",
    "read": "saccade.data.source",
    "curve": "saccade.recipes.curve",
    "evaluate": "saccade.recipes.evaluate",
    "explain": "saccade.explain",
    "fit": "saccade.recipes.fit",
}

__all__ = [
    "SaccadeError",
    "__version__",
    "create_model",
    "curve",
    "evaluate",
    "explain",
    "fit",
    "list_models",
    "load",
    "read",
]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        room = importlib.import_module(_PUBLIC[name])
        # The verb `explain` is its room, which can be called.
        return getattr(room, name, room)
    raise AttributeError(f"module 'saccade' has no attribute {name!r}; it has {', '.join(_PUBLIC)}")


def __dir__() -> list[str]:
    return sorted(__all__)
