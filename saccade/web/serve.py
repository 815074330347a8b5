"""Running the service: listening, ending well, loading models anew."""

import logging
import signal
import socket
import threading
from types import FrameType

import uvicorn
from fastapi import FastAPI

from saccade.errors import SaccadeError
from saccade.web.app import create_app
from saccade.web.guard import LOCAL
from saccade.web.keys import Keys
from saccade.web.service import Service

log = logging.getLogger("saccade.web")


def listen(host: str, port: int) -> socket.socket:
    """A place where requests can come in; port 0 is any that is free.

    Raises SaccadeError where there is none.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise SaccadeError(
            f"{host}:{port} cannot be listened on ({error.strerror}); choose another --port or --host"
        ) from None


def serve(
    service: Service, sock: socket.socket, host: str, keys: Keys | None = None, names: tuple[str, ...] = ()
) -> None:
    """Answer until told to end.

    sock   from `listen`
    host   the address that it listens on
    names  more names under which it may be called, where a proxy stands before it

    SIGTERM and an interruption end it when what has begun is done; a second one at once. SIGHUP loads the models anew.
    """
    hosts = (*LOCAL, host, *(name.lower() for name in names)) if host in LOCAL or names else None
    app = create_app(service, keys, hosts)
    server = DrainingServer(app, service)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, lambda number, frame: server.reload())
    server.run([sock])


class DrainingServer(uvicorn.Server):
    """Ends when what has begun is done."""

    def __init__(self, app: FastAPI, service: Service) -> None:
        config = uvicorn.Config(
            app,
            http="h11",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=int(service.limits.drain_seconds),
            timeout_keep_alive=15,
            h11_max_incomplete_event_size=32_768,
        )
        super().__init__(config)
        self._service = service

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._service.draining:
            super().handle_exit(sig, frame)
            return
        log.info("ending: what has begun is finished; once more ends it at once")
        self._service.draining = True

        def drain() -> None:
            self._service.drain()
            self._service.wait_for_films()
            self.should_exit = True

        threading.Thread(target=drain, name="ending", daemon=True).start()

    def reload(self) -> None:
        """Load the models anew, while the old ones answer."""

        def load() -> None:
            log.info("loading the models anew")
            for name, reason in self._service.models.reload().items():
                log.error("%s stays as it was: %s", name, reason)
            log.info("the models are loaded")

        threading.Thread(target=load, name="loading", daemon=True).start()
