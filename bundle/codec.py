"""The zstd library: Python's own from 3.14 on, and its backport before; where to get it, and nothing else."""

import sys

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

__all__ = ["zstd"]
