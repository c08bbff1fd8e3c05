"""Loads as steps of a run: whose rows, which days, what the journal records. Reading and storing is not done here."""
