"""The checker of drills: was every acknowledged order kept, once, as it was agreed?

It knows nothing of the product's code and imports none of it: it reads the history of a drill, the database
by table names and the HTTP API as any client would, and decides.
`python -m standfest.emergency.drills.checker --help` says how to run it.
"""
