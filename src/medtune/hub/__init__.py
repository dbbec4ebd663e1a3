"""Speak with the Hugging Face Hub: downloads, uploads, and its errors as medtune's."""
