"""What differs from one Python to the next."""

import sys

READS_DEEP = sys.version_info >= (3, 14)
"""Whether JSON that is nested a hundred thousand deep is read: recursion is bounded by the stack there, and by a count
before."""
