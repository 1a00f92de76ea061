"""Addresses on the web: told from paths, and written in ASCII as HTTP takes them."""

from __future__ import annotations

import ipaddress
import re
import string
from urllib.parse import SplitResult, quote, unquote, urlsplit, urlunsplit

from disco.errors import shortened

MOST_CHARACTERS = 8000  # servers refuse longer addresses
_MOST_IN_HOST = 253  # what the domain name system takes


def is_url(name: str) -> bool:
    """Whether this is an address to be fetched rather than a path; capitals in `HTTP:` count."""
    return re.match(r"https?:/", name, re.IGNORECASE) is not None


def ascii_url(url: str) -> str:
    """The address in ASCII: the host by IDNA, the rest with %XX; what has its %XX already stays.

    Raises ValueError with the reason, in words, for an address that http and https cannot have.
    """
    if len(url) > MOST_CHARACTERS:
        raise ValueError(f"the address has {len(url)} characters, {MOST_CHARACTERS} at most are allowed")
    if re.search(r"[\x00-\x1f\x7f]", url):
        raise ValueError("the address holds a control character or a line break")
    if re.search(r"[\ud800-\udfff]", url):
        raise ValueError("the address holds half a character (a lone surrogate)")
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError as error:
        raise ValueError("the host in the address cannot be read") from error
    if parts.scheme not in ("http", "https"):
        raise ValueError("only http and https addresses can be fetched")
    if parts.username is not None:
        raise ValueError("addresses with a user name or password are not supported")
    netloc = _ascii_host(host or "") + _port(parts)
    path, query = (quote(text, safe=string.punctuation) for text in (parts.path or "/", parts.query))
    return urlunsplit((parts.scheme, netloc, path, query, ""))


def _ascii_host(host: str) -> str:
    if not host:
        raise ValueError("the address names no host")
    fault = f"{shortened(host)} cannot be the name of a host"
    try:
        if ":" in host:
            return f"[{ipaddress.IPv6Address(host)}]"
        name = unquote(host)
        name = name.encode("idna").decode("ascii") if len(name) <= _MOST_IN_HOST else ""
    except ValueError as error:
        raise ValueError(fault) from error
    if not re.fullmatch(r"[A-Za-z0-9._-]+", name):
        raise ValueError(fault)
    return name


def _port(parts: SplitResult) -> str:
    try:
        port = parts.port
    except ValueError:
        port = 0
    if port == 0:
        raise ValueError("the port in the address is no number from 1 to 65535")
    return "" if port is None else f":{port}"
