"""Run the session and draw its picture anew."""

from __future__ import annotations

from tests.pictures.session import PICTURE, draw, recorded

if __name__ == "__main__":
    session = recorded()
    PICTURE.write_text(draw(session))
    print(session, end="")
