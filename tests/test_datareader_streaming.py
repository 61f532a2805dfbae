"""Streams: the windows of what arrives are those of the file that is sent; gaps, stalls, ends, senders too fast."""

import http.server
import os
import socket
import struct
import threading
import time

import av
import cv2
import numpy as np
import pytest

from datareader.decoding.opening import decode, open_video
from datareader.streaming.clock import Pace
from datareader.streaming.receiver import StreamReceiver
from datareader.streaming.source import named_source
from datareader.streaming.windows import LiveCutter
from datareader.windows import cut_windows, windows_of_video
from utils.errors import ConfigError, VideoError

RATE = 25
SIZE = (64, 48)


def write_stream(path, shown, *, jump=(0, 0.0)):
    """MPEG-TS whose frames are grey by their number; from frame `jump[0]` on, `jump[1]` seconds later."""
    with av.open(str(path), "w", format="mpegts") as container:
        stream = container.add_stream("libx264", rate=RATE, options={"g": "25", "bf": "2"})
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        for number in range(shown):
            picture = np.full((SIZE[1], SIZE[0], 3), number, np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = number + (round(jump[1] * RATE) if number >= jump[0] else 0)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="module")
def four_seconds(tmp_path_factory):
    return write_stream(tmp_path_factory.mktemp("stream") / "four.ts", 4 * RATE)


def receive(address, *, window=1.0, stride=0.5, patience=3.0, short_side=48, slow=0.0):
    """The windows of a stream and its receiver; `slow`: seconds that each window takes."""
    seen = []
    source = named_source(address)
    receiver = StreamReceiver(source, short_side=short_side, window=window, stride=stride, patience_seconds=patience)
    with receiver:
        for item in receiver.windows():
            seen.append(item)
            time.sleep(slow)
    return seen, receiver


def those_seen(seen, wanted, receiver):
    """Of the windows of the file those that were seen; on a busy machine some are left out, and counted."""
    starts = [item.start_seconds for item in seen]
    assert len(seen) + receiver.counts.skipped == len(wanted)
    assert len(seen) >= 2
    return [item for item in wanted if item.start_seconds in starts]


def grey(item):
    """The numbers of a window's frames, as far as their grey tells."""
    return [int(frame[0, 0, 0]) for frame in item.frames]


