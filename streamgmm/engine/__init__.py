"""The pure state machine that daemon and library share: rows in, verdicts out, a model that keeps itself fitted.

It knows no Kafka, no files, no clock but the rows' own time, and no threads but through the refit runner it is given.
"""
