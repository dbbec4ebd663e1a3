"""LoRA adapters and full fine-tuning: attach, train, save, pool."""
