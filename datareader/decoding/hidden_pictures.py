"""Packets of VP8 and VP9 whose picture is not shown, but only referred to by others."""

from collections.abc import Sequence


class ShownCheck:
    """Whether every packet of a stream gives one picture to be shown.

    Attributes:
        is_broken: one does not.
        may_change_size: True; nothing in the stream says that its pictures keep their size.
    """

    def __init__(self, codec: str, extradata: bytes | None) -> None:
        self._is_shown = {"vp8": _is_shown_vp8, "vp9": _is_shown_vp9}.get(codec)
        self.is_broken = False
        self.may_change_size = True

    def add(self, number: int, packet: object) -> None:
        """Take the next packet of the file."""
        if self._is_shown is not None and not self._is_shown(memoryview(packet)):
            self.is_broken = True

    def follows(self, places: Sequence[int]) -> bool:
        """Whether the pictures are shown in the order of the file, as they are in these codecs, one a packet."""
        return not self.is_broken and all(place == number for number, place in enumerate(places))


def _is_shown_vp8(packet: memoryview) -> bool:
    return bool(packet[0] & 0x10)  # show_frame: RFC 6386, 9.1


def _is_shown_vp9(packet: memoryview) -> bool:
    """Bits of the uncompressed header: VP9 Bitstream Specification, 6.2; a superframe (annex B) ends with its index."""
    is_superframe = packet[-1] & 0xE0 == 0xC0
    shows_existing, is_shown = packet[0] & 0x08, packet[0] & 0x02
    return bool(is_superframe or shows_existing or is_shown)
