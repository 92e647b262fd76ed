"""``python -m edgelr`` is the command line."""
from edgelr.cli import main

main()
