"""`streamgmm demo`: an embedded broker, a real stream with labelled faults, the real daemon, and an honest verdict."""
