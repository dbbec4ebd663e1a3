"""Read and write the logs of other evaluation harnesses: lm-evaluation-harness and Inspect."""
