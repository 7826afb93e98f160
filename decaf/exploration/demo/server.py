"""`serve_demo`: a page of this machine alone, on which photographs are shown to a network."""

from __future__ import annotations

import os
import secrets
import socket
import threading
import webbrowser
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from decaf.backbone.weights import DEFAULT_WEIGHTS
from decaf.errors import SettingError, Stopped
from decaf.exploration.demo.settings import DemoSettings
from decaf.features.store.feature_file import FeatureFile
from decaf.features.store.opening import holds_features, opened_features
from decaf.runtime.settings import ComputeSettings, Part, settings_from
from decaf.runtime.wording import counted

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from decaf.classify import Classifier
    from decaf.exploration.demo.photograph import Question
    from decaf.images import PreprocessSpec

__all__ = ["serve_demo"]

_LOOPBACK = "127.0.0.1"
_NEEDED = ("starlette", "uvicorn", "jinja2")
_TOKEN_BYTES = 16
# Seconds that an answer in work is waited for when the demo is closed.
_PATIENCE = 2


def serve_demo(
    model: str | os.PathLike[str] | Classifier = DEFAULT_WEIGHTS,
    *,
    features: str | os.PathLike[str] | FeatureFile | None = None,
    layer: str | None = None,
    patches: Any = None,
    patch_layer: str = "conv5",
    weights: str | os.PathLike[str] | None = None,
    preprocess: str | Mapping[str, Any] | PreprocessSpec | None = None,
    ready: Callable[[str], Any] = webbrowser.open,
    settings: DemoSettings | None = None,
    compute: ComputeSettings | None = None,
    **named: Any,
) -> None:
    """Serve a page on which photographs are shown to a network, until it is stopped.

    The page is for this machine alone: it listens on the loopback interface, its address holds a
    random token, and it asks nothing of another host. Photographs stay in memory, each until it is
    answered; they are answered one after the other. The page names the most probable classes and
    shows where the network looked for the first; and the nearest images, and the strongest units
    with their patches, where it is given images for these.

    Parameters
    ----------
    model : str, path or Classifier
        As `decaf.load_classifier` takes it: a head, or the name or file of weights.
    features : path or FeatureFile, optional
        Features of the same network, of which the nearest images are shown.
    layer : str, optional
        Their layer; by default the last that the file holds.
    patches : as `decaf.extract` takes images, or the path of a feature file, optional
        Images whose patches show what units answer to. They pass through the network once, before
        the page can be opened.
    patch_layer : str
        Layer of these units.
    weights : str or path, optional
        The network that a head was fitted on, where it is not found by itself.
    preprocess : str, mapping or PreprocessSpec, optional
        As in `decaf.load_classifier`.
    ready : callable
        Called with the page's address once it can be opened; by default it is opened in a browser.
    settings : DemoSettings, optional
        Port and limits; or its fields by their names.
    compute : ComputeSettings, optional
        Device, decoding processes and progress of `patches`, and the event that closes the page;
        or these by their names.
    **named
        Fields of `settings` and `compute` by their names: ``port=8000, device="cuda"``.

    Raises
    ------
    SettingError
        If the server's packages are not installed, or the port cannot be had.
    WeightsError, HeadError
        As in `decaf.load_classifier`; and for a head that takes features of no network, and
        features of another.
    InputError, FeatureFileError
        For images and features that cannot be read.
    Stopped
        After `stop` was set.
    """
    made = settings_from(
        serve_demo,
        named,
        Part("settings", DemoSettings, settings),
        Part("compute", ComputeSettings, compute),
    )
    settings, compute = made
    if layer is not None and features is None:
        raise SettingError("`layer` is that of `features`, which are not given")
    if any(find_spec(name) is None for name in _NEEDED):
        raise SettingError(
            "the demo's page is served by Starlette and uvicorn, which are not both installed: "
            "pip install 'decaf-features[demo]', or pip install starlette uvicorn"
        )
    from decaf.classify import Classifier, load_classifier
    from decaf.exploration.demo.answers import Answers
    from decaf.exploration.demo.app import demo_app
    from decaf.exploration.demo.places import Places

    with ExitStack() as stack:
        listener = stack.enter_context(_listening(settings.port))
        if not isinstance(model, Classifier):
            model = load_classifier(model, weights, preprocess)
        others: dict[str, Question] = {}
        if features is not None:
            file = stack.enter_context(opened_features(features))
            others["nearest"] = _nearest(file, layer, model, settings, compute)
        if patches is not None:
            others["units"] = _units(patches, patch_layer, model, compute)
        if Places.can_explain(model):
            others["places"] = Places(model, compute=_here(compute))
        answers = Answers(model, others, settings=settings, compute=_here(compute))
        port, token = listener.getsockname()[1], secrets.token_urlsafe(_TOKEN_BYTES)
        hosts = [f"{name}:{port}" for name in (_LOOPBACK, "localhost")]
        app = demo_app(answers, token=token, hosts=hosts, settings=settings)
        stop = compute.stop or threading.Event()
        with _serving(app, listener, stop):
            ready(f"http://{hosts[0]}/{token}/")
            stop.wait()
    raise Stopped(f"the demo is closed; it gave {counted(answers.given, 'answer')}")