def feed(pipe, content):
    thread = threading.Thread(target=pipe.write_bytes, args=(content,), daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize("seed", range(30))
def test_frames_one_by_one_give_the_windows_of_the_whole(seed):
    random = np.random.default_rng(seed)
    step = random.choice([0.04, 1 / 30, 0.2])
    steps = np.full(200, step)
    steps[random.integers(10, 200, 2)] = random.uniform(1, 20, 2)  # gaps, when the length of a frame is known
    times = np.cumsum([0.0, *steps])
    window, stride = random.choice([0.5, 1, 2.5, 4]), random.choice([0.25, 0.5, 1, 2.5, 5])
    cutter = LiveCutter(window=window, stride=stride)
    seen = [item for number, time_ in enumerate(times) for item in cutter.add(time_, np.array([number]))]
    seen += cutter.finish()
    wanted = cut_windows(times, frame_seconds=step, window=window, stride=stride)
    assert [(item.start_seconds, round(item.end_seconds, 6)) for item in seen] == [
        (item.start_seconds, round(item.end_seconds, 6)) for item in wanted
    ]
    assert [(int(item.frames[0][0]), len(item.frames)) for item in seen] == [tuple(item[2:]) for item in wanted]


def test_a_stream_without_frames_has_no_windows():
    assert LiveCutter(window=1, stride=1).finish() == []


@pytest.mark.parametrize(
    ("text", "address", "kind", "shown"),
    [
        ("-", "-", "pipe", "-"),
        ("rtsp://me:secret@camera:554/live", "rtsp://me:secret@camera:554/live", "network", "rtsp://camera:554/live"),
        ("rtsp://me:p@ss@camera/live", "rtsp://me:p@ss@camera/live", "network", "rtsp://camera/live"),
        ("rtsp://me:p/a@camera/live", "rtsp://me:p/a@camera/live", "network", "rtsp://camera/live"),
        ("http://host:80/@user/live", "http://host:80/@user/live", "network", "http://host:80/@user/live"),
        ("http://host/x?mail=a@b", "http://host/x?mail=a@b", "network", "http://host/x?mail=a@b"),
        ("UDP://127.0.0.1:9", "udp://127.0.0.1:9", "network", "udp://127.0.0.1:9"),
        ("http://host/a@b.ts", "http://host/a@b.ts", "network", "http://host/a@b.ts"),
        ("/dev/null", "/dev/null", "camera", "/dev/null"),
    ],
)
def test_what_a_user_names(text, address, kind, shown):
    source = named_source(text)
    assert (source.address, source.kind, source.shown) == (address, kind, shown)


@pytest.mark.parametrize("text", ["ftp://host/x", "nothere", "", ".", "97", "a\0b"])
def test_what_is_no_stream_is_refused_in_one_line(text):
    with pytest.raises(ConfigError, match="--stream"):
        named_source(text)


def test_a_pipe_gives_the_windows_and_the_frames_of_the_file(four_seconds, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    feed(pipe, four_seconds.read_bytes())
    began = time.monotonic()
    seen, receiver = receive(str(pipe), short_side=32)
    assert time.monotonic() - began > 2.5, "it is shown in its own time"
    wanted = windows_of_video(four_seconds, "four", window=1.0, stride=0.5)
    wanted = those_seen(seen, wanted, receiver)
    assert [round(item.end_seconds, 3) for item in seen] == [round(item.end_seconds, 3) for item in wanted]
    video = open_video(four_seconds)
    for item, window in zip(seen, wanted, strict=True):
        numbers = np.arange(window.first_frame, window.first_frame + window.num_frames)
        np.testing.assert_array_equal(np.stack(item.frames), decode(video, numbers, 32))
        np.testing.assert_allclose(item.times_seconds, video.times_seconds[numbers], atol=1e-6)
    video.close()
    counts = receiver.counts
    assert (counts.frames, counts.dropped, counts.damaged, counts.reconnections) == (100, 0, 0, 0)
    assert not receiver.lost


def test_a_gap_in_the_times_is_a_gap(tmp_path):
    """Frames until 1 second, then from 3 seconds on: windows of what is seen, none of the gap."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    feed(pipe, write_stream(tmp_path / "gap.ts", 2 * RATE, jump=(RATE, 2.0)).read_bytes())
    seen, _ = receive(str(pipe), window=1.0, stride=1.0)
    assert [(item.start_seconds, round(item.end_seconds, 2), len(item.frames)) for item in seen] == [
        (0, 1, 25), (3, 4, 25)
    ]  # fmt: skip


def test_times_that_begin_anew_go_on(four_seconds, tmp_path):
    """A sender that was started again in the same pipe: 1 second, then 4."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    short = write_stream(tmp_path / "short.ts", 2 * RATE).read_bytes()
    feed(pipe, short + four_seconds.read_bytes())
    seen, _ = receive(str(pipe), window=1.0, stride=1.0)
    starts = [item.start_seconds for item in seen]
    assert starts == sorted(set(starts))
    assert 5 <= len(seen) <= 8, "about six seconds"


@pytest.mark.parametrize(("rate", "window", "stride"), [(1, 2.0, 0.5), (120, 0.5, 0.5)])
def test_slow_and_fast_streams_give_all_windows_of_the_file(tmp_path, rate, window, stride):
    """One frame may end several windows; frames may follow at any rate."""
    file, pipe = tmp_path / "s.ts", tmp_path / "pipe"
    with av.open(str(file), "w", format="mpegts") as container:
        stream = container.add_stream("libx264", rate=rate, options={"g": "10"})
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        for number in range(4 if rate == 1 else 240):
            picture = np.full((SIZE[1], SIZE[0], 3), number, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    os.mkfifo(pipe)
    feed(pipe, file.read_bytes())
    seen, receiver = receive(str(pipe), window=window, stride=stride)
    wanted = windows_of_video(file, "s", window=window, stride=stride)
    wanted = those_seen(seen, wanted, receiver)
    assert [len(item.frames) for item in seen] == [item.num_frames for item in wanted]
    assert receiver.counts.dropped == 0


def test_a_slow_caller_gets_the_newest_window_and_the_others_are_counted(four_seconds, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    feed(pipe, four_seconds.read_bytes())
    seen, receiver = receive(str(pipe), window=0.5, stride=0.25, slow=0.6)
    assert receiver.counts.skipped >= 5
    assert receiver.counts.dropped == 0
    all_windows = windows_of_video(four_seconds, "four", window=0.5, stride=0.25)
    assert len(seen) + receiver.counts.skipped == len(all_windows)
    assert seen[1].start_seconds - seen[0].start_seconds >= 0.5
    assert seen[-1].end_seconds == pytest.approx(4.0)


def test_a_pipe_that_gives_nothing_is_given_up(four_seconds, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = os.open(pipe, os.O_RDWR)
    content = four_seconds.read_bytes()
    os.write(writer, content[: len(content) // 2])
    seen, receiver = receive(str(pipe), patience=1.0)
    os.close(writer)
    assert receiver.lost == "nothing comes"
    assert seen, "what came is seen"


def test_a_pipe_without_a_video_is_an_error(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    feed(pipe, b"no video" * 1000)
    with pytest.raises(VideoError, match="MPEG-TS"):
        receive(str(pipe))


def test_an_empty_pipe_is_told_to_be_empty(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    feed(pipe, b"")
    threading.Thread(target=lambda: [pipe.write_bytes(b"") for _ in range(3)], daemon=True).start()
    with pytest.raises(VideoError, match=r"it ended before anything came|nothing comes"):
        receive(str(pipe), patience=1.0)
    with open(os.devnull, "rb") as nothing, pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "read", lambda *_: b"")
        patch.setattr("select.select", lambda *_: ([nothing], [], []))
        with pytest.raises(VideoError, match="it ended before anything came"):
            receive("-")


def test_packets_of_which_no_frame_comes_are_given_up(tmp_path):
    """VP8 whose only key frame is damaged: no frame after it can be decoded."""
    with av.open(str(tmp_path / "long.mkv"), "w") as container:
        stream = container.add_stream("libvpx", rate=RATE, options={"g": "1000", "deadline": "realtime"})
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        for number in range(8 * RATE):
            picture = np.full((SIZE[1], SIZE[0], 3), number, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    content = (tmp_path / "long.mkv").read_bytes()
    assert content.count(b"\x9d\x01\x2a") == 1  # how a key frame begins: RFC 6386, 9.1
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    feed(pipe, content.replace(b"\x9d\x01\x2a", b"\0\0\0"))
    began = time.monotonic()
    seen, receiver = receive(str(pipe), patience=2.0)
    assert "cannot be decoded" in receiver.lost and not seen
    assert receiver.counts.damaged > 20
    assert time.monotonic() - began < 7, "it is not watched to its end"


def test_a_camera_that_comes_back_with_another_size_keeps_the_windows(tmp_path):
    """Windows hold frames of one size, that of the first."""
    first = write_stream(tmp_path / "first.ts", 2 * RATE)
    with av.open(str(tmp_path / "second.ts"), "w", format="mpegts") as container:
        stream = container.add_stream("libx264", rate=RATE, options={"g": "25"})
        stream.width, stream.height, stream.pix_fmt = 128, 64, "yuv420p"
        for _ in range(2 * RATE):
            frame = av.VideoFrame.from_ndarray(np.full((64, 128, 3), 200, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    feed(pipe, first.read_bytes() + (tmp_path / "second.ts").read_bytes())
    seen, receiver = receive(str(pipe), window=1.0, stride=1.0)
    assert {frame.shape for item in seen for frame in item.frames} == {(48, 64, 3)}
    assert not receiver.lost and grey(seen[0])[0] < 5 and grey(seen[-1])[-1] > 190


def test_udp_with_a_stall_and_an_end(four_seconds):
    """Datagrams at the pace of the video, silence in between; then nothing any more."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    content = four_seconds.read_bytes()
    portions = [content[start : start + 1316] for start in range(0, len(content), 1316)]

    def send():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            time.sleep(0.5)
            for number, portion in enumerate(portions):
                sender.sendto(portion, ("127.0.0.1", port))
                time.sleep(0.6 if number == len(portions) // 2 else 4 / len(portions))

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    seen, receiver = receive(f"udp://127.0.0.1:{port}", patience=2.4)
    assert receiver.lost
    assert receiver.counts.reconnections >= 1
    assert len(seen) >= 5
    numbers = grey(seen[1])
    assert numbers == sorted(numbers)


class _Broken(http.server.BaseHTTPRequestHandler):
    """Sends half of what it promises the first time, all of it the second."""

    def do_GET(self):
        self.server.asked += 1
        content = self.server.content
        self.send_response(200)
        self.send_header("Content-Type", "video/mp2t")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if self.server.asked == 1 else content)

    def log_message(self, *_):
        pass


def test_a_connection_that_breaks_is_made_again(four_seconds, caplog):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Broken)
    server.asked, server.content = 0, four_seconds.read_bytes()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        seen, receiver = receive(f"http://me:secret@127.0.0.1:{server.server_port}/live.ts", window=1, stride=1)
    finally:
        server.shutdown()
        server.server_close()
    assert server.asked >= 2
    assert receiver.counts.reconnections == server.asked - 1
    assert not receiver.lost, "the second time it ended by itself"
    assert len(seen) >= 5
    assert "secret" not in caplog.text


def test_a_pipe_of_raw_h264_has_the_rate_of_the_video(four_seconds, tmp_path):
    """It states no times: frames follow at its rate, and it is shown in its own time."""
    pipe, raw = tmp_path / "pipe", tmp_path / "raw.h264"
    with av.open(str(four_seconds)) as source, av.open(str(raw), "w", format="h264") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    os.mkfifo(pipe)
    feed(pipe, raw.read_bytes())
    began = time.monotonic()
    seen, _ = receive(str(pipe), window=2.0, stride=2.0)
    assert [(item.start_seconds, round(item.end_seconds, 2), len(item.frames)) for item in seen] == [
        (0, 2, 50), (2, 4, 50)
    ]  # fmt: skip
    assert time.monotonic() - began > 2.5


class _Camera(http.server.BaseHTTPRequestHandler):
    """MJPEG as cameras send it: ten pictures a second, each a part of one answer; after thirty it is gone."""

    def do_GET(self):
        self.server.asked += 1
        if self.server.asked > 1:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        for number in range(30):
            picture = cv2.imencode(".jpg", np.full((48, 64, 3), 8 * number, np.uint8))[1].tobytes()
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n".encode()
            self.wfile.write(head + picture + b"\r\n")
            time.sleep(0.1)

    def log_message(self, *_):
        pass


def test_pictures_of_a_camera_are_shown_when_they_arrive():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Camera)
    server.asked = 0
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        seen, receiver = receive(f"http://127.0.0.1:{server.server_port}/", window=1.0, stride=1.0, patience=4.0)
    finally:
        server.shutdown()
        server.server_close()
    assert receiver.counts.frames >= 20
    times = np.concatenate([item.times_seconds for item in seen])
    assert times[-1] > 2, "about three seconds, though pictures by themselves would be at 25 a second"
    assert np.median(np.diff(times)) > 0.06


def test_packets_are_dropped_where_decoding_falls_behind(tmp_path):
    """A sender far ahead of the decoder: whole groups of frames are left out, and every frame shown is right."""
    content = write_stream(tmp_path / "long.ts", 240).read_bytes() * 4
    with socket.create_server(("127.0.0.1", 0)) as server:

        def send():
            connection, _ = server.accept()
            with connection:
                connection.sendall(content)
                time.sleep(1)

        threading.Thread(target=send, daemon=True).start()
        receiver = StreamReceiver(
            named_source(f"tcp://127.0.0.1:{server.getsockname()[1]}"),
            short_side=48, window=1.0, stride=1.0, patience_seconds=0.6,
        )  # fmt: skip
        add = receiver._add
        receiver._add = lambda *frame, is_end: (
            time.sleep(0.004),
            add(*frame, is_end=is_end),
        )  # a decoder that takes longer
        with receiver:
            seen = list(receiver.windows())
    assert receiver.counts.dropped > 25
    assert receiver.counts.frames + receiver.counts.dropped <= 960
    assert receiver.counts.damaged == 0, "from key frame to key frame nothing is damaged"
    assert seen


def _serve_rtsp(server, content, seconds):
    """A session of RTSP (RFC 2326) over TCP: one file, as MPEG-TS in RTP, at its own pace."""
    connection, _ = server.accept()
    lines = connection.makefile("rb")
    sdp = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=video 0 RTP/AVP 33\r\na=control:track0\r\n"
    answers = {
        "OPTIONS": ("Public: OPTIONS, DESCRIBE, SETUP, PLAY\r\n", ""),
        "DESCRIBE": (f"Content-Type: application/sdp\r\nContent-Length: {len(sdp)}\r\n", sdp),
        "SETUP": ("Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\nSession: 1\r\n", ""),
        "PLAY": ("Session: 1\r\n", ""),
    }
    method = ""
    while method != "PLAY":
        request = list(iter(lambda: lines.readline().decode().strip(), ""))
        method = request[0].split()[0]
        number = next(line for line in request if line.lower().startswith("cseq"))
        headers, body = answers[method]
        connection.sendall(f"RTSP/1.0 200 OK\r\n{number}\r\n{headers}\r\n{body}".encode())
    portions = [content[start : start + 1316] for start in range(0, len(content), 1316)]
    for number, portion in enumerate(portions):
        packet = struct.pack(">BBHII", 0x80, 33, number, int(90_000 * seconds * number / len(portions)), 1) + portion
        connection.sendall(b"$\0" + struct.pack(">H", len(packet)) + packet)
        time.sleep(seconds / len(portions))
    connection.close()


def test_rtsp(four_seconds):
    with socket.create_server(("127.0.0.1", 0)) as server:
        arguments = (server, four_seconds.read_bytes(), 4)
        threading.Thread(target=_serve_rtsp, args=arguments, daemon=True).start()
        seen, receiver = receive(f"rtsp://127.0.0.1:{server.getsockname()[1]}/live", patience=1.5)
    assert receiver.lost, "nobody answers any more"
    assert len(seen) >= 6
    numbers = grey(seen[3])
    assert numbers == sorted(numbers)
    assert numbers[0] >= 30, "the fourth window begins at a second and a half"


def test_a_late_stream_is_not_hurried_after(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("datareader.streaming.clock.time.monotonic", lambda: now[0])
    pace = Pace()
    assert pace.seconds_until(7.0) == 0
    assert pace.seconds_until(7.5) == pytest.approx(0.5)
    now[0] += 5  # nothing came for five seconds
    assert pace.seconds_until(7.54) == 0
    assert pace.seconds_until(8.04) == pytest.approx(0.5)
    assert pace.seconds_until(900.0) == 0, "a jump is not waited for"


def test_memory_is_bounded(monkeypatch, four_seconds, tmp_path):
    monkeypatch.setattr("datareader.streaming.receiver._LARGEST_WINDOW", 100_000)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    feed(pipe, four_seconds.read_bytes())
    with pytest.raises(VideoError, match="shorter --window"):
        receive(str(pipe), window=3.0)
