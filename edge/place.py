"""Where a device is, if it does not say: by a trusted proxy's header, or by the address that it comes from. PURE.

What the device says stays; only what is absent is filled in. Who is believed is a matter of addresses: a header, and an
X-Forwarded-For, count from a trusted proxy alone. How an address is looked up is not known here.
"""

from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, Protocol
from urllib.parse import unquote_to_bytes

from msgspec import Struct
from msgspec.structs import replace

from edge.body import MAX_STRING
from edge.memory import Memory
from edge.sender import Sender
from ruleset import Device

MEMBERS: Final = ("country", "region", "city")
FORWARDED: Final = b"x-forwarded-for"
# Proxies that a request may have come through; a longer list is made up to be walked.
MAX_HOPS: Final = 16
# Addresses whose trust is remembered: made-up ones cost no more memory than this.
MAX_JUDGED: Final = 16_384

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


class Place(Struct, frozen=True, gc=False):
    """Where an address is, as far as somebody knows: an ISO 3166 country, an ISO 3166-2 region, a city's name."""

    country: str = ""
    region: str = ""
    city: str = ""


NOWHERE: Final = Place()


class Gazetteer(Protocol):
    """Whoever knows where addresses are."""

    def find(self, address: Address) -> Place:
        """Returns where an address is."""


def read_network(text: str) -> Network:
    """Returns the network of a CIDR, or of one address.

    Raises:
        ValueError: it is none, or has bits of a host.
    """
    try:
        return ip_network(text)
    except ValueError as error:
        raise ValueError(f"expected a network like 10.0.0.0/8, got {text!r}: {error}") from None


class Locator:
    """Fills in where devices are.

    Args:
        proxies: the networks of proxies that are believed.
        headers: the field, in small letters, in which they tell a member of a place.
        gazetteer: knows where addresses are; None where nobody does.
    """

    def __init__(self, proxies: Sequence[Network], headers: Mapping[str, bytes], gazetteer: Gazetteer | None) -> None:
        self._proxies, self._headers, self._gazetteer = proxies, headers, gazetteer
        self._judged: Memory[str, tuple[Address | None, bool]] = Memory(MAX_JUDGED)
        self.wanted = (*headers.values(), *([FORWARDED] if gazetteer else []))

    def locate(self, device: Device, sender: Sender) -> Device:
        """Returns the device with what it does not say of its place, where that is known."""
        missing = [name for name in MEMBERS if not getattr(device, name)]
        if not missing:
            return device
        peer, is_trusted = self._judge(sender.peer)
        found = {name: self._read_header(name, sender) for name in missing} if is_trusted else {}
        if self._gazetteer and not all(found.get(name) for name in missing):
            address = self._find_forwarded(sender) if is_trusted else peer
            place = self._gazetteer.find(address) if address else NOWHERE
            found = {name: found.get(name) or getattr(place, name) for name in missing}
        found = {name: text for name, text in found.items() if text}
        return replace(device, **found) if found else device

    def _judge(self, text: str) -> tuple[Address | None, bool]:
        """The address that a text is, and whether it is a proxy's."""
        return self._judged.find(text) or self._judged.keep(text, self._read(text))

    def _read(self, text: str) -> tuple[Address | None, bool]:
        address = read_address(text)
        return address, address is not None and any(address in network for network in self._proxies)

    def _read_header(self, name: str, sender: Sender) -> str:
        """A header is percent-encoded or UTF-8, or both; one that is neither, or too long for a text, says nothing."""
        header = self._headers.get(name)
        value = sender.find_one(header) if header else b""
        try:
            text = unquote_to_bytes(value).decode("utf-8")
        except UnicodeDecodeError:
            return ""
        return text if len(text) <= MAX_STRING else ""

    def _find_forwarded(self, sender: Sender) -> Address | None:
        """The last address of the chain that is no proxy's: those before it may be made up."""
        hops = b",".join(sender.fields.get(FORWARDED, ())).split(b",")
        for hop in hops[: -MAX_HOPS - 1 : -1]:
            address, is_proxy = self._judge(hop.decode("ascii", "replace").strip())
            if not is_proxy:
                return address
        return None


def read_address(text: str) -> Address | None:
    """Returns an address as proxies write it, a port left away and an IPv4 one as such; None where it is none."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return (isinstance(address, IPv6Address) and address.ipv4_mapped) or address
