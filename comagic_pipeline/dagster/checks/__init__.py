"""Asset checks: a module for each, or for those that one look at the warehouse answers.

`finding` is what they are made of, `of_source` lists the checks of a source.
"""
