"""Ask a saccade service from Python. It takes httpx: pip install httpx

saccade serve runs/digits &
python examples/service/client.py http://127.0.0.1:8000 digit.png clip.mp4
"""

import argparse
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

FILMS = (".mp4", ".mov", ".mkv", ".webm", ".avi")


class Client:
    """A service.

    url    where it is
    key    what it asks for, where it asks for one
    model  which of its models; None for the first
    """

    def __init__(self, url: str, key: str | None = None, model: str | None = None) -> None:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self.fields = {"model": model} if model else {}
        self.http = httpx.Client(base_url=url, headers=headers, timeout=300)

    def predict(self, *pictures: Path, score: float = 0.5, top: int = 5) -> list[dict[str, Any]]:
        """What is on pictures: of each its name, and its "prediction" or its "error"."""
        files = [("files", (path.name, path.read_bytes())) for path in pictures]
        fields = self.fields | {"score": str(score), "top": str(top)}
        return self._told(self.http.post("/v1/predict", files=files, data=fields))["results"]

    def explain(self, picture: Path, methods: list[str], target: str | None = None) -> dict[str, Any]:
        """Why: pictures of several methods, as PNG in base64."""
        fields: dict[str, Any] = self.fields | {"methods": methods} | ({"target": target} if target else {})
        return self._told(self.http.post("/v1/explain", files={"file": picture.read_bytes()}, data=fields))

    def film(self, film: Path, out: Path) -> Iterator[dict[str, Any]]:
        """How far a film is, whenever that changes; when it is done, `out` is the film with what was said drawn on it,
        and beside it lie the lines of JSON, one a frame."""
        with film.open("rb") as file:
            job = self._told(self.http.post("/v1/jobs", files={"file": (film.name, file)}, data=self.fields))
        place = f"/v1/jobs/{job['id']}"
        try:
            with self.http.stream("GET", f"{place}/events") as events:
                for line in events.iter_lines():
                    if line.startswith("data: "):
                        yield (job := json.loads(line.removeprefix("data: ")))
            if job["state"] != "done":
                raise RuntimeError(f"{film}: {job['error']['message']}")
            out.write_bytes(self.http.get(f"{place}/film").raise_for_status().content)
            out.with_suffix(".jsonl").write_bytes(self.http.get(f"{place}/lines").raise_for_status().content)
        finally:
            self.http.delete(place)

    @staticmethod
    def _told(response: httpx.Response) -> dict[str, Any]:
        """The answer; or an error in the service's own words."""
        if response.is_error:
            error = response.json()["error"]
            raise RuntimeError(f"{response.status_code} {error['code']}: {error['message']}")
        return response.json()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--model")
    asked = parser.parse_args()
    client = Client(asked.url, os.environ.get("SACCADE_KEY"), asked.model)
    pictures = [file for file in asked.files if file.suffix.lower() not in FILMS]
    for result in client.predict(*pictures) if pictures else []:
        print(json.dumps(result))
    for film in asked.files:
        if film not in pictures:
            out = film.with_name(f"{film.stem}-predicted.mp4")
            for job in client.film(film, out):
                print(f"\r{film}: {job['frames']} of {job['count'] or 'some'} frames", end="", flush=True)
            print(f"\n{out} and {out.with_suffix('.jsonl').name}")


if __name__ == "__main__":
    try:
        main()
    except (RuntimeError, OSError, httpx.HTTPError) as error:
        sys.exit(f"error: {error}")
