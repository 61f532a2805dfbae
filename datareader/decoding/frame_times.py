"""When the frames of a video are shown, and from where on they are decoded, told from the headers of its packets.

Pure functions: nothing is decoded here.
"""

import bisect
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np

_MOST_REORDERED = 16  # pictures that H.264 and HEVC may hold back, to show later ones first


class Header(Protocol):
    """The header of a packet. Times are in units of the stream's time base."""

    pts: int | None  # when its picture is shown
    dts: int | None  # when it is decoded
    is_keyframe: bool
    is_discard: bool  # decoded, but hidden by an edit list


class StreamCheck(Protocol):
    """What was found in the packets themselves."""

    def follows(self, places: list[int]) -> bool:
        """Whether the pictures of the packets are shown at these places, 0 for the first."""


class Stretch(NamedTuple):
    """A part of a file that is decoded without a seek: from a key frame, until the wanted times are there."""

    first_packet: int
    last_packet: int
    times: set[int]


def shown_times(packets: Sequence[Header], check: StreamCheck) -> np.ndarray | None:
    """Return when each frame of a full decode is shown, ascending int64, or None where headers cannot tell.

    They can if a decoder, which knows nothing of these times, gives the pictures in their order. So no two are equal;
    every group of pictures (from a key frame up to the next one in the file) is shown after all of the groups before
    it; no picture waits for more others than a decoder may hold back; and the pictures are numbered as they are shown.
    Files that were joined or cut break this.
    """
    if not packets or not packets[0].is_keyframe or any(packet.pts is None for packet in packets):
        return None
    times = [packet.pts for packet in packets]
    if len(set(times)) != len(times):
        return None
    previous_dts = None
    for packet in packets:
        if packet.dts is None:
            continue
        if packet.dts > packet.pts or (previous_dts is not None and packet.dts < previous_dts):
            return None
        previous_dts = packet.dts
    starts = [number for number, packet in enumerate(packets) if packet.is_keyframe]
    latest = None
    for start, stop in zip(starts, [*starts[1:], len(packets)], strict=True):
        group = times[start:stop]
        if latest is not None and min(group) <= latest:
            return None
        latest = max(group)
    places = np.argsort(np.argsort(times))  # of each packet's picture on the screen
    if (np.arange(len(times)) - places).max() > _MOST_REORDERED or not check.follows(places.tolist()):
        return None
    return np.sort(np.array([packet.pts for packet in packets if not packet.is_discard], np.int64))


class PacketIndex:
    """Finds the packets that must be decoded for wanted frames."""

    def __init__(self, packets: Sequence[Header]) -> None:
        self._number_of = {packet.pts: number for number, packet in enumerate(packets) if not packet.is_discard}
        self._keys = [(number, packet.pts) for number, packet in enumerate(packets) if packet.is_keyframe]
        self._key_numbers = [number for number, _ in self._keys]

    def stretches(self, wanted: set[int], *, worth_a_seek: int) -> list[Stretch]:
        """Return the parts of a file to decode for the wanted times.

        A part begins at a key frame. For a wanted frame that is the last key frame that comes before it both in the
        file and on the screen. A key frame that is shown later is of no use: pictures that follow it in the file but
        are shown before it (an open group of pictures) may refer to the group before.

        Args:
            worth_a_seek: a new part begins where a seek skips more packets than this.
        """
        parts: list[Stretch] = []
        for number, time in sorted((self._number_of[time], time) for time in wanted):
            key = self._key_for(number, time)
            if parts and key - parts[-1].last_packet <= worth_a_seek:
                last = parts.pop()
                # A picture that is shown before the key frame of the part moves its beginning forward.
                parts.append(Stretch(min(last.first_packet, key), number, last.times | {time}))
            else:
                parts.append(Stretch(key, number, {time}))
        return parts

    def _key_for(self, number: int, time: int) -> int:
        place = bisect.bisect_right(self._key_numbers, number) - 1
        while place > 0 and self._keys[place][1] > time:
            place -= 1
        return self._key_numbers[place]
