"""Forwards `python -m batchgen.runner.salvage`, which version 0.1.0 printed to users, to its new place."""

from batchgen.checkpoint.salvage import main

if __name__ == "__main__":
    main()
