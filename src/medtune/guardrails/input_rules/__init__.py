"""Match texts that must not reach the model: crises, patients, injections."""
