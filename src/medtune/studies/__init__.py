"""Studies: one folder each, with schema.py, study.py, analysis.py and page.py."""
