"""utils/request_limits.py, around an application that reads all that it is sent."""

import asyncio
import os
import time

import pytest

from utils.request_limits import RequestLimits


def ask(folder, messages, *, path="/ask", app=None, **limits):
    """Status and text of the answer to a request that arrives in these parts; None for a part that never comes."""
    sent, seen = [], []

    async def reading(scope, receive, send):
        body = b""
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise RuntimeError("the sender has left")
            body += message.get("body", b"")
            seen.append(len(body))
            if not message.get("more_body"):
                break
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"%d bytes" % len(body)})

    async def main():
        parts = iter(messages)

        async def receive():
            part = next(parts)
            if part is None:
                await asyncio.sleep(60)
            if part == "leaves":
                return {"type": "http.disconnect"}
            return {"type": "http.request", "body": part[0], "more_body": part[1]}

        async def send(message):
            sent.append(message)

        limits_ = {"most_kept_bytes": 1000, "most_body_bytes": 100, "seconds": 5.0, **limits}
        page = RequestLimits(app or reading, upload_path="/upload", folder=folder, **limits_)
        await page({"type": "http", "path": path, "headers": []}, receive, send)

    asyncio.run(main())
    status = sent[0]["status"] if sent else None
    return status, b"".join(message.get("body", b"") for message in sent).decode(), max(seen, default=0)


def test_what_is_small_goes_through(tmp_path):
    assert ask(tmp_path, [(b"x" * 60, True), (b"y" * 40, False)]) == (200, "100 bytes", 100)
    assert ask(tmp_path, [(b"", False)]) == (200, "0 bytes", 0)


def test_a_large_request_is_refused_before_it_is_held(tmp_path):
    endless = ((b"x" * 30, True) for _ in range(10**9))
    assert ask(tmp_path, endless) == (413, "the request is too large", 90)


def test_files_may_be_large_while_there_is_room(tmp_path):
    assert ask(tmp_path, [(b"x" * 5000, False)], path="/gradio_api/upload")[:2] == (200, "5000 bytes")
    (tmp_path / "hash").mkdir()
    (tmp_path / "hash" / "v.mp4").write_bytes(b"x" * 1000)
    for path in ("/gradio_api/upload", "/gradio_api/upload/"):
        assert ask(tmp_path, [(b"x", False)], path=path) == (507, "no room for more files", 0)
    assert ask(tmp_path, [(b"x", False)])[0] == 200, "the rest of the page"


def test_files_that_were_broken_off_are_removed_after_a_while(tmp_path):
    (tmp_path / "whole").mkdir()
    for name in ("broken_off", "on_its_way", "whole/v.mp4"):
        (tmp_path / name).write_bytes(b"x" * 500)
    for name in ("broken_off", "whole/v.mp4"):
        os.utime(tmp_path / name, (time.time() - 60,) * 2)
    assert ask(tmp_path, [(b"x", False)], path="/upload")[0] == 507
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["on_its_way", "v.mp4"]
    os.utime(tmp_path / "on_its_way", (time.time() - 60,) * 2)
    assert ask(tmp_path, [(b"x", False)], path="/upload")[0] == 200


@pytest.mark.parametrize("path", ["/ask", "/upload"])
def test_a_slow_sender_is_sent_away(tmp_path, path):
    assert ask(tmp_path, [(b"x", True), None], path=path, seconds=0.2)[:2] == (
        408,
        "the request did not arrive in time",
    )


def test_an_answer_may_take_longer(tmp_path):
    async def slow(scope, receive, send):
        await receive()
        await asyncio.sleep(0.3)
        assert (await receive())["type"] == "http.disconnect"
        await send({"type": "http.response.start", "status": 200, "headers": []})

    assert ask(tmp_path, [(b"x", False), "leaves"], app=slow, seconds=0.1)[0] == 200


@pytest.mark.parametrize("path", ["/ask", "/upload"])
def test_who_leaves_is_no_error(tmp_path, path):
    assert ask(tmp_path, [(b"x", True), "leaves"], path=path)[0] is None


def test_an_error_of_the_page_is_one(tmp_path):
    async def wrong(scope, receive, send):
        await receive()
        raise ValueError("a fault")

    with pytest.raises(ValueError, match="a fault"):
        ask(tmp_path, [(b"x", False)], app=wrong)
