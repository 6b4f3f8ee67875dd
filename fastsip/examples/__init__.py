"""Small programs that embed fastsip: `python -m fastsip.examples.parse` and so on."""
