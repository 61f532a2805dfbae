"""Augmentation of clips against arithmetic by hand: drawn once for all frames of a clip, from its coordinates alone."""

import cv2
import numpy as np
import pytest
from PIL import Image

from configs.loading import load_config
from datareader.augmentation import (
    RAND_AUGMENT,
    Augmentation,
    erased_box,
    rand_augment_operation,
    resized_crop_box,
)
from datareader.building import build_train_dataset
from datareader.random_view import RandomView
from models.registry import NETWORKS

SIDE = 16
FRAME = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
GREY = (FRAME @ [0.299, 0.587, 0.114])[..., None]  # luma of ITU-R 601


def blended(base, factor):
    """What Pillow's filters do: base + factor * (frame - base)."""
    return np.clip(base + factor * (FRAME - base), 0, 255)


def operated(name, strength, sign=1.0):
    return np.asarray(rand_augment_operation(name, strength, sign, SIDE)(Image.fromarray(FRAME))).astype(float)


@pytest.mark.parametrize(
    ("name", "strength", "sign", "expected"),
    [
        ("identity", 1.0, 1, FRAME),
        ("brightness", 0.5, 1, blended(0, 1.45)),
        ("brightness", 0.5, -1, blended(0, 0.55)),
        ("color", 1.0, -1, blended(np.round(GREY), 0.1)),
        ("contrast", 1.0, 1, blended(np.round(np.round(GREY).mean()), 1.9)),
        ("solarize", 0.5, 1, np.where(FRAME < 128, FRAME, 255 - FRAME.astype(int))),
        ("posterize", 0.5, 1, FRAME & 0b11000000),
        ("posterize", 1.0, 1, FRAME & 0b10000000),
    ],
)
def test_operations_by_hand(name, strength, sign, expected):
    np.testing.assert_allclose(operated(name, strength, sign), expected, atol=1.01)


def test_autocontrast_and_equalize_by_hand():
    low, high = FRAME.min(axis=(0, 1)).astype(float), FRAME.max(axis=(0, 1)).astype(float)
    np.testing.assert_allclose(operated("autocontrast", 1), (FRAME - low) * 255 / (high - low), atol=1.01)
    equal = operated("equalize", 1)
    for channel in range(3):
        order = np.argsort(FRAME[..., channel].ravel(), kind="stable")
        assert (np.diff(equal[..., channel].ravel()[order]) >= 0).all(), "order is kept"
    assert abs(equal.mean() - 127.5) < 12


def test_moves_by_hand():
    moved = operated("translate_x", 0.5, 1)  # 0.45 * 0.5 * 16 = 3.6 pixels to the left
    left = 0.4 * FRAME[:, 3:-1].astype(float) + 0.6 * FRAME[:, 4:]
    np.testing.assert_allclose(moved[:, : SIDE - 4], left, atol=1.5)
    np.testing.assert_array_equal(operated("translate_y", 1, -1)[:6], np.full((6, SIDE, 3), 128.0))
    sheared = operated("shear_x", 1.0, 1)  # row y comes from 0.3 y pixels to the right; pixel centres at 0.5
    y, x = 11, 4
    place = x + 0.5 + 0.3 * (y + 0.5) - 0.5
    by_hand = FRAME[y, int(place)] + (place - int(place)) * (
        FRAME[y, int(place) + 1].astype(float) - FRAME[y, int(place)]
    )
    np.testing.assert_allclose(sheared[y, x], by_hand, atol=1.5)
    turned = operated("rotate", 0.0)
    np.testing.assert_array_equal(turned, FRAME)


def test_fourteen_operations():
    assert len(RAND_AUGMENT) == len(set(RAND_AUGMENT)) == 14
    for name in RAND_AUGMENT:
        assert operated(name, 0.9).shape == FRAME.shape


def test_jitter_is_brightness_contrast_and_saturation_in_a_range():
    grey = np.full((8, 8, 3), 100, np.uint8)  # contrast and saturation leave it as it is
    augment = Augmentation(color_jitter=0.4)
    found = [augment.of_clip(8, np.random.default_rng(k))(grey) for k in range(300)]
    assert all((frame == frame[0, 0, 0]).all() for frame in found)
    values = np.array([frame[0, 0, 0] for frame in found])
    assert values.min() >= 60 and values.max() <= 140
    assert values.min() < 65 and values.max() > 135, "the whole range"


def test_erasing_is_a_box_of_noise_of_the_stated_size():
    frame = np.full((100, 100, 3), 7, np.uint8)
    hits = 0
    for seed in range(200):
        augmented = Augmentation(erasing_probability=0.5).of_clip(100, np.random.default_rng(seed))
        changed = (augmented(frame) != 7).any(axis=2)
        np.testing.assert_array_equal(augmented(frame), augmented(frame), err_msg="the same on every frame")
        if changed.any():
            hits += 1
            rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
            area = (rows[-1] - rows[0] + 1) * (columns[-1] - columns[0] + 1) / 10_000
            assert 0.015 < area < 0.35
            assert changed[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].mean() > 0.97
    assert 70 < hits < 130
    assert (frame == 7).all(), "the frame itself stays"


