"""From a request to guarded option scores: predictor, batching, shadow."""
