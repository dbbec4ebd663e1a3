"""What all rooms speak: records, errors, configuration, the prompt, the seam to models."""
