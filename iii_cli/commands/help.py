"""`iii help`: the topics that belong to no single command, and any command's own help."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from iii_cli.errors import UsageProblem

__all__ = ("TOPICS", "help_app", "help_command")

help_app = typer.Typer()


@help_app.command(name="help")
def help_command(
    context: typer.Context,
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[TOPIC | COMMAND...]", help="Nothing: the list of both.", show_default=False),
    ] = None,
) -> None:
    """Explain exit-codes, environment, refs or seals, or a command.

    \b
    Examples:
      iii help exit-codes
      iii help channel write
    """
    words = words or []
    if len(words) == 1 and words[0] in TOPICS:
        sys.stdout.write(TOPICS[words[0]])
        return
    # The command that the words lead to from the root, and its context.
    at: Any = context.find_root()
    for depth, word in enumerate(words):
        command = at.command
        names = command.list_commands(at) if hasattr(command, "list_commands") else []
        found = command.get_command(at, word) if word in names else None
        if found is None:
            from iii_cli.config.store import nearest

            hint = "see `iii help`"
            if near := nearest(word, [*names, *(() if depth else TOPICS)]):
                hint = f"did you mean `iii help {' '.join([*words[:depth], near])}`?"
            raise UsageProblem(f"no topic or command {' '.join(words[: depth + 1])!r}", hint=hint)
        at = type(at)(found, info_name=word, parent=at)
    sys.stdout.write(at.command.get_help(at).rstrip("\n") + "\n")
    if not words:
        sys.stdout.write(f"\nTopics (iii help TOPIC):\n  {'  '.join(TOPICS)}\n")


# Plain text, 80 columns, a screen or so each.

_EXIT_CODES = """\
Exit codes of iii. The line on stderr says what failed, where, and what to do
next.

    0  done. `read`, `trigger --out`: every byte is here, verified where sealed.
       `write` without --receipt: the engine has every byte and the seal; the
       summary says that no reader has confirmed them
    1  the function failed, or any other failure
    2  usage error
    3  the engine is unreachable, or was lost
    4  not authorised
    5  the ref or function is unknown, or the ref has expired
    6  the ref was already used, or nothing arrived
    7  truncated: the peer vanished, or aborted
    8  the content differs from what was promised
    9  the reader left during the write; no confirmation: the reader died, or
       is not an `iii` reader; the worker was lost during the call, which may
       have run
   10  a local read or write failed
   11  COMMAND failed (--exit-code passes its own code on), or the program
       before the pipe was killed (--producer)
  124  timed out
  126  COMMAND cannot be run
  127  COMMAND not found
128+n  a signal: 130 after Ctrl-C, 143 after SIGTERM, 141 when the pipe on
       standard output was closed (`iii … | head`)

Of several failures the gravest is reported, in this order: a signal, 10, 11,
the call itself (1, 3, 4, 5, 124, or 9), 8, 7, 9, 6.

A retry makes sense after 3, 124 and a truncated 7, and after 9 if running twice
does no harm; with a new ref if one was used. It does not after 2, 4, 5, 6, 8.

    iii channel read @backup -o db.sql || case $? in
      6) echo "that ref was used before" ;;
      7) echo "the other side died, db.sql was not touched" ;;
    esac
"""

_ENVIRONMENT = """\
Environment of iii. The order of precedence: flags, --context NAME, these
variables, the context in use (`iii context use`), defaults.

