"""The edge server: answers devices from memory, synchronized through Redis."""

from edge.errors import EdgeError
from edge.main import run_edge
from edge.settings import EdgeSettings, read_settings

__all__ = ["EdgeError", "EdgeSettings", "read_settings", "run_edge"]
