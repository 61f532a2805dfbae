"""Whether a stream counts its pictures without a break: what a decoder goes by, whatever the times say.

A stream that goes on after its first picture counts on from one key frame to the next. Where two streams were joined,
the count jumps; a decoder then shows pictures in another order, or leaves some out.
"""

from collections import deque
from collections.abc import Iterator
from typing import Protocol

from datareader.decoding.nal_units import units_behind_start_codes, units_of_avcc, units_of_hvcc, units_of_packet
from datareader.decoding.slice_headers import H264, Hevc, PictureNumbers, Syntax

_HEADER_BYTES = 64  # of a slice that are looked at: more than what stands before its numbers
_RECENT_PACKETS = 32


class Packet(Protocol):
    """A packet whose bytes can be looked at."""

    is_keyframe: bool

    def __buffer__(self, flags: int) -> memoryview: ...


class OrderCheck:
    """Whether the key frames of a stream count on from one another.

    Args:
        codec: "h264" or "hevc".
        extradata: of the stream.

    Attributes:
        is_broken: they do not, or it cannot be told.
        may_change_size: parameters are stated again within the stream, perhaps others.
    """

    def __init__(self, codec: str, extradata: bytes | None) -> None:
        self._syntax: Syntax = {"h264": H264, "hevc": Hevc}[codec]()
        self._length_size = 0  # bytes of the length before each unit; 0: units stand behind start codes
        place = 4 if codec == "h264" else 21
        if extradata and extradata[0] == 1 and len(extradata) > place:
            self._length_size = (extradata[place] & 3) + 1
        self._extradata, self._codec = extradata or b"", codec
        self._recent: deque[Packet] = deque(maxlen=_RECENT_PACKETS)
        self._last_key: tuple[int, Packet] | None = None
        self._steps: list[tuple[int, int, int, int]] = []
        self.is_broken = False
        self.may_change_size = False

    def add(self, number: int, packet: Packet) -> None:
        """Take the next packet of the file, the `number`-th."""
        if packet.is_keyframe and not self.is_broken:
            try:
                if not self._is_refresh(number, packet):
                    self.is_broken = not self._continues(number, packet)
            except (IndexError, KeyError, ValueError):  # not what the standard says
                self.is_broken = True
            self._last_key = number, packet
        self._recent.append(packet)

    def follows(self, places: list[int]) -> bool:
        """Whether the count from key frame to key frame is that of the pictures shown between them.

        Args:
            places: of the picture of each packet on the screen, 0 for the one that is shown first.
        """
        return not self.is_broken and all(
            any((count - step * (places[key] - places[before])) % range_ == 0 for step in (1, 2))
            for before, key, count, range_ in self._steps
        )

    def _is_refresh(self, number: int, packet: Packet) -> bool:
        for unit in self._units(packet):
            if self._syntax.is_refresh(unit):
                return True
            if number and self._syntax.is_sequence(unit):
                self.may_change_size = True
        return False

    def _continues(self, number: int, packet: Packet) -> bool:
        """Look at a key frame that is no clean start; False if it does not count on from what stands before it."""
        if self._last_key is None:
            return False
        if not self._steps:
            self._read_parameters()
        before, last_key = self._last_key
        own, last = self._numbers(packet), self._numbers(last_key)
        if own is None or last is None or own.order_range != last.order_range:
            return False
        if own.order is not None:
            self._steps.append((before, number, own.order - last.order, own.order_range))
        if any(map(self._syntax.ends_sequence, self._units(self._recent[-1]))):
            return False
        if own.reference_range == 1:
            return True
        for earlier in reversed(self._recent):
            numbers = self._numbers(earlier)
            if numbers is not None and numbers.is_reference:
                return (numbers.reference + 1 - own.reference) % own.reference_range == 0
        return False

    def _read_parameters(self) -> None:
        data = self._extradata
        if not self._length_size:
            units = units_behind_start_codes(data)
        else:
            units = units_of_avcc(data) if self._codec == "h264" else units_of_hvcc(data)
        for unit in units:
            self._syntax.keep_parameters(unit)

    def _numbers(self, packet: Packet) -> PictureNumbers | None:
        for unit in self._units(packet):
            self._syntax.keep_parameters(unit)
            numbers = self._syntax.numbers(unit[:_HEADER_BYTES])
            if numbers is not None:
                return numbers
        return None

    def _units(self, packet: Packet) -> Iterator[bytes]:
        return units_of_packet(memoryview(packet), self._length_size)
