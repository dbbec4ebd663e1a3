"""Run a GGUF file with llama.cpp inside this process.

xllamacpp contains llama.cpp's own server; it listens on a free loopback port and is used like any
other server (`RemoteModel`), with prompts rendered by medtune.  Its wheel is built for any x86-64
machine; llama.cpp built on the machine itself is faster, and is used as `remote:URL` through its
llama-server.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

from medtune.core.errors import ModelError
from medtune.core.progress import Progress
from medtune.core.protocols import Message
from medtune.core.provenance import available_cores
from medtune.core.records import ModelDescription
from medtune.models.chat_encoder import ChatEncoder
from medtune.models.gguf_file import GgufFile, load_gguf_tokenizer
from medtune.models.memory import check_memory
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
TOKEN_PROBE = "It's 12,345.678 mg/day (β-blockers, naïve)?\n\n  A. 37 °C"
"""Text on which tokenizers differ: digits, contractions, white space, other scripts."""
LISTED_TOKENS = 200
"""Requested top tokens: a letter that is not among them gets only an upper bound."""


class LlamaCpp(RemoteModel):
    """An AnswerModel run by llama.cpp.

    Args:
        path: The GGUF file.
        encoder: Its tokenizer and chat template.
        description: Identity of the model.
        progress: See `RemoteModel`.

    Raises:
        ModelError: xllamacpp is not installed, llama.cpp cannot load the file, or it does not fit
            into memory.
    """

    def __init__(
        self,
        path: Path,
        encoder: ChatEncoder,
        description: ModelDescription,
        progress: Progress | None = None,
    ) -> None:
        self._description = description
        parameters, size = description.parameters or 0, path.stat().st_size
        check_memory(description.source, parameters, str(description.dtype), "cpu", size)
        # The server stops when this object is deleted.
        self._engine = _start_server(path)
        name = RemoteName.parse(f"remote:{self._engine.listening_address}/v1")
        super().__init__(name, Server(), encoder, progress, listed=LISTED_TOKENS)

    @classmethod
    def open_folder(
        cls, source: ModelSource, card: WeightsCard, progress: Progress | None = None
    ) -> Self:
        """Run a folder that `medtune compress` wrote, whose card's hash was checked.

        Raises:
            ModelError: As the class does.
        """
        assert source.folder is not None, "a file is in a folder"
        description = _describe(
            source.name, source.fingerprint, card.parameters or 0, str(card.scheme)
        )
        encoder = load_encoder(source.name, progress)
        return cls(source.folder / card.weights_file, encoder, description, progress)

    @classmethod
    def open_file(cls, name: str, file: GgufFile, progress: Progress | None = None) -> Self:
        """Run a GGUF file as people have it, with the tokenizer and the chat template in it.

        Raises:
            ModelError: As the class does; or transformers reads the tokenizer otherwise than
                llama.cpp.
            TemplateError: The file has no usable chat template.
        """
        description = _describe(name, file.fingerprint, file.parameters, file.scheme)
        encoder = ChatEncoder(load_gguf_tokenizer(file.path))
        model = cls(file.path, encoder, description, progress)
        model._check_tokens(name)
        return model

    def describe(self) -> ModelDescription:
        """Describe the GGUF file."""
        return self._description

    def _check_tokens(self, name: str) -> None:
        """Check that llama.cpp cuts a text into the tokens that prompts are sent as."""
        assert self.encoder is not None, "a file has a tokenizer"
        text = self.encoder.render([Message("user", TOKEN_PROBE)])
        url = f"{self.name.root}/tokenize"
        found = self._served.server.post(url, {"content": text, "parse_special": True})
        if found.get("tokens") != self.encoder.encode_texts([text])[0]:
            raise ModelError(
                f"{name}: transformers cuts text into other tokens than llama.cpp does",
                expected="one tokenizer: prompts are sent as tokens",
                fix="start llama-server -m FILE, and name it remote:http://localhost:8080/v1: its "
                "own tokenizer reads the prompt then",
            )


def _describe(name: str, fingerprint: str, parameters: int, scheme: str) -> ModelDescription:
    return ModelDescription(
        source=name,
        fingerprint=fingerprint,
        parameters=parameters,
        dtype=scheme,
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
            fix="compress or fetch the file again; if that does not help, this build is too old: "
            "--dtype float32 reads the file with transformers",
        ) from error
