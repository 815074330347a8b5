"""A service with a model for each task, on a real port, for the tests of the web room."""

import asyncio
import json
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import torch
from PIL import Image

from saccade import checkpoint
from saccade.checkpoint import Card
from saccade.models import create_model
from saccade.structures import Preprocessing, Skeleton
from saccade.web.app import create_app
from saccade.web.guard import LOCAL
from saccade.web.keys import Keys
from saccade.web.limits import Limits
from saccade.web.models import Run
from saccade.web.serve import DrainingServer
from saccade.web.service import Service

SKELETON = Skeleton(("top", "left", "right"), ((0, 1), (0, 2)), (0, 2, 1), (0.1, 0.1, 0.1))
SMALL = {"backbone": "resnet18", "width": 16, "hidden": 32, "smallest": 16, "sampled": 16}
WHOLE = Preprocessing.whole(96, 160)
KINDS: dict[str, tuple[str, str, tuple[str, ...], Preprocessing, dict[str, Any]]] = {
    "digits": ("lenet", "classify", tuple("0123456789"), Preprocessing((28, 28), 28, "L", (0.5,), (0.5,)), {}),
    "boxes": ("aligned", "detect", ("cat", "dog", "=boar"), WHOLE, {"backbone": "resnet18", "width": 16, "depth": 1}),
    "masks": ("maskrcnn_fpn", "detect", ("cat", "dog"), WHOLE, SMALL),
    "joints": ("keypointrcnn_fpn", "detect", ("person",), WHOLE, SMALL | {"num_keypoints": 3}),
    "pixels": (
        "unet",
        "segment",
        ("background", "cat", "dog"),
        Preprocessing.windows(64),
        {"width": 4, "padded": True},
    ),
    "colours": ("unet_image", "image_to_image", ("red", "green", "blue"), Preprocessing.windows(64), {"width": 4}),
}


def make_run(folder: Path, kind: str, seed: int = 0) -> Path:
    """A run directory with weights that nobody trained, whose answers hang on the picture."""
    name, task, classes, preprocessing, options = KINDS[kind]
    torch.manual_seed(seed)
    model = create_model(name, len(classes), in_channels=preprocessing.channels, **options)
    for parameter in model.parameters():
        if not parameter.any():
            parameter.data = 0.05 * torch.randn_like(parameter)
    for part, parameter in model.named_parameters():
        if kind == "boxes" and ".classes." in part:  # a detector begins with "nothing is there"
            parameter.data = torch.zeros(parameter.shape) if part.endswith("bias") else 50 * parameter.data
    skeleton = SKELETON if kind == "joints" else None
    card = Card(name, task, classes, preprocessing, options=options, skeleton=skeleton)
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint.save_card(folder, card)
    checkpoint.save_weights(folder, model.state_dict())
    return folder


def make_all(folder: Path) -> list[Path]:
    """One of each kind."""
    return [make_run(folder / kind, kind) for kind in KINDS]


def picture(seed: int = 0, size: tuple[int, int] = (90, 120), kind: str = "PNG", **options: Any) -> bytes:
    """A file of blocks of colour."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 256, (-(-size[0] // 10), -(-size[1] // 10), 3), dtype=np.uint8)
    file = BytesIO()
    Image.fromarray(blocks.repeat(10, 0).repeat(10, 1)[: size[0], : size[1]]).save(file, kind, **options)
    return file.getvalue()


class Live:
    """A running service, and a client of it."""

    def __init__(self, service: Service, server: DrainingServer, port: int) -> None:
        self.service, self.server, self.port = service, server, port
        self.url = f"http://127.0.0.1:{port}"
        self.client = httpx.Client(base_url=self.url, timeout=120, trust_env=False)

    def predict(self, *contents: bytes, **fields: Any) -> httpx.Response:
        files = [("files", (f"{n}.png", content)) for n, content in enumerate(contents)]
        return self.client.post("/v1/predict", files=files, data=fields)

    def said(self, content: bytes, **fields: Any) -> dict[str, Any]:
        """The answer to one picture."""
        response = self.predict(content, **fields)
        assert response.status_code == 200, response.text
        return response.json()["results"][0]["prediction"]

    def explain(self, content: bytes, **fields: Any) -> httpx.Response:
        return self.client.post("/v1/explain", files={"file": ("a.png", content)}, data=fields)

    def job(self, content: bytes, **fields: Any) -> httpx.Response:
        return self.client.post("/v1/jobs", files={"file": ("a.mp4", content)}, data=fields)

    def events(self, id: str) -> list[dict[str, Any]]:
        with self.client.stream("GET", f"/v1/jobs/{id}/events") as response:
            assert response.headers["content-type"].startswith("text/event-stream")
            return [json.loads(line[6:]) for line in response.iter_lines() if line.startswith("data: ")]


@contextmanager
def live(
    runs: Sequence[Path | Run],
    limits: Limits | None = None,
    keys: Keys | None = None,
    hosts: tuple[str, ...] | None = LOCAL,
    **options: Any,
) -> Iterator[Live]:
    """Start a service, and end it well."""
    named = [run if isinstance(run, Run) else Run(str(run)) for run in runs]
    service = Service(named, limits or Limits(), **options)
    app = create_app(service, keys, hosts)
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        server = DrainingServer(app, service)
        thread = threading.Thread(target=lambda: asyncio.run(server.serve([sock])))
        thread.start()
        try:
            running = Live(service, server, sock.getsockname()[1])
            for _ in range(600):
                if server.started:
                    break
                threading.Event().wait(0.05)
            with running.client:
                yield running
        finally:
            server.should_exit = True
            thread.join(60)
            assert not thread.is_alive(), "the service did not end"
