"""Where raw data can come from, one file each."""