def _nearest(
    features: FeatureFile,
    layer: str | None,
    classifier: Classifier,
    settings: DemoSettings,
    compute: ComputeSettings,
) -> Question:
    from decaf.exploration.demo.nearest_images import NearestImages

    return NearestImages(
        features, layer, classifier.backbone, k=settings.neighbours, compute=_here(compute)
    )


def _units(patches: Any, layer: str, classifier: Classifier, compute: ComputeSettings) -> Question:
    from decaf.exploration.demo.strongest_units import StrongestUnits
    from decaf.exploration.top_patches import top_patches

    if holds_features(patches):
        with opened_features(patches) as file:
            patches = file.images()
    backbone = classifier.backbone
    if layer not in backbone.layers:
        raise SettingError(f"`patch_layer` {layer!r} is not one of {', '.join(backbone.layers)}")
    found = top_patches(patches, layer, weights=backbone, on_error="record", compute=compute)
    return StrongestUnits(found, backbone)


def _here(compute: ComputeSettings) -> ComputeSettings:
    """Return how one photograph is computed: in this process, without a word."""
    return ComputeSettings(compute.device, workers=0, progress=False)


@contextmanager
def _listening(port: int) -> Iterator[socket.socket]:
    """Yield a socket that is bound to a port of the loopback interface, before anything is loaded.

    A browser that connects meanwhile waits.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        # A port that was left a moment ago can be had again; not one that somebody listens on.
        if os.name == "posix":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((_LOOPBACK, port))
            listener.listen()
        except OSError as error:
            raise SettingError(
                f"`port` {port} cannot be had ({os.strerror(error.errno or 0)}); leave it out for "
                "one that is free"
            ) from None
        yield listener


@contextmanager
def _serving(app: ASGIApp, listener: socket.socket, stop: threading.Event) -> Iterator[None]:
    """Serve an application in a thread, which leaves signals to the caller; set `stop` if it ends.

    The body runs once requests are answered.
    """
    import uvicorn

    server = uvicorn.Server(
        uvicorn.Config(
            app,
            loop="asyncio",
            http="h11",
            ws="none",
            lifespan="off",
            # No line for each request: its address would hold the token.
            log_config=None,
            log_level="critical",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=_PATIENCE,
        )
    )

    failed: list[Exception] = []

    def serve() -> None:
        try:
            server.run(sockets=[listener])
        except Exception as error:
            failed.append(error)
        finally:
            stop.set()

    thread = threading.Thread(target=serve, name="decaf-demo-server")
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join()
    if failed:
        raise failed[0]
