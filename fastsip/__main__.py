"""`python -m fastsip`."""

from fastsip.cli import main

if __name__ == "__main__":
    main()
