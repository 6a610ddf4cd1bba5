"""``python -m fastleuk``."""

from fastleuk.cli import main

if __name__ == "__main__":
    main()
