"""Where a channel may connect to: hosts of an allow-list, at addresses that are public or stand in the list.

A name is resolved once, and what is dialled is the address that was checked: a name that changes its mind in between
(DNS rebinding) changes nothing. An entry of the list is a host (``hooks.slack.com``), a host that is spoken to without
TLS (``http://relay.internal:8080``), an address or a network (``10.1.2.3``, ``10.1.0.0/16``). A host whose address is
private, of this machine or of this link is refused unless that address stands in the list, too: a public name that
was pointed inwards is no way in.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from abaco_loans.outputs.channels.base import ChannelError

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_ENTRY = re.compile(
    r"(?:(?P<scheme>https?)://)?(?P<host>\[[0-9a-f:.]+\]|[a-z0-9_](?:[a-z0-9._-]*[a-z0-9_])?)(?::(?P<port>\d{1,5}))?"
)
_NAT64 = ip_network("64:ff9b::/96")
# RFC 6761: never anything else.
_LOCALHOST = (ip_network("127.0.0.1/32"), ip_network("::1/128"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A host of the list; ``port`` None: any."""

    host: str
    port: int | None
    plain_http: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class AllowedHosts:
    """The allow-list."""

    entries: tuple[Entry, ...]
    networks: tuple[Network, ...]

    def allows(self, host: str, port: int, *, plain_http: bool = False) -> bool:
        """Whether the host stands in the list; without TLS only where its entry says so."""
        return any(
            entry.host == host and entry.port in (None, port) and (entry.plain_http or not plain_http)
            for entry in self.entries
        )

    def reachable(self, address: Address) -> bool:
        """Whether an address may be dialled: it is public, or stands in the list."""
        inner = _inner(address)
        if any(inner.version == network.version and inner in network for network in self.networks):
            return True
        return inner.is_global and not inner.is_multicast


def allowed_hosts(entries: Iterable[str]) -> AllowedHosts:
    """The allow-list from its entries.

    Raises:
        ValueError: an entry is none; it names the entry.
    """
    hosts: list[Entry] = []
    networks: list[Network] = []
    for text in entries:
        entry = text.strip().lower()
        network = _network(entry)
        if network is not None:
            networks.append(network)
            if network.num_addresses == 1:
                hosts.append(Entry(host=str(network.network_address), port=None, plain_http=False))
            continue
        found = _ENTRY.fullmatch(entry)
        port = int(found["port"]) if found and found["port"] else None
        if found is None or (port is not None and not 0 < port < 65536):
            raise ValueError(f"{text!r} is no host: write a name, http://name:port, an address or a network")
        host = found["host"].strip("[]")
        hosts.append(Entry(host=host, port=port, plain_http=found["scheme"] == "http"))
        literal = _network(host)
        networks += [literal] if literal else _LOCALHOST if host == "localhost" else []
    return AllowedHosts(entries=tuple(hosts), networks=tuple(networks))


def dial(host: str, port: int, allowed: AllowedHosts) -> tuple[str, ...]:
    """The addresses of a host that may be dialled, as text, in the resolver's order; never none.

    Args:
        host: in the list already (`AllowedHosts.allows`).

    Raises:
        ChannelError: ALR-205 it does not resolve; ALR-204 every address it has is private and not in the list.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise unreachable(host, "its name does not resolve") from None
    addresses = tuple(dict.fromkeys(str(item[4][0]) for item in found))
    usable = tuple(text for text in addresses if allowed.reachable(ip_address(text)))
    if not usable:
        raise ChannelError(
            f"{host} is at {', '.join(addresses)}, which is no public address",
            code="ALR-204",
            where=host,
            hint="where that is meant, add the address to allowed_hosts in alerts.yml, too",
        )
    return usable


def unreachable(host: str, why: str) -> ChannelError:
    """The receiver could not be reached."""
    return ChannelError(
        f"{host} cannot be reached: {why}",
        code="ALR-205",
        where=host,
        hint="it is tried again; look at the network, the name and the receiver's certificate if it stays so",
    )


def not_allowed(host: str) -> ChannelError:
    """The host is not in the list."""
    return ChannelError(
        f"{host} is not in allowed_hosts",
        code="ALR-203",
        where=host,
        hint="add it to allowed_hosts in alerts.yml if that is where alerts go; without TLS as http://NAME",
    )


def _inner(address: Address) -> Address:
    """The IPv4 address that an IPv6 address stands for, if it does: mapped, 6to4, or through NAT64."""
    if isinstance(address, IPv6Address):
        if address in _NAT64:
            return IPv4Address(int(address) & 0xFFFFFFFF)
        return address.ipv4_mapped or address.sixtofour or address
    return address


def _network(text: str) -> Network | None:
    try:
        return ip_network(text)
    except ValueError:
        return None
