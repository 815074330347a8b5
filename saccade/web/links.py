"""Fetching what a link points to, without being led to where only this machine may go.

Every address a name stands for must be public, the connection goes to the very address that was looked at, so that
the name cannot come to mean another in between, and each redirect begins from the beginning. Proxies that the
environment names are not used: they would resolve names elsewhere.
"""

import http.client
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from urllib.parse import urljoin, urlsplit

from saccade.errors import SaccadeError
from saccade.web.limits import Limits

REDIRECTS = 5
PORTS = {"http": 80, "https": 443}
ALLOWED = (80, 443)
CHUNK = 1 << 16
# Addresses that stand for IPv4 ones, which are looked at in their place (RFC 6052, RFC 3056, RFC 4380).
NAT64, SIX_TO_FOUR, TEREDO = (ipaddress.IPv6Network(n) for n in ("64:ff9b::/96", "2002::/16", "2001::/32"))
# What Python 3.11 takes for public: site-local (RFC 3879), for documents (RFC 9637), 6to4's relays (RFC 7526), and the
# address at which a cloud tells its machines what only they should know.
OTHERS = [ipaddress.ip_network(net) for net in ("fec0::/10", "3fff::/20", "192.88.99.0/24", "168.63.129.16/32")]

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str, int], list[str]]


class LinkError(SaccadeError):
    """A link that is not followed, or leads to nothing.

    late   whether it took too long
    large  whether it is too much
    """

    def __init__(self, message: str, late: bool = False, large: bool = False) -> None:
        super().__init__(message)
        self.late, self.large = late, large


def resolve(host: str, port: int) -> list[str]:
    """All the addresses a name stands for; numbers in any spelling are addresses too."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def is_public(text: str) -> bool:
    """Whether an address can be anybody's: none of this machine, of a private net, of a link, of many at once."""
    try:
        address: Address = ipaddress.ip_address(text)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None:
            return False
        if address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        elif address in NAT64:
            address = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        elif address in SIX_TO_FOUR or address in TEREDO:
            return False
    if any(address in net for net in OTHERS if net.version == address.version):
        return False
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)


def fetch(link: str, limits: Limits, resolve: Resolve = resolve, is_public: Callable[[str], bool] = is_public) -> bytes:
    """What a link points to.

    resolve    host and port to addresses
    is_public  which addresses may be gone to

    Raises LinkError where it may not be followed, or there is nothing, too much, or it takes too long.
    """
    until = time.monotonic() + limits.link_seconds
    for _ in range(REDIRECTS + 1):
        host, port, secure, path = _parts(link)
        address = _address(host, port, resolve, is_public)
        try:
            content, onwards = _get(host, port, secure, path, address, until, limits)
        except TimeoutError:
            raise LinkError(f"{host} took longer than {limits.link_seconds:g} seconds", late=True) from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise LinkError(f"{host} could not be fetched from ({type(error).__name__})") from None
        if onwards is None:
            return content
        link = urljoin(link, onwards)
    raise LinkError(f"the link leads on more than {REDIRECTS} times")


def _parts(link: str) -> tuple[str, int, bool, str]:
    """Host, port, whether it is encrypted, and what is asked for. Raises LinkError."""
    if len(link) > 2000 or any(ord(letter) <= 32 or ord(letter) > 126 for letter in link):
        raise LinkError("a link has at most 2,000 letters, none of them a space; other signs are written as %..")
    try:
        parts = urlsplit(link)
        port = parts.port
    except ValueError:
        raise LinkError("that is no link") from None
    if parts.scheme not in PORTS or not parts.hostname:
        raise LinkError("a link begins with http:// or https:// and a host")
    if parts.username is not None or parts.password is not None:
        raise LinkError("links with a name or a password in them are not followed")
    if port is not None and port not in ALLOWED:
        raise LinkError("links lead to the ports 80 and 443 only")
    asked = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return parts.hostname, port or PORTS[parts.scheme], parts.scheme == "https", asked


def _address(host: str, port: int, resolve: Resolve, is_public: Callable[[str], bool]) -> str:
    """The address that is gone to. Raises LinkError where one of them is not public: then the name is a trick."""
    try:
        addresses = resolve(host, port)
    except (OSError, UnicodeError):
        raise LinkError(f"there is no {host}") from None
    if not addresses or not all(map(is_public, addresses)):
        raise LinkError(f"{host} is not on the public internet, where links may lead")
    return addresses[0]


class _Pinned(http.client.HTTPConnection):
    """A connection to one address, whatever its host is called."""

    def __init__(self, host: str, port: int, address: str, secure: bool, until: float) -> None:
        super().__init__(host, port)
        self.address, self.secure, self.until = address, secure, until

    def connect(self) -> None:
        sock = socket.create_connection((self.address, self.port), timeout=_left(self.until))
        if self.secure:
            sock = ssl.create_default_context().wrap_socket(sock, server_hostname=self.host)
        self.sock = sock


def _get(
    host: str, port: int, secure: bool, path: str, address: str, until: float, limits: Limits
) -> tuple[bytes, str | None]:
    """The content, or where it leads on to."""
    connection = _Pinned(host, port, address, secure, until)
    if secure:
        connection.default_port = PORTS["https"]  # so that the host is named without it
    connection.connect()
    sock = connection.sock
    # Each part may come just in time; all of them together must.
    timer = threading.Timer(_left(until), _hang_up, [sock])
    timer.start()
    closing = ExitStack()
    try:
        connection.request("GET", path, headers={"Accept": "image/*,video/*", "User-Agent": "saccade"})
        response = closing.enter_context(connection.getresponse())
        if response.status in (301, 302, 303, 307, 308) and (onwards := response.getheader("Location")):
            return b"", onwards
        if response.status != 200:
            raise LinkError(f"{host} answers {response.status}")
        length = response.getheader("Content-Length", "")
        if length.isdigit() and int(length) > limits.link_body:
            raise _too_large(limits)
        content = bytearray()
        while part := response.read1(CHUNK):
            content += part
            if len(content) > limits.link_body:
                raise _too_large(limits)
        _left(until)
        if length.isdigit() and len(content) < int(length):
            raise LinkError(f"{host} sent {len(content):,} of {int(length):,} bytes")
        return bytes(content), None
    except (OSError, http.client.HTTPException):
        _left(until)
        raise
    finally:
        timer.cancel()
        closing.close()
        connection.close()


def _hang_up(sock: socket.socket) -> None:
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)


def _left(until: float) -> float:
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _too_large(limits: Limits) -> LinkError:
    return LinkError(f"the link leads to more than {limits.link_body:,} bytes", large=True)