def test_boxes_have_the_stated_areas_and_aspects():
    random = np.random.default_rng(0)
    boxes = [resized_crop_box(240, 320, 0.25, random) for _ in range(2000)]
    areas = np.array([box.height * box.width / (240 * 320) for box in boxes])
    aspects = np.array([box.width / box.height for box in boxes])
    assert areas.min() > 0.24 and areas.max() <= 1
    assert aspects.min() > 0.74 and aspects.max() < 1.35
    assert all(0 <= box.top <= 240 - box.height and 0 <= box.left <= 320 - box.width for box in boxes)
    assert areas.min() < 0.27, "down to the smallest"
    assert resized_crop_box(10, 1000, 1.0, random)[2:] == (10, 10), "nothing fits: the square in the middle"
    assert all(erased_box(64, random) is not None for _ in range(50))


SETTINGS = {"video_length": 4, "sample_rate": 1, "crop_size": 32, "short_sides": (40, 40), "mirror": True}
CLIP = np.random.default_rng(1).integers(0, 256, (4, 40, 52, 3), np.uint8)
ORDER = np.arange(4)[None]


def view(key=(3, 1, 2), frames=CLIP, **settings):
    plan = RandomView(**{**SETTINGS, **settings})
    return plan.make_views(frames, ORDER, key, np.empty(plan.shape, np.uint8))


def test_crop_and_mirror_are_those_without_augmentation():
    for number in range(8):
        plain, erased = view((0, 0, number)), view((0, 0, number), augmentation=Augmentation(erasing_probability=1.0))
        same = (plain == erased).all(axis=(0, 1, 2))
        assert 0.6 < same.mean() < 1
        assert ((plain == erased).all(axis=(0, 1)) == same).all(), "the box is the same on all frames"


@pytest.mark.parametrize(
    "settings",
    [
        {"augmentation": Augmentation(color_jitter=0.5)},
        {"augmentation": Augmentation(rand_augment_ops=2)},
        {"augmentation": Augmentation(erasing_probability=1.0)},
        {"resized_crop_area": 0.1},
    ],
)
def test_one_draw_for_all_frames_and_from_the_coordinates_alone(settings):
    still = np.repeat(CLIP[:1], 4, axis=0)
    for number in range(6):
        found = view((5, 0, number), frames=still, **settings)
        assert (found == found[:, :, :1]).all()
        np.testing.assert_array_equal(found, view((5, 0, number), frames=still, **settings))
    assert (view((5, 0, 0), **settings) != view((5, 0, 1), **settings)).any()


def test_a_resized_crop_is_a_resized_part():
    plan = RandomView(**{**SETTINGS, "mirror": False}, resized_crop_area=0.3)
    assert plan.frame_side((1, 2, 3)) == 40
    found = plan.make_views(CLIP, ORDER, (1, 2, 3), np.empty(plan.shape, np.uint8))[0]  # (3, T, S, S)
    matches = []
    for height in range(20, 41):
        for width in range(20, 53):
            for top in range(40 - height + 1):
                for left in range(52 - width + 1):
                    if not 0.7 < width / height < 1.4:
                        continue
                    part = np.ascontiguousarray(CLIP[0][top : top + height, left : left + width])
                    if (cv2.resize(part, (32, 32))[::31, ::31] == found[:, 0, ::31, ::31].transpose(1, 2, 0)).all():
                        matches.append((top, left, height, width))
    assert len(matches) == 1, "one part of the frame, as OpenCV resizes it"
    top, left, height, width = matches[0]
    for time in range(4):
        part = np.ascontiguousarray(CLIP[time][top : top + height, left : left + width])
        np.testing.assert_array_equal(cv2.resize(part, (32, 32)), found[:, time].transpose(1, 2, 0))


def test_the_config_asks_for_it(shapes, narrow_config):
    plain = build_train_dataset(narrow_config()).plan
    assert not plain.augmentation.is_on
    asked = ["color_jitter=0.4", "rand_augment_ops=2", "rand_augment_magnitude=5", "erasing_probability=0.25"]
    plan = build_train_dataset(narrow_config(*(f"TRAIN.{key}" for key in asked), "TRAIN.resized_crop_area=0.2")).plan
    assert plan.augmentation == Augmentation(
        color_jitter=0.4, rand_augment_ops=2, rand_augment_magnitude=5, erasing_probability=0.25
    )
    assert plan.resized_crop_area == 0.2
    with pytest.raises(Exception, match="erasing_probability"):
        load_config("configs/nonlocal.txt", ["TRAIN.erasing_probability=1.5"], networks=NETWORKS)
