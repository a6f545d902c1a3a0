"""All hostile files, and the odd but whole ones."""

from __future__ import annotations

from itertools import chain

from tests.app.hostile import containers, foreign, jpegs, pngs, tiffs


def hostile_files() -> list[jpegs.Hostile]:
    """(name, content, expected code); each content once."""
    made = chain(jpegs.files(), pngs.files(), tiffs.files(), containers.files(), foreign.files())
    return list({data: (name, data, code) for name, data, code in made}.values())


def harmless_files() -> list[tuple[str, bytes]]:
    """(name, content)"""
    return list(chain(jpegs.harmless(), pngs.harmless(), tiffs.harmless(), containers.harmless()))
