"""Settings: one frozen dataclass, read once from a TOML file and the environment."""

from settings.errors import SettingsError
from settings.reader import describe, read
from settings.setting import Row

__all__ = ["Row", "SettingsError", "describe", "read"]
