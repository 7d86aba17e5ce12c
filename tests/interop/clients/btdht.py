"""`btdht` of PyPI. It pads tokens with NUL bytes, and cuts ids and tokens at the first NUL."""

import os
import subprocess

from .client import PORT, DrivenNode

# The interpreter whose packages have it.
PYTHON = os.environ.get("INTEROP_BTDHT", "")


class Btdht(DrivenNode):
    NAME, HOST = "btdht", "10.67.1.1"

    @classmethod
    def lacking(cls):
        return None if PYTHON else "the PyPI package is not installed"

    @classmethod
    def version(cls):
        ask = "import importlib.metadata as m; print('btdht', m.version('btdht'))"
        said = subprocess.run([PYTHON, "-c", ask], capture_output=True, text=True, timeout=20)
        return said.stdout.strip()

    def line(self):
        script = os.path.join(os.path.dirname(__file__), "btdht_node.py")
        return [PYTHON, "-u", "-B", script, self.HOST, str(PORT), *self.bootstrap]
