"""What drives the installed `iii` and what stands in for its peers: processes, sockets, terminals, raw JSON.

Nothing here imports `iii_cli`: what tests drive from outside stays as it is when the inside is built anew.
"""
