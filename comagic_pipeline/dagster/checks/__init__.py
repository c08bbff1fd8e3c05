"""Asset checks: what a user looks at to know that all is well. A module for each, or for those of one look at the
warehouse; `finding` is what they are made of, `of_source` says which assets have which.
"""
