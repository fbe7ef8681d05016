"""Models that learn while they code: integer predictors, contexts, counters and mixing, with nothing to train.

``program`` is what a model file says, proved; ``kernel`` the compiled loop, ``state`` what it has learned, ``learner``
sequences of images in and out; ``presets`` are programs that do well. ``laws.adaptive`` makes a law of it.
"""
