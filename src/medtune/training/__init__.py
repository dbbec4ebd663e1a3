"""Fine-tune a model: data order, loss, optimizer, checkpoints, trackers."""
