"""One thin file per verb: arguments, help and printing. Heavy imports are inside the functions."""

# In the order in which one needs them.
VERBS = (
    *("prepare", "mix", "train", "eval", "separate", "activity", "extract", "enroll", "profile"),
    *("serve", "models", "config", "doctor"),
)
