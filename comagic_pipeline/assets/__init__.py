"""Assets: one factory per kind of table. What is common to them is in `days`; the loads themselves are in `api` and
`warehouse`.
"""
