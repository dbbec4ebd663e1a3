"""The endpoint's database: requests, reviews, keys, audit log."""
