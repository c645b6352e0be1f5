"""A trial of this machine's GPU: what only a card can answer, in one command; ``docs/gpu/README.md`` explains it."""
