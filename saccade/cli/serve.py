"""saccade serve RUN..."""

from pathlib import Path
from typing import Annotated

import typer


def serve(
    runs: Annotated[
        list[str] | None,
        typer.Argument(help="Run directories; with --weights also names that `saccade models` lists."),
    ] = None,
    weights: Annotated[str | None, typer.Option(help="Published weights, such as imagenet, of those names.")] = None,
    host: Annotated[
        str, typer.Option(help="The address to listen on; 0.0.0.0 is all of this machine's.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any that is free.")] = 8000,
    name: Annotated[
        list[str] | None, typer.Option(help="A name under which the service is called, behind a proxy.")
    ] = None,
    api_keys: Annotated[Path | None, typer.Option(help="A file of keys, one of which every request must show.")] = None,
    new_key: Annotated[
        str | None, typer.Option(help="Make a key of that name, add it to --api-keys, print it, and end.")
    ] = None,
    allow_links: Annotated[
        bool, typer.Option("--allow-links", help="Fetch pictures and films from links to the public internet.")
    ] = False,
    neighbours: Annotated[
        bool, typer.Option("--neighbours", help="Look through what each run was trained on, to show what is alike.")
    ] = False,
    device: Annotated[str | None, typer.Option(help="cpu, cuda ...; a GPU where there is one.")] = None,
    precision: Annotated[
        str, typer.Option(help="auto: bfloat16, where the machine is built for it; or float32.")
    ] = "float32",
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="A limit, such as queue=64 or body=20000000; may be repeated.")
    ] = None,
) -> None:
    """A page and an API to try models with pictures and films of one's own."""
    import logging
    import sys

    from saccade.errors import SaccadeError, UsageError

    if new_key is not None:
        from saccade.web.keys import add_key

        if api_keys is None:
            raise UsageError("--new-key adds a key to a file: name it with --api-keys FILE")
        print(add_key(api_keys, new_key))
        print(f"its hash is in {api_keys}; the key itself is shown this once", file=sys.stderr)
        return
    try:
        from saccade.web.serve import listen
        from saccade.web.serve import serve as run_server
    except ImportError as error:
        raise SaccadeError(f"the service needs {error.name}: pip install 'saccade[web]'") from None
    from saccade.web.guard import LOCAL
    from saccade.web.keys import Keys
    from saccade.web.limits import limits_of
    from saccade.web.models import runs_of
    from saccade.web.service import Service

    keys = None if api_keys is None else Keys(api_keys)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    if host not in LOCAL and keys is None:
        print(
            f"warning: {host} can be reached from other machines, and anybody who does may ask; "
            f"--api-keys FILE asks for a key, --new-key NAME makes one",
            file=sys.stderr,
        )
    limits = limits_of(settings or [])
    with listen(host, port) as sock:
        service = Service(runs_of(runs or [], weights), limits, device, precision, neighbours, allow_links)
        for served in service.models:
            card, batch = served.predictor.card, served.warm.batch
            how = "one picture at a time" if batch == 1 else f"up to {batch} pictures together"
            print(f"{served.name}: {card.model}, {len(card.classes)} classes, {how}", file=sys.stderr)
        print(f"http://{f'[{host}]' if ':' in host else host}:{sock.getsockname()[1]}", file=sys.stderr)
        run_server(service, sock, host, keys, tuple(name or ()))
