"""What the sandbox has to tell: a generator for every method, in modules by subject, listed in ``served``.

The same seed makes the same rows for any day of any year. ``cast`` holds who and what the rows speak of; reports of one
day are made of each other where they must agree: visits around calls, contacts during visits, legs and charges of
calls, messages of chats. Nothing here knows of requests, pages or points.
"""