The same names and meanings as in the iii SDKs:
  III_URL           the engine (default ws://localhost:49134); wss:// for TLS
  III_NAMESPACE     the namespace of functions and workers
  III_TOKEN         sent as `Authorization: Bearer …`

Of this program alone:
  III_TOKEN_FILE    a file that holds the token; `ps` and logs never see it
  III_CONTEXT       the context to use: URL, namespace and token under one name
  III_WRITER        the REF that `channel write` takes when none is given
  III_READER        the REF that `channel read` takes when none is given
                    (`eval "$(iii channel create --export)"` sets both)
  III_REQUIRE_SEAL  1: every read fails (7) on a stream without a seal
  III_PRODUCER      what a failing program before the pipe means: warn (the
                    default), strict or ignore; `iii help seals`
  III_STREAM_STATUS set for a COMMAND that reads a stream: the number of a
                    descriptor on which one line of JSON comes at the end (exit,
                    verified, bytes); no line means that the stream failed
  III_COMPLETION_TIMEOUT
                    how long TAB waits for the engine (200ms)

Common ones:
  NO_COLOR, FORCE_COLOR    no colours, or colours even where no terminal is
  TRACEPARENT              the trace that `trigger --trace` continues
  III_TRACEBACK            1: an internal error shows its traceback, which may
                           hold secrets

A context's token goes only to that context's URL. A token over plain ws:// to
another host warns once: use wss://.

A COMMAND that handles a stream does not inherit the token: neither III_TOKEN,
nor the variable that a context names for its token, nor the secrets in the
query of III_URL (?token=…). --pass-token passes them on.

`iii engine exec -- COMMAND` sets III_URL for COMMAND and clears III_TOKEN,
III_NAMESPACE and III_CONTEXT.
"""

_REFS = """\
Refs name the two ends of a channel. Each end opens once, for one stream.

A REF on the command line is one of
  @NAME                saved by `channel create --save NAME` or `ref save NAME`
  iii:read:ID:KEY      a token, one shell-safe word; iii:write:ID:KEY likewise
  {"channel_id":…}     the JSON that every SDK prints and takes
  env:NAME             the environment variable NAME holds one of these
  file:PATH            the file holds one of these
  -                    stdin holds one of these, where stdin is free

@NAME takes the end that its place needs: write and tee the writer, read the
reader. @NAME/writer and @NAME/reader name one end.

    iii channel create --save backup          both ends, saved here
    iii channel create --save backup --only reader
                                         … and print the reader's token
    iii channel write @backup < db.sql
    iii channel read "$TOKEN" -o db.sql       on another host

A ref is a secret. Both ends share one key: a holder of either ref can open
either end, with no other authentication. @NAME, env: and file: keep it out of
`ps` and of the shell's history.

A ref expires five minutes after its channel was made, unless both ends are open
by then. It is used up by one stream: reading or writing a second time is exit
6. A failure before the stream opens (a missing file, a command not found) does
not use the ref up. For more than one stream make a function: `iii serve NAME --
COMMAND`; its name is the address.

`iii ref ls` shows what is saved, unused or used or expired.
"""

_SEALS = """\
Seals: how a reader knows that it has everything.

On the raw protocol a writer that died and one that finished look the same to
the reader, and a used ref looks like an empty stream. `channel write` therefore
seals: it sends one text frame before the data and one after it, with the number
and the digest of all bytes and messages. Byte readers of every SDK skip text
frames, so they get exactly the data.

What `channel read` (and `trigger --out`) says:
    sealed, and all is right              exit 0, verified
    sealed, but the end is missing        exit 7: the writer died or vanished
    sealed, and the writer aborted        exit 7: aborted by the writer: REASON
    sealed, and something differs         exit 8
    not sealed, a clean end               exit 0, and a line that the end could
                                          not be verified; --require-seal: 7
    nothing at all                        exit 6; --allow-empty accepts it
With -o FILE the file appears under its name after exit 0, never before.

A seal is only as good as the writer's knowledge of the producer:
    iii channel write @x -- pg_dump db      the sure form: a failing pg_dump
                                            aborts the stream: 11 here, 7 there
    pg_dump db | iii channel write @x       Linux tells how the program ended,
                                            if it ran when we started, as our
                                            user, in our container:
      killed, or 126, 127, 128+n, 255       the stream is aborted: 11 and 7
      another code but 0                    sealed, and one line says so
      gone before we looked (`false |`)     sealed, and nothing is said
--producer strict aborts on every code but 0, and if the code is not known;
ignore does not look. A shell answers for its children: `(a; b) |` ends as b
ended, but a killed child aborts unless the shell ends with 0. Only the last
program before the pipe is seen; `set -o pipefail` tells your shell of others.

    --receipt      write: exit 0 only after the reader has it on disk (fsync and
                   rename), or its consumer ended with 0; else 9. Only `iii`
                   and workers with seals confirm. It also tells at once that
                   the reader left, which an idle writer without it notices
                   within 45 s
    --size N       write: other than N bytes abort the stream: 10 here, 7 there
    --no-seal      write the bare bytes
    --digest       xxh3_128 (default) or sha256, which equals `sha256sum` of the
                   data. xxh3_128 finds damage; it does not stop an attacker
    --peer-timeout read: 60 s. An idle sealed writer sends a heartbeat every
                   15 s; a reader that gets nothing for this time gives up. One
                   message takes as long as the link needs: for one of more than
                   a minute raise the limit (bytes need no such care)

Text modes into a function (`trigger --in` with --lines or --jsonl) are not
sealed unless --seal is given: an SDK's message callback would take the seal
for data.

A worker written with an SDK sees a clean end in every case, and what it writes
is not sealed, unless it uses the iii-seal module of its language (seals/ in the
sources), which also answers receipts:
    Python   async for chunk in verified(data["reader"]): ...
             async with sealed(data["writer"]) as out: await out.write(chunk)
    Node     for await (const chunk of verified(data.reader)) ...
             await sealed(data.writer, async (out) => { await out.write(it) })
    Rust     let mut source = verified(&address, &reader); source.next().await
             let mut out = sealed(&address, &writer); out.close().await
"""

TOPICS: dict[str, str] = {
    "exit-codes": _EXIT_CODES,
    "environment": _ENVIRONMENT,
    "refs": _REFS,
    "seals": _SEALS,
}
