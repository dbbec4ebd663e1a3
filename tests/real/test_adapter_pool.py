"""Several adapters over one base: each answers as if it were alone."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import torch

from medtune.core.errors import AdapterError, UnknownModelError
from medtune.core.experiment import Experiment
from medtune.core.progress import NoProgress
from medtune.core.protocols import AnswerModel, Message, ScoreRequest
from medtune.data.load import load_split
from medtune.models.adapters import lora
from medtune.models.adapters.adapter_pool import AdapterPool
from medtune.models.adapters.adapter_pools import AdapterPools
from medtune.models.local.local_model import LocalModel
from medtune.models.sources import ModelSource
from medtune.models.weights_card import read_card
from medtune.training.finetune import fine_tune

# They share a beginning that is long enough to be kept.
OPENING = Message("system", "You are a careful examiner. Answer with one letter and nothing else.")
REQUESTS = [
    ScoreRequest(
        str(i), "", ("a", "b"), (OPENING, Message("user", f"Question {i}?")), "", (" A", " B")
    )
    for i in range(6)
]


def logs(model: AnswerModel) -> torch.Tensor:
    return torch.tensor([[s.logprob for s in row] for row in model.score(REQUESTS)])


def alone(source: ModelSource, folder: Path | None) -> torch.Tensor:
    base = LocalModel.load(source, "float32")
    return logs(base if folder is None else lora.load_adapter(base, folder, None))


@pytest.fixture
def other(tiny_source: ModelSource, tmp_path: Path) -> Path:
    """A second adapter, of another rank."""
    split = load_split("starter:train", size=16)
    settings = {"epochs": 2, "batch_size": 4, "learning_rate": 5e-2, "lora": {"rank": 4}}
    config = Experiment.model_validate({"training": settings})
    adapted = lora.LoraModel(LocalModel.load(tiny_source, "float32"), config.training.lora, seed=5)
    fine_tune(adapted, config, split.questions, split.description, tmp_path / "other", NoProgress())
    return tmp_path / "other" / "adapter"


def test_each_answers_as_if_it_were_alone(
    tiny_source: ModelSource, adapter: Path, other: Path
) -> None:
    base = LocalModel.load(tiny_source, "float32")
    weight = base.network.get_input_embeddings().weight.data_ptr()
    pool = AdapterPool(base, {"first": adapter, "second": other})
    wanted = {name: alone(tiny_source, folder) for name, folder in named(adapter, other)}
    assert not torch.allclose(wanted["first"], wanted["second"], atol=0.1)
    for _ in range(2):  # the second time, from what was kept
        for name in ("second", None, "first", None, "second"):
            assert torch.allclose(logs(pool.get_model(name)), wanted[name or ""], atol=1e-4), name
    assert base.network.get_input_embeddings().weight.data_ptr() == weight
    assert pool.get_model("first").describe().adapter == read_card(adapter).weights_hash
    assert pool.get_model(None).describe().adapter is None


def named(adapter: Path, other: Path) -> list[tuple[str, Path | None]]:
    return [("first", adapter), ("second", other), ("", None)]


def test_requests_from_many_threads_do_not_mix(
    tiny_source: ModelSource, adapter: Path, other: Path
) -> None:
    pool = AdapterPool(LocalModel.load(tiny_source, "float32"), {"first": adapter, "second": other})
    wanted = {name: logs(pool.get_model(name)) for name in ("first", "second", None)}
    wrong: list[str | None] = []

    def ask(name: str | None) -> None:
        found = [logs(pool.get_model(name)) for _ in range(5)]
        wrong.extend(name for f in found if not torch.allclose(f, wanted[name], atol=1e-4))

    threads = [threading.Thread(target=ask, args=(name,)) for name in list(wanted) * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_they_come_and_go_while_it_runs(
    tiny_source: ModelSource, adapter: Path, other: Path
) -> None:
    pool = AdapterPool(LocalModel.load(tiny_source, "float32"), {})
    plain = logs(pool.get_model(None))
    pool.add("one", adapter)
    first = logs(pool.get_model("one"))
    pool.add("one", other)
    assert not torch.allclose(logs(pool.get_model("one")), first, atol=0.1)
    pool.add("two", adapter)
    assert torch.allclose(logs(pool.get_model("two")), first, atol=1e-4)
    gone = pool.get_model("one")
    pool.remove("one")
    assert pool.adapter_names == ("two",)
    assert torch.allclose(logs(pool.get_model(None)), plain, atol=1e-4)
    for ask in (gone.describe, lambda: pool.get_model("one"), lambda: pool.remove("one")):
        with pytest.raises(UnknownModelError, match=r"no adapter 'one'[\s\S]*two"):
            ask()


def test_what_cannot_be_loaded_leaves_the_older_one(
    tiny_source: ModelSource, adapter: Path, tmp_path: Path
) -> None:
    pool = AdapterPool(LocalModel.load(tiny_source, "float32"), {"one": adapter})
    before = logs(pool.get_model("one"))
    with pytest.raises(AdapterError, match="no adapter of medtune's"):
        pool.add("one", tmp_path)
    assert torch.equal(logs(pool.get_model("one")), before)


# One pool for each base


def test_a_base_is_read_once_for_all_its_adapters(
    tiny_source: ModelSource, adapter: Path, other: Path
) -> None:
    pools = AdapterPools()
    first = pools.load_adapter(tiny_source, "first", adapter)
    second = pools.load_adapter(tiny_source, "second", other)
    assert torch.allclose(logs(first), alone(tiny_source, adapter), atol=1e-2)
    assert torch.allclose(logs(second), alone(tiny_source, other), atol=1e-2)
    again = pools.load_adapter(
        tiny_source, "first", other
    )  # a name stands for what it was given to
    assert torch.allclose(logs(again), logs(first))
    assert first._pool is second._pool is again._pool


def test_what_nobody_asks_is_freed_and_its_base_with_the_last(
    tiny_source: ModelSource, adapter: Path, other: Path
) -> None:
    pools = AdapterPools()
    first = pools.load_adapter(tiny_source, "first", adapter)
    second = pools.load_adapter(tiny_source, "second", other)
    pools.retain({"second", "elsewhere"})
    with pytest.raises(UnknownModelError):
        logs(first)
    assert logs(second).shape == (len(REQUESTS), 2)
    pools.retain(())
    assert pools.load_adapter(tiny_source, "second", other)._pool is not second._pool


def test_an_adapter_that_cannot_be_read_leaves_the_others(
    tiny_source: ModelSource, adapter: Path, tmp_path: Path
) -> None:
    pools = AdapterPools()
    with pytest.raises(AdapterError):
        pools.load_adapter(tiny_source, "none", tmp_path)
    first = pools.load_adapter(tiny_source, "first", adapter)
    with pytest.raises(AdapterError):
        pools.load_adapter(tiny_source, "none", tmp_path)
    assert logs(first).shape == (len(REQUESTS), 2)
