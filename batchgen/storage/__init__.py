"""Files and folders: paths, object stores, atomic writes, listings, locks."""
