"""The units (NAL) that H.264 and HEVC streams are made of, and their bits."""

from collections.abc import Iterator

_BEGINNING = 1024  # bytes of a unit that are looked at: parameter sets are shorter, of a slice the header is enough


def units_of_packet(content: memoryview, length_size: int) -> Iterator[bytes]:
    """Yield the beginnings of the units of a packet.

    Args:
        length_size: bytes of the length before each unit; 0: units stand behind start codes.
    """
    if not length_size:
        yield from units_behind_start_codes(bytes(content))
        return
    place = 0
    while place + length_size < len(content):
        end = place + length_size + int.from_bytes(content[place : place + length_size], "big")
        yield bytes(content[place + length_size : min(end, place + length_size + _BEGINNING)])
        place = end


def units_behind_start_codes(data: bytes) -> Iterator[bytes]:
    """Yield the beginnings of units that are told apart by start codes (Annex B)."""
    place = data.find(b"\0\0\1")
    while place >= 0:
        following = data.find(b"\0\0\1", place + 3)
        end = len(data) if following < 0 else following
        if end > place + 3:
            yield data[place + 3 : min(end, place + 3 + _BEGINNING)]
        place = following


def units_of_avcc(data: bytes) -> Iterator[bytes]:
    """Yield the parameter sets of an AVCDecoderConfigurationRecord (ISO/IEC 14496-15, 5.3.3)."""
    place = 5
    for mask in (0x1F, 0xFF):  # sequence parameter sets, picture parameter sets
        count = data[place] & mask
        place += 1
        for _ in range(count):
            size = int.from_bytes(data[place : place + 2], "big")
            yield data[place + 2 : place + 2 + size]
            place += 2 + size


def units_of_hvcc(data: bytes) -> Iterator[bytes]:
    """Yield the parameter sets of an HEVCDecoderConfigurationRecord (ISO/IEC 14496-15, 8.3.3)."""
    place = 23
    for _ in range(data[22]):
        count = int.from_bytes(data[place + 1 : place + 3], "big")
        place += 3
        for _ in range(count):
            size = int.from_bytes(data[place : place + 2], "big")
            yield data[place + 2 : place + 2 + size]
            place += 2 + size


class Bits:
    """Reads the bits of a unit, without the bytes that only prevent start codes.

    Raises:
        IndexError: in each method, if the unit ends.
    """

    def __init__(self, unit: bytes) -> None:
        content = unit.replace(b"\0\0\3", b"\0\0")
        self._bits = int.from_bytes(content, "big")
        self._left = 8 * len(content)

    def number(self, count: int) -> int:
        """Read u(count)."""
        self._left -= count
        if self._left < 0:
            raise IndexError("the unit ends")
        return self._bits >> self._left & ((1 << count) - 1)

    def golomb(self) -> int:
        """Read ue(v)."""
        zeros = 0
        while not self.number(1):
            zeros += 1
        return (1 << zeros) - 1 + self.number(zeros)
