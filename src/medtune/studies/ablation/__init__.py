"""Fix the seed notebook's bugs one at a time, and measure what each cost."""
