"""The devices of a made-up market: which phones, systems, cities and networks there are, and how common each is. PURE.

It knows neither programs nor questions. Weights are rough figures of a large Asian market, and their only use is that
conditions over them refuse and admit realistic shares of devices.
"""

from collections.abc import Mapping
from itertools import accumulate
from random import Random
from types import MappingProxyType

# Platform, manufacturer, model; the number is how common it is.
HANDSETS = (
    ("android", "Xiaomi", "MI 10", 30),
    ("android", "Xiaomi", "Xiaomi 13 Pro", 34),
    ("android", "Xiaomi", "Xiaomi 14", 40),
    ("android", "Xiaomi", "Redmi Note 12", 52),
    ("android", "Xiaomi", "Redmi Note 13 Pro", 48),
    ("android", "Xiaomi", "Redmi K70", 31),
    ("android", "HUAWEI", "P40 Pro", 28),
    ("android", "HUAWEI", "nova 9", 33),
    ("android", "HUAWEI", "Mate 40 Pro", 36),
    ("android", "OPPO", "Reno 10", 45),
    ("android", "OPPO", "Find X6 Pro", 22),
    ("android", "OPPO", "A96", 38),
    ("android", "vivo", "X90 Pro+", 25),
    ("android", "vivo", "S17", 37),
    ("android", "vivo", "Y77", 41),
    ("android", "HONOR", "Magic5", 30),
    ("android", "HONOR", "HONOR 90", 43),
    ("android", "HONOR", "X50 GT", 27),
    ("android", "samsung", "SM-S9180", 18),
    ("android", "samsung", "SM-A5460", 21),
    ("android", "OnePlus", "PJD110", 16),
    ("android", "realme", "GT Neo5", 19),
    ("ios", "Apple", "iPhone 11", 33),
    ("ios", "Apple", "iPhone 12", 40),
    ("ios", "Apple", "iPhone 13 Pro", 44),
    ("ios", "Apple", "iPhone 14", 38),
    ("ios", "Apple", "iPhone 15 Pro Max", 42),
    ("harmony", "HUAWEI", "Mate 60 Pro", 46),
    ("harmony", "HUAWEI", "Pura 70", 29),
    ("harmony", "HUAWEI", "nova 12", 26),
)
# By platform the versions of the system; the number is how common it is.
SYSTEMS: Mapping[str, tuple[tuple[str, int], ...]] = MappingProxyType(
    {
        "android": (("9", 4), ("10", 10), ("11", 13), ("12", 22), ("13", 27), ("14", 30), ("15", 8)),
        "ios": (("15.8.2", 8), ("16.7.8", 17), ("17.4.1", 22), ("17.6.1", 30), ("18.1", 20)),
        "harmony": (("3.1.0", 18), ("4.0.0", 32), ("4.2.0", 40), ("5.0.1", 12)),
    }
)
# City, region; the number is how common it is.
CITIES = (
    ("Beijing", "CN-BJ", 90),
    ("Shanghai", "CN-SH", 100),
    ("Tianjin", "CN-TJ", 42),
    ("Chongqing", "CN-CQ", 60),
    ("Guangzhou", "CN-GD", 74),
    ("Shenzhen", "CN-GD", 78),
    ("Dongguan", "CN-GD", 40),
    ("Foshan", "CN-GD", 34),
    ("Hangzhou", "CN-ZJ", 58),
    ("Ningbo", "CN-ZJ", 34),
    ("Wenzhou", "CN-ZJ", 29),
    ("Nanjing", "CN-JS", 42),
    ("Suzhou", "CN-JS", 52),
    ("Wuxi", "CN-JS", 27),
    ("Chengdu", "CN-SC", 72),
    ("Mianyang", "CN-SC", 14),
    ("Wuhan", "CN-HB", 56),
    ("Xiangyang", "CN-HB", 15),
    ("Xi'an", "CN-SN", 48),
    ("Zhengzhou", "CN-HA", 46),
    ("Luoyang", "CN-HA", 20),
    ("Changsha", "CN-HN", 38),
    ("Qingdao", "CN-SD", 36),
    ("Jinan", "CN-SD", 33),
    ("Fuzhou", "CN-FJ", 28),
    ("Xiamen", "CN-FJ", 22),
    ("Hefei", "CN-AH", 32),
    ("Shenyang", "CN-LN", 30),
    ("Dalian", "CN-LN", 24),
    ("Kunming", "CN-YN", 28),
    ("Nanning", "CN-GX", 24),
    ("Harbin", "CN-HL", 26),
)
APPS = tuple((f"10.{minor}.{patch}", 4 + 9 * minor + patch) for minor in range(6) for patch in range(0, 60, 10))
NETWORKS = (("wifi", 52), ("5g", 27), ("4g", 17), ("3g", 2), ("2g", 1), ("other", 1))
LOCALES = (("zh-CN", 84), ("en-US", 7), ("zh-HK", 4), ("zh-TW", 3), ("ja-JP", 2))
TIERS = (("bronze", 46), ("silver", 30), ("gold", 17), ("platinum", 7))
COUNTRY = "CN"
# The share of devices that say nothing of their city and region, as where location is not permitted; percent.
SILENT_PERCENT = 4

