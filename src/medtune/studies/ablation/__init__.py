"""Mend the seed notebook's mistakes one at a time, and measure each."""
