"""Other implementations, one module each, with a common interface: see `client.py`."""
