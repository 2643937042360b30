"""The version of the package: one for each change of what is stored or seen (docs/upgrading.md)."""

__version__ = "0.8.5"
