"""What `iii channel create` does with its options."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from msgspec import Struct

from iii_cli.client.call import create_channel
from iii_cli.config.store import SavedRef, SavedRefs, absolute
from iii_cli.errors import UsageProblem

if TYPE_CHECKING:
    from iii_cli.config.settings import Settings
    from iii_cli.protocol.refs import ChannelRef

__all__ = ("CreateOrder", "create_channel_ends")


class CreateOrder(Struct, frozen=True):
    """The options, as typed."""

    buffer: int | None
    json: bool
    export: bool
    only: str | None
    save: str | None
    force: bool


def create_channel_ends(settings: Settings, order: CreateOrder) -> None:
    """Make the channel, save it where asked, print what was asked for."""
    if sum((order.json, order.export, order.only is not None)) > 1:
        raise UsageProblem("one of --json, --export and --only is enough")
    if order.only not in (None, "writer", "reader"):
        raise UsageProblem("--only is writer or reader")
    if order.buffer is not None and not 1 <= order.buffer <= 1024:
        raise UsageProblem("--buffer is a number of messages from 1 to 1024")
    name = None if order.save is None else order.save.removeprefix("@")
    if name is not None:
        SavedRefs().check_free(name, force=order.force)
    writer, reader = create_channel(settings.endpoint, order.buffer)
    if name is not None:
        _save(settings, order, name, writer)
    sys.stdout.write(_printed(order, writer, reader))


def _save(settings: Settings, order: CreateOrder, name: str, ref: ChannelRef) -> None:
    store = SavedRefs()
    saved = SavedRef(
        name=name,
        channel_id=ref.channel_id,
        access_key=ref.access_key,
        engine_url=settings.endpoint.address.full_url,
        created_at=store.now(),
        buffer=order.buffer,
        tls=absolute(settings.endpoint.tls),
    )
    store.save(saved, force=order.force)


def _printed(order: CreateOrder, writer: ChannelRef, reader: ChannelRef) -> str:
    if order.json:
        return json.dumps({"writer": writer.to_json(), "reader": reader.to_json()}, indent=2) + "\n"
    if order.export:
        return f"export III_WRITER={writer.to_token()}\nexport III_READER={reader.to_token()}\n"
    if order.only is not None:
        return f"{(writer if order.only == 'writer' else reader).to_token()}\n"
    if order.save is not None:
        return ""
    return f"writer\t{writer.to_token()}\nreader\t{reader.to_token()}\n"
