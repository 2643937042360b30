"""Where bytes lie: paths and object stores, folders, files that appear whole, locks."""
