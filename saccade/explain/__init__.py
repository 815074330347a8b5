"""What does the network see? `saccade.explain(...)` is the verb; here is one method a file, for any network."""

import importlib
import sys
from types import ModuleType
from typing import Any


class _Verb(ModuleType):
    """A room that can be called: the verb and the room have one name."""

    def __call__(self, *args: Any, **options: Any) -> Any:
        return importlib.import_module("saccade.recipes.explain").explain(*args, **options)


sys.modules[__name__].__class__ = _Verb
