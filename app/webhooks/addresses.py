"""Which addresses a webhook may go to: otherwise a caller could have our network's own machines called."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

# An IPv4 address lies in the last 32 bits of these (RFC 6052), and a gateway would bring us to it.
_NAT64 = (IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48"))


def is_public(text: str) -> bool:
    """Whether this is the address of a machine on the open internet; False for what is no address."""
    try:
        address = ip_address(text)
    except ValueError:
        return False
    return all(_is_public(one) for one in (address, *_hidden_in(address)))


def is_address(text: str) -> bool:
    """Whether this is an address and no name."""
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _is_public(address: IPv4Address | IPv6Address) -> bool:
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)


def _hidden_in(address: IPv4Address | IPv6Address) -> list[IPv4Address]:
    """The IPv4 addresses that an IPv6 one leads to."""
    if isinstance(address, IPv4Address):
        return []
    teredo = address.teredo or ()
    mapped = [*(one for one in (address.ipv4_mapped, address.sixtofour) if one is not None), *teredo]
    if any(address in network for network in _NAT64):
        mapped.append(IPv4Address(int(address) & 0xFFFFFFFF))
    return mapped
