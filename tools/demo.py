"""A local page to try a network on: drop a video or record one, see its classes, its timeline and its attention.

examples:
  python tools/demo.py --weights checkpoints/best --config my_run/train_config.txt
  python tools/demo.py --weights W --config auto --views 3x1 --examples clips/
  python tools/demo.py --weights W --host 0.0.0.0 --port 8080

The page is for this machine only, unless --host says otherwise. Videos of visitors are removed after some minutes and
at the end; no more of them are taken while there are 20 times --max_mb.
"""

import argparse
import html
import io
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a program, from any folder

from configs.arguments import SetKeys, SetViews, add_config_arguments, folder, positive_integer, positive_number
from engine.auto_config import scoring_config
from engine.scoring.runtimes import add_engine_arguments
from utils.commandline import ProgramParser, run_program
from utils.errors import ConfigError, VideoToolkitError
from utils.logging import get_logger, setup_logging
from utils.printable import printable_line
from utils.request_limits import RequestLimits

if TYPE_CHECKING:
    from engine.scoring.video_answer import VideoAnswerer

_KEPT_SECONDS = 300  # for which the page may still show a video
_MOST_WAITING = 20  # visitors
_MOST_EXAMPLES = 12
_MOST_BODY_BYTES = 1 << 20  # of a request that brings no video


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Parse the command line."""
    parser = ProgramParser(description=__doc__)
    network = parser.add_argument_group("network")
    network.add_argument("--weights", help="as for infer.py; without it the released network is fetched")
    add_config_arguments(network)
    network.add_argument("--views", action=SetViews, section="INFER")
    network.add_argument(
        "--class_names", action=SetKeys, keys=["INFER.kinetics_labels"], help="as for infer.py (INFER.kinetics_labels)"
    )
    add_engine_arguments(parser)
    page = parser.add_argument_group("page")
    page.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s: this machine only)")
    page.add_argument("--port", type=positive_integer, default=7860, help="from 1 to 65535 (%(default)s)")
    page.add_argument("--examples", type=folder, metavar="FOLDER", help="videos to choose from, the first 12 in it")
    page.add_argument("--max_mb", type=positive_integer, default=100, help="size of a video, MB (%(default)s)")
    page.add_argument(
        "--max_minutes", type=positive_number, default=10, help="length of a video, minutes (%(default)s)"
    )
    page.add_argument(
        "--time_limit", type=positive_number, default=120, metavar="SECONDS", help="for an answer (%(default)s)"
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser.parse_args(argv)


def main(argv: Sequence[str]) -> int:
    args = parse_arguments(argv)
    setup_logging()
    if args.port >= 1 << 16:
        raise ConfigError(f"--port {args.port}: ports are numbered from 1 to 65535")
    config = scoring_config(args)
    with tempfile.TemporaryDirectory(prefix="nonlocal_demo_") as uploads:
        os.environ |= {"GRADIO_TEMP_DIR": uploads, "GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1"}
        try:
            import gradio
        except ImportError as error:
            raise ConfigError(f"the page needs Gradio ({error}): pip install -r requirements-demo.txt") from error

        from starlette.middleware import Middleware

        from datareader.filelist import named_videos
        from engine.class_names import class_names_for_scoring
        from engine.device import select_device
        from engine.scoring.scorers import load_scorer
        from engine.scoring.video_answer import VideoAnswerer
        from engine.stopping import StopRequest

        examples = named_videos([str(args.examples)]).paths[:_MOST_EXAMPLES] if args.examples else []
        names = class_names_for_scoring(config, args.weights)
        select_device("auto")
        network, scorer, _ = load_scorer(
            config, config.INFER, args.weights, engine=args.engine, precision=args.precision
        )
        answerer = VideoAnswerer(
            network, scorer, config,
            class_names=names, time_limit_seconds=args.time_limit, longest_seconds=60 * args.max_minutes,
        )  # fmt: skip
        title = f"{config.MODEL.name}, {config.MODEL.num_classes} classes"
        page = build_page(gradio, answerer, title=title, examples=examples, max_mb=args.max_mb)
        limits = Middleware(
            RequestLimits, upload_path="/upload", folder=Path(uploads), seconds=_KEPT_SECONDS,
            most_kept_bytes=_MOST_WAITING * args.max_mb * 1_000_000, most_body_bytes=_MOST_BODY_BYTES,
        )  # fmt: skip
        with StopRequest("closing the page") as request:
            try:
                page.launch(
                    server_name=args.host, server_port=args.port, max_file_size=f"{args.max_mb}mb", share=False,
                    ssr_mode=False, quiet=True, prevent_thread_lock=True, inbrowser=False, footer_links=[], pwa=False,
                    app_kwargs={"middleware": [limits]},
                    theme=gradio.themes.Default(font="sans-serif", font_mono="monospace"),  # none from other servers
                )  # fmt: skip
            except OSError as error:
                raise ConfigError(f"--host {args.host} --port {args.port}: {error}") from error
            get_logger().info("the page is at http://%s:%d; Ctrl-C ends it", args.host, args.port)
            request.wait()
            page.close()
    return 0


def build_page(gradio: Any, answerer: "VideoAnswerer", *, title: str, examples: Sequence[str], max_mb: int) -> Any:
    """Return the page, as `gradio.Blocks`."""
    with gradio.Blocks(title=title, analytics_enabled=False, delete_cache=(_KEPT_SECONDS // 5, _KEPT_SECONDS)) as page:
        gradio.HTML(f"<h1>{html.escape(title)}</h1><p>One video at a time, of at most {max_mb} MB.</p>")
        with gradio.Row():
            with gradio.Column():
                video = gradio.Video(
                    label="Video", sources=["upload", "webcam"], include_audio=False, height=320,
                    webcam_options=gradio.WebcamOptions(mirror=False),  # mirroring would need FFmpeg
                )  # fmt: skip
                video.preprocess = _path_of  # to drop the sound, Gradio would need the program ffmpeg
                button = gradio.Button("What happens here?", variant="primary", elem_id="ask")
                if examples:
                    gradio.Examples([[path] for path in examples], [video], api_visibility="private")
            with gradio.Column():
                classes = gradio.Label(label="Classes", num_top_classes=5, elem_id="classes")
                summary = gradio.Textbox(label="Video and time", interactive=False, elem_id="summary")
        timeline = gradio.Image(
            show_label=False, buttons=["download"], interactive=False, visible=False, elem_id="timeline"
        )
        attention = gradio.Image(
            show_label=False, buttons=["download"], interactive=False, visible=False, elem_id="attention"
        )
        button.click(
            respond(gradio, answerer), [video], [classes, summary, timeline, attention],
            api_visibility="private", concurrency_limit=1,
        )  # fmt: skip
    page.queue(max_size=_MOST_WAITING, api_open=False)
    return page


def _path_of(payload: Any) -> str | None:
    """The file that a visitor sent, as it is. Gradio has checked before that it lies in its folder of uploads."""
    return payload.path if payload is not None else None


def respond(gradio: Any, answerer: "VideoAnswerer") -> Callable[[str | None], tuple[Any, ...]]:
    """Return what the button does: from the path of a video to what the page shows of it."""
    from PIL import Image

    def picture(content: bytes | None) -> Any:
        if content is None:
            return gradio.update(value=None, visible=False)
        return gradio.update(value=Image.open(io.BytesIO(content)), visible=True)

    def answer(path: str | None) -> tuple[Any, ...]:
        if not path:
            raise gradio.Error("Choose a video first.", print_exception=False)
        try:
            found = answerer.answer(Path(path))
        except VideoToolkitError as error:
            line = printable_line(str(error))
            get_logger().warning("no answer: %s", line)
            raise gradio.Error(html.escape(line), print_exception=False) from error
        return found.classes, found.summary, picture(found.timeline), picture(found.attention)

    return answer


if __name__ == "__main__":
    sys.exit(run_program(main))
