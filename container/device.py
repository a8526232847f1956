"""What a device tells about itself; nothing here finds it out, the host app knows."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Device:
    """A device, as it asks: `id` never changes, `platform` is android, ios or harmony, all else may be empty.

    `network` is wifi, 2g to 5g, cellular or other; `tags` are free. An edge refuses strings over 256 characters.
    """

    id: str
    platform: str
    user: str = ""
    os: str = ""
    app: str = ""
    manufacturer: str = ""
    model: str = ""
    network: str = ""
    city: str = ""
    region: str = ""
    country: str = ""
    locale: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
