"""Run a GGUF file with llama.cpp inside this process.

xllamacpp contains llama.cpp's own server; it listens on a free loopback port and is used like any
other server (`RemoteModel`), with prompts rendered by medtune.  Its wheel is built for any x86-64
machine; llama.cpp built on the machine itself is faster, and is used as `remote:URL` through its
llama-server.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from medtune.core.errors import ModelError
from medtune.core.progress import Progress
from medtune.core.provenance import available_cores
from medtune.core.records import ModelDescription
from medtune.models.remote.http import Server
from medtune.models.remote.name import RemoteName
from medtune.models.remote.prompt import load_encoder
from medtune.models.remote.remote_model import RemoteModel
from medtune.models.sources import ModelSource
from medtune.models.weights_card import WeightsCard

CONTEXT_TOKENS = 2048
"""Most tokens of one prompt and its answer."""
SLOTS = 4
"""Parallel prompts."""
LISTED_TOKENS = 200
"""Requested top tokens: a letter that is not among them gets only an upper bound."""


class LlamaCpp(RemoteModel):
    """An AnswerModel run by llama.cpp.

    Args:
        source: A folder that `medtune compress` wrote.
        card: Its weights card, whose hash was checked.
        progress: See `RemoteModel`.

    Raises:
        ModelError: xllamacpp is not installed, or llama.cpp cannot load the file.
    """

    def __init__(
        self, source: ModelSource, card: WeightsCard, progress: Progress | None = None
    ) -> None:
        assert source.folder is not None, "a file is in a folder"
        self._source, self._card = source, card
        # The server stops when this object is deleted.
        self._engine = _start_server(source.folder / card.weights_file)
        name = RemoteName.parse(f"remote:{self._engine.listening_address}/v1")
        encoder = load_encoder(source.name, progress)
        super().__init__(name, Server(), encoder, progress, listed=LISTED_TOKENS)

    def describe(self) -> ModelDescription:
        """Describe the GGUF file."""
        return ModelDescription(
            source=self._source.name,
            fingerprint=self._source.fingerprint,
            parameters=self._card.parameters or 0,
            dtype=str(self._card.scheme),
            device="llama.cpp",
        )


def _start_server(path: Path) -> Any:
    try:
        import xllamacpp
    except ImportError as error:
        raise ModelError(
            f"{path} needs llama.cpp, which is not installed",
            fix="pip install 'medtune[llama]', or start llama-server and name it remote:URL",
        ) from error
    settings = xllamacpp.CommonParams()
    settings.model.path = str(path)
    settings.n_parallel = SLOTS
    settings.n_ctx = SLOTS * CONTEXT_TOKENS
    settings.cpuparams.n_threads = available_cores()
    settings.verbosity = -1
    try:
        return xllamacpp.Server(settings)
    except RuntimeError as error:
        raise ModelError(
            f"llama.cpp cannot load {path}: {error}",
            fix="compress the model again; if that does not help, this build is too old",
        ) from error
