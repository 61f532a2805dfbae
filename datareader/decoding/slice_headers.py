"""What the headers of H.264 and HEVC slices say of the order of their pictures.

The names of the standards stand in comments (H.264: ITU-T Rec. H.264, 7.3; HEVC: ITU-T Rec. H.265, 7.3).
"""

from typing import NamedTuple, Protocol

from datareader.decoding.nal_units import Bits


class PictureNumbers(NamedTuple):
    """The numbers that the first slice of a picture states."""

    order: int | None  # pic_order_cnt_lsb; None: pictures are shown in the order of the file
    order_range: int  # it counts modulo this
    reference: int  # H.264's frame_num; HEVC has none
    reference_range: int
    is_reference: bool  # later pictures may refer to it


class Syntax(Protocol):
    """What differs between the codecs."""

    def is_refresh(self, unit: bytes) -> bool:
        """Whether a unit belongs to a picture that starts decoding afresh (IDR)."""

    def is_sequence(self, unit: bytes) -> bool:
        """Whether a unit is a sequence parameter set, which states the size of the pictures."""

    def ends_sequence(self, unit: bytes) -> bool:
        """Whether a decoder forgets all pictures after this unit."""

    def keep_parameters(self, unit: bytes) -> None:
        """Remember a unit if it is a set of parameters."""

    def numbers(self, unit: bytes) -> PictureNumbers | None:
        """The numbers in a unit; None if it is no slice."""


class H264:
    """Units whose first byte holds nal_ref_idc and nal_unit_type (5 bits)."""

    def __init__(self) -> None:
        self._sequences: dict[int, dict[str, int]] = {}
        self._sequence_of_picture: dict[int, int] = {}

    def is_refresh(self, unit: bytes) -> bool:
        return unit[0] & 0x1F == 5

    def is_sequence(self, unit: bytes) -> bool:
        return unit[0] & 0x1F == 7

    def ends_sequence(self, unit: bytes) -> bool:
        return unit[0] & 0x1F in (10, 11)

    def keep_parameters(self, unit: bytes) -> None:
        kind = unit[0] & 0x1F
        if kind == 7:
            self._keep_sequence(Bits(unit[1:]))
        elif kind == 8:
            bits = Bits(unit[1:])
            picture = bits.golomb()
            self._sequence_of_picture[picture] = bits.golomb()

    def _keep_sequence(self, bits: Bits) -> None:
        profile = bits.number(8)
        bits.number(16)  # constraints, level
        identity = bits.golomb()
        planes = 0
        if profile in (100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135):
            chroma = bits.golomb()
            if chroma == 3:
                planes = bits.number(1)
            bits.golomb()  # depths of luma and chroma
            bits.golomb()
            bits.number(1)  # transform bypass
            if bits.number(1):  # scaling matrices
                for number in range(12 if chroma == 3 else 8):
                    if bits.number(1):
                        _skip_scaling_list(bits, 16 if number < 6 else 64)
        values = {"planes": planes, "reference_bits": bits.golomb() + 4, "order_type": bits.golomb(), "order_bits": 0}
        if values["order_type"] == 0:
            values["order_bits"] = bits.golomb() + 4
        elif values["order_type"] == 1:
            raise ValueError("picture order by a list of offsets, which nobody writes")
        bits.golomb()  # reference frames
        bits.number(1)  # gaps allowed
        bits.golomb()  # width, height
        bits.golomb()
        values["frames_only"] = bits.number(1)
        self._sequences[identity] = values

    def numbers(self, unit: bytes) -> PictureNumbers | None:
        kind = unit[0] & 0x1F
        if kind not in (1, 5):
            return None
        bits = Bits(unit[1:])
        bits.golomb()  # first macroblock
        bits.golomb()  # type of the slice
        values = self._sequences[self._sequence_of_picture[bits.golomb()]]
        if values["planes"]:
            bits.number(2)
        reference = bits.number(values["reference_bits"])
        if not values["frames_only"] and bits.number(1):  # a field
            bits.number(1)
        if kind == 5:
            bits.golomb()  # number of the IDR picture
        order = bits.number(values["order_bits"]) if values["order_type"] == 0 else None
        return PictureNumbers(
            order, 1 << values["order_bits"], reference, 1 << values["reference_bits"], bool(unit[0] & 0x60)
        )


def _skip_scaling_list(bits: Bits, size: int) -> None:
    last = scale = 8
    for _ in range(size):
        if scale:
            code = bits.golomb()  # se(v)
            scale = (last + ((code + 1) // 2 if code % 2 else -(code // 2))) % 256
        last = scale or last


class Hevc:
    """Units with a header of two bytes, which holds nal_unit_type (6 bits)."""

    def __init__(self) -> None:
        self._sequences: dict[int, tuple[int, int]] = {}  # (separate planes, bits of the order)
        self._pictures: dict[int, tuple[int, int, int]] = {}  # (sequence, output flag is there, extra bits)

    def is_refresh(self, unit: bytes) -> bool:
        return unit[0] >> 1 & 0x3F in (19, 20)

    def is_sequence(self, unit: bytes) -> bool:
        return unit[0] >> 1 & 0x3F == 33

    def ends_sequence(self, unit: bytes) -> bool:
        return unit[0] >> 1 & 0x3F in (36, 37)

    def keep_parameters(self, unit: bytes) -> None:
        kind = unit[0] >> 1 & 0x3F
        if kind == 33:
            self._keep_sequence(Bits(unit[2:]))
        elif kind == 34:
            bits = Bits(unit[2:])
            picture, sequence = bits.golomb(), bits.golomb()
            bits.number(1)  # dependent slices
            self._pictures[picture] = sequence, bits.number(1), bits.number(3)

    def _keep_sequence(self, bits: Bits) -> None:
        bits.number(4)
        layers = bits.number(3)
        bits.number(1)
        bits.number(88 + 8)  # profile, tier, level
        present = [(bits.number(1), bits.number(1)) for _ in range(layers)]
        if layers:
            bits.number(2 * (8 - layers))
        for profile, level in present:
            bits.number(88 * profile + 8 * level)
        identity = bits.golomb()
        planes = bits.number(1) if bits.golomb() == 3 else 0
        bits.golomb()  # width, height
        bits.golomb()
        if bits.number(1):  # conformance window
            for _ in range(4):
                bits.golomb()
        bits.golomb()  # depths of luma and chroma
        bits.golomb()
        self._sequences[identity] = planes, bits.golomb() + 4

    def numbers(self, unit: bytes) -> PictureNumbers | None:
        kind = unit[0] >> 1 & 0x3F
        if kind > 21 or 10 <= kind <= 15:
            return None
        if kind in (16, 17, 18):  # a broken link: what leads it is left out
            raise ValueError("a broken link")
        bits = Bits(unit[2:])
        bits.number(1)  # first slice of the picture
        if kind >= 16:
            bits.number(1)
        sequence, has_output_flag, extra = self._pictures[bits.golomb()]
        planes, order_bits = self._sequences[sequence]
        bits.number(extra)
        bits.golomb()  # type of the slice
        bits.number(has_output_flag)
        bits.number(2 * planes)
        order = 0 if kind in (19, 20) else bits.number(order_bits)
        return PictureNumbers(order, 1 << order_bits, 0, 1, True)
