"""What bounds the embedded engine, each limit with its reason."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ("SECOND", "Settings")

SECOND = 1_000_000_000  # the engine counts nanoseconds since the epoch


@dataclass(frozen=True, slots=True)
class Settings:
    """The knobs of one engine. Durations are in nanoseconds, as all its times are."""

    grace: int = 5 * SECOND  # protocol.md 1.4: registrations wait so long for the announce
    channel_age_max: int = 300 * SECOND  # 4.5: older channels with an end never taken are swept
    sweep_every: int = 60 * SECOND  # 4.5
    poll_every: int = 5 * SECOND  # 3.9: how often functions-available is looked at
    trigger_answer_max: int = 10 * SECOND  # 2.7: what engine::register_trigger waits for the provider
    max_channels: int = 10_000  # open ones; a channel that nobody uses is swept within six minutes
    max_buffer_bytes: int = 64 << 20  # per channel: one message of the largest kind
    max_total_bytes: int = 1 << 30  # in all channels: beyond this no new channel is made
    max_unfinished_bytes: int = 1 << 30  # of messages that are not whole, beyond 1 MiB for each connection
    max_tombstones: int = 10_000  # finished channels that still answer 101 and Close to a late end
    max_connections: int = 8192  # sockets of every kind
    max_outgoing_bytes: int = 128 << 20  # unsent to one worker: two messages of the largest kind
    max_held_bytes: int = 64 << 20  # what one worker's registrations may take
    max_registrations: int = 20_000  # functions, triggers and trigger types of one worker
    max_in_flight: int = 100_000  # unanswered calls of one worker
    max_spans: int = 20_000  # finished spans that are kept
    max_span_bytes: int = 32 << 20  # and what they may take together
    max_logs: int = 10_000  # log records that are kept
    max_log_bytes: int = 16 << 20  # and what they may take together
