"""Other implementations, one module each, all started and asked the same way: see `client.py`."""
