"""Options in, one order out: parse, call the client, choose what to print. No loops, no sockets."""
