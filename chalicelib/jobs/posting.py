"""POSTs to addresses that clients name. Nothing of a private network can be reached by them.

A name is resolved once, each of its addresses must be public, and the connection goes to the one that was
checked: a name whose address changes in between changes nothing. TLS is verified against the name. Redirects
are not followed, and no proxy of the environment is used.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
import time
from collections.abc import Sequence
from threading import Timer
from typing import Any, NamedTuple
from urllib.parse import SplitResult, urlsplit

from chalicelib.settings import settings

SECONDS = 10  # for all of it, whatever the receiver does
type _Address = ipaddress.IPv4Address | ipaddress.IPv6Address
# Of getaddrinfo: family, type, protocol, canonical name, address.
type _Found = tuple[int, int, int, str, tuple[Any, ...]]

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052
_COMPATIBLE = ipaddress.IPv6Network("::/96")  # RFC 4291, 2.5.5.1
_PORTS = {"https": 443, "http": 80}


class Answer(NamedTuple):
    """What a receiver answered: a status, or a sentence that says why there is none."""

    status: int | None
    error: str = ""


class _NotPublic(Exception):
    """The address may not be sent to."""


def post(url: str, headers: dict[str, str], body: bytes) -> Answer:
    """POST a body; never raises for what the receiver, the network or the URL does."""
    until = time.monotonic() + SECONDS
    try:
        address = urlsplit(url)
        port = address.port or _PORTS[address.scheme]
        connected = _connect(address, port, until)
    except _NotPublic as error:
        return Answer(None, str(error))
    except (OSError, ValueError) as error:
        return Answer(None, _sentence("There is no connection", error))
    # A receiver that sends a byte now and then would outlast any timeout of a single read.
    timer = Timer(max(0.0, until - time.monotonic()), _shut, (connected,))
    timer.start()
    try:
        connection = http.client.HTTPConnection(address.hostname or "", port)
        connection.sock = connected
        target = address.path or "/"
        if address.query:
            target += f"?{address.query}"
        connection.request("POST", target, body, {**headers, "Host": address.netloc})
        return Answer(connection.getresponse().status)
    except (OSError, http.client.HTTPException, ValueError) as error:
        if time.monotonic() >= until:
            return Answer(None, f"There was no answer within {SECONDS} s.")
        return Answer(None, _sentence("There was no answer", error))
    finally:
        timer.cancel()
        connected.close()


def _connect(address: SplitResult, port: int, until: float) -> socket.socket:
    """A connection to a checked address of the URL's host, with TLS where the URL says so."""
    host = address.hostname or ""
    is_open = settings().webhook_targets == "any"
    if address.scheme != "https" and not is_open:
        raise _NotPublic("Webhooks go to https alone.")
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    if not is_open and not all(is_public(str(place[0])) for *_, place in found):
        raise _NotPublic(f"{host} has an address that is not public.")
    connected = _first_connected(found, until)
    try:
        if address.scheme != "https":
            return connected
        connected.settimeout(max(0.1, until - time.monotonic()))
        return ssl.create_default_context().wrap_socket(connected, server_hostname=host)
    except BaseException:
        connected.close()
        raise


def _first_connected(found: Sequence[_Found], until: float) -> socket.socket:
    """A connection to the first of some addresses that takes one."""
    refused = OSError()
    for family, kind, protocol, _, place in found:
        connected = socket.socket(family, kind, protocol)
        try:
            connected.settimeout(max(0.1, until - time.monotonic()))
            connected.connect(place)
        except OSError as error:
            connected.close()
            refused = error
        else:
            return connected
    raise refused


def is_public(text: str) -> bool:
    """Whether an address is of the public internet, also by the IPv4 address that it may wrap."""
    address = _unwrapped(ipaddress.ip_address(text.partition("%")[0]))
    return address.is_global and not address.is_multicast


def _unwrapped(address: _Address) -> _Address:
    if isinstance(address, ipaddress.IPv4Address):
        return address
    wrapped = address.ipv4_mapped or address.sixtofour or (address.teredo and address.teredo[1])
    if wrapped:
        return wrapped
    if address in _NAT64 or address in _COMPATIBLE:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def _shut(connected: socket.socket) -> None:
    try:
        connected.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # it is closed already


def _sentence(what: str, error: Exception) -> str:
    return f"{what}: {type(error).__name__}."
