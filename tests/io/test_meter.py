"""What a meter reads off."""

from __future__ import annotations

from iii_cli.io.progress import Meter


def test_the_clock_begins_with_the_stream() -> None:
    meter = Meter(total=100)
    meter.start(50.0)
    meter.moved(10)
    now = meter.look(52.0)
    assert (now.moved, now.total, now.seconds, now.rate) == (10, 100, 2.0, 5.0)


def test_a_stream_that_is_over_waits_for_nothing() -> None:
    over = False
    meter = Meter(over=lambda: over)
    assert meter.look(5.0).waiting == "nothing has moved for 5 s"
    over = True
    now = meter.look(6.0)
    assert (now.waiting, now.over) == (None, True)


def test_what_is_known_is_asked_for() -> None:
    meter = Meter(waiting=lambda seconds: f"for {seconds:g}", over=lambda: True)
    assert meter.look(2.9).waiting is None
    assert meter.look(3.5).waiting == "for 3.5"
