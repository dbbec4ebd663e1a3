"""Rules on an inquiry: crises, scope, injections and sensitive topics."""