# A device without an id: what is the same for all that are like it.
Profile = dict[str, object]
# For each attribute, how many of 1,000,000 devices send each value.
Shares = Mapping[str, Mapping[str, int]]
MILLION = 1_000_000


class _Choice:
    """A weighted choice: `draw` picks an index as often as its weight says."""

    def __init__(self, weights: list[int]) -> None:
        self._ends = list(accumulate(weights))
        self._places = range(len(weights))

    def draw(self, random: Random) -> int:
        return random.choices(self._places, cum_weights=self._ends)[0]


_HANDSET = _Choice([one[3] for one in HANDSETS])
_SYSTEM = {platform: _Choice([weight for _, weight in systems]) for platform, systems in SYSTEMS.items()}
_CITY = _Choice([one[2] for one in CITIES])
_APP = _Choice([weight for _, weight in APPS])
_NETWORK = _Choice([weight for _, weight in NETWORKS])
_LOCALE = _Choice([weight for _, weight in LOCALES])
_TIER = _Choice([weight for _, weight in TIERS])


def draw_profile(random: Random) -> Profile:
    """Returns a device as its question's `device` member has it, all but the id."""
    platform, manufacturer, model, _ = HANDSETS[_HANDSET.draw(random)]
    profile: Profile = {
        "user": f"u-{random.getrandbits(40):010x}",
        "platform": platform,
        "os": SYSTEMS[platform][_SYSTEM[platform].draw(random)][0],
        "app": APPS[_APP.draw(random)][0],
        "manufacturer": manufacturer,
        "model": model,
        "network": NETWORKS[_NETWORK.draw(random)][0],
        "country": COUNTRY,
        "locale": LOCALES[_LOCALE.draw(random)][0],
        "tags": {"tier": TIERS[_TIER.draw(random)][0]},
    }
    if random.randrange(100) >= SILENT_PERCENT:
        profile["city"], profile["region"], _ = CITIES[_CITY.draw(random)]
    return profile


def count_shares() -> Shares:
    """Returns how common each value of each attribute is, in devices of a million."""
    said = 100 - SILENT_PERCENT
    return {
        "platform": _share([(platform, weight) for platform, _, _, weight in HANDSETS], 100),
        "manufacturer": _share([(maker, weight) for _, maker, _, weight in HANDSETS], 100),
        "model": _share([(model, weight) for _, _, model, weight in HANDSETS], 100),
        "os": _share_systems(),
        "app": _share(APPS, 100),
        "network": _share(NETWORKS, 100),
        "locale": _share(LOCALES, 100),
        "tags.tier": _share(TIERS, 100),
        "city": _share([(city, weight) for city, _, weight in CITIES], said),
        "region": _share([(region, weight) for _, region, weight in CITIES], said),
    }


def _share_systems() -> dict[str, int]:
    platforms = _share([(platform, weight) for platform, _, _, weight in HANDSETS], 100)
    shares: dict[str, int] = {}
    for platform, share in platforms.items():
        for version, part in _share(SYSTEMS[platform], 100).items():
            shares[version] = share * part // MILLION
    return shares


def _share(weighted: tuple[tuple[str, int], ...] | list[tuple[str, int]], percent: int) -> dict[str, int]:
    """Each value's share where `percent` of the devices send one at all."""
    whole = sum(weight for _, weight in weighted)
    weights: dict[str, int] = {}
    for value, weight in weighted:
        weights[value] = weights.get(value, 0) + weight
    return {value: weight * MILLION * percent // (100 * whole) for value, weight in weights.items()}
